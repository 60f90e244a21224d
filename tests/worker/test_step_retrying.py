"""Steps that are tried again, take too long, or wait: what counts, and that no worker is held meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from redis import Redis

from tests.support import OwnRedis, eventually
from tests.worker.stepping import Steps, statuses, step_of
from trigger import store
from trigger.store import Status, acts


@pytest.fixture
def rig(tmp_path: Path, redis: Redis, redis_server: OwnRedis) -> Iterator[Steps]:
    rig = Steps(tmp_path, redis, redis_server.url)
    yield rig
    rig.close()


class HttpPeer:
    """A server that answers with the statuses it is given, one after the other."""

    def __init__(self) -> None:
        self.answers: list[int] = []
        self.paths: list[str] = []
        peer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                peer.paths.append(self.path)
                self.send_response(peer.answers.pop(0))
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *args: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def http_peer() -> Iterator[HttpPeer]:
    peer = HttpPeer()
    yield peer
    peer.server.shutdown()
    peer.server.server_close()


def test_a_step_is_tried_again_and_what_is_done_is_not(rig: Steps) -> None:
    rig.steps(
        it="""
        - {name: a, python: "work:mark", with: {}}
        - {name: b, python: "work:fails_until", with: {good: 3}, retry: {attempts: 3, backoff: [1s]}}
        - {name: c, python: "work:mark", with: {}}
        """
    )
    rig.start()
    record = rig.succeeds()
    assert rig.marks(record.uid) == {"a": 1, "b": 3, "c": 1}
    assert (step_of(record, "b").attempts, step_of(record, "b").output) == (3, 3)
    assert record.attempt == 1
    assert {line.attempt for line in rig.lines(record.uid)} <= {1, 2, 3}


def test_a_step_that_fails_as_often_as_it_may_fails_for_good(rig: Steps) -> None:
    rig.steps(it="- {name: b, python: 'work:fails_until', with: {good: 9}, retry: {attempts: 2, backoff: 1s}}")
    rig.start()
    record = rig.fails()
    assert record.error == {"class": "RuntimeError", "message": "step b: attempt 2", "step": "b"}
    assert step_of(record, "b").attempts == 2


def test_no_worker_is_held_between_two_attempts(rig: Steps) -> None:
    rig.steps(
        it="- {name: b, python: 'work:fails_until', with: {good: 2}, retry: {attempts: 2, backoff: 1h}}",
        other="- {name: a, python: 'work:mark', with: {}}",
    )
    rig.start()
    uid = rig.submit("it")
    eventually(lambda: rig.record(uid).status is Status.RETRYING)
    assert statuses(rig.record(uid)) == {"b": "retrying"}
    assert rig.record(uid).attempt == 0 or rig.record(uid).attempt == 1
    rig.succeeds("other")
    assert rig.redis.zcard("rq:scheduled:default") == 1
    assert acts.cancel(rig.redis, uid, "ada") is Status.CANCELLED
    assert statuses(rig.record(uid)) == {"b": "cancelled"}
    rig.nothing_is_left()


@pytest.mark.parametrize(
    ("step", "on", "attempts"),
    [
        ("python: 'work:fails_until', with: {good: 9, kind: ConnectionRefusedError}", "ConnectionError", 2),
        ("python: 'work:fails_until', with: {good: 9}", "ConnectionError", 1),
        ("run: [sh, -c, exit 7]", "7", 2),
        ("run: [sh, -c, exit 8]", "7", 1),
        ("run: [sleep, '60'], timeout: 1s", "TimeoutError", 2),
        ("run: [echo, '{{ input.no }}']", "", 1),
    ],
)
def test_only_what_on_names_is_tried_again(rig: Steps, step: str, on: str, attempts: int) -> None:
    retry = f"retry: {{attempts: 2, backoff: 1s{f', on: [{on}]' if on else ''}}}"
    rig.steps(it=f"- {{name: a, {step}, {retry}}}")
    rig.start()
    assert step_of(rig.fails("it", {}), "a").attempts == attempts


def test_while_other_steps_run_a_step_waits_for_its_next_attempt_beside_them(rig: Steps) -> None:
    rig.steps(
        it="""
        - {name: a, python: "work:fails_until", with: {good: 2}, retry: {attempts: 2, backoff: 1s}}
        - {name: b, python: "work:until_go", with: {}, needs: []}
        """
    )
    rig.start()
    uid = rig.submit("it")
    eventually(lambda: rig.marks(uid) == {"a": 2, "b": 1})
    (rig.folder / "go").touch()
    record = rig.ended(uid)
    assert record.status is Status.SUCCEEDED
    assert rig.marks(uid) == {"a": 2, "b": 1}


def test_a_step_that_takes_too_long_is_told_and_may_tidy_up(rig: Steps) -> None:
    rig.steps(it="- {name: a, python: 'work:tidy', with: {}, timeout: 1s}")
    rig.start()
    record = rig.fails()
    assert record.error == {"class": "Timeout", "message": "step a: took longer than 1 s", "step": "a"}
    assert rig.marks(record.uid) == {"a": 1, "a-tidied": 1}


def test_one_that_does_not_listen_is_killed_with_all_it_has_started(rig: Steps) -> None:
    rig.steps(it="- {name: a, python: 'work:stays_with_family', with: {}, timeout: 1s}")
    rig.start()
    record = rig.fails()
    assert (record.error or {})["class"] == "Timeout"
    pids = (rig.folder / "pids").read_text().split()
    assert len(pids) == 2
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_a_workflow_that_takes_too_long_ends_and_its_last_steps_run(rig: Steps) -> None:
    rig.steps(
        it="""
        steps:
          - {name: a, python: "work:mark", with: {}}
          - {name: b, run: [sleep, "60"]}
          - {name: c, python: "work:mark", with: {}}
        on_failure:
          - {name: alert, run: [echo, "{{ error.class }}: {{ error.message }}"]}
        """
    )
    rig.start()
    record = rig.fails(timeout=1)
    assert record.error == {"class": "Timeout", "message": "The workflow took longer than 1 s", "step": "b"}
    assert statuses(record) == {"a": "succeeded", "b": "failed", "c": "skipped", "alert": "succeeded"}
    assert step_of(record, "alert").output == "Timeout: The workflow took longer than 1 s"


def test_a_workflow_that_is_tried_again_does_what_is_not_done(rig: Steps) -> None:
    rig.steps(
        it="""
        retry: {attempts: 2, backoff: 1s}
        steps:
          - {name: a, python: "work:mark", with: {}}
          - {name: b, python: "work:fails_until", with: {good: 2}}
          - {name: c, python: "work:mark", with: {}}
        on_failure:
          - {name: alert, python: "work:mark", with: {}}
        """
    )
    rig.start()
    record = rig.succeeds()
    assert rig.marks(record.uid) == {"a": 1, "b": 2, "c": 1}
    assert record.attempt == 2


def test_the_last_steps_run_once_when_no_attempt_is_left(rig: Steps) -> None:
    rig.steps(
        it="""
        retry: {attempts: 2, backoff: 1s}
        steps:
          - {name: a, python: "work:mark", with: {}}
          - {name: b, python: "work:fails_until", with: {good: 9}}
        on_failure:
          - {name: alert, python: "work:mark", with: {}}
        """
    )
    rig.start()
    record = rig.fails()
    assert rig.marks(record.uid) == {"a": 1, "b": 2, "alert": 1}
    assert not rig.redis.exists(store.leased_key("default"))


def test_an_http_step_is_tried_again_on_its_status(rig: Steps, http_peer: HttpPeer) -> None:
    http_peer.answers = [503, 200]
    rig.steps(
        it=f"""
        - name: a
          http: {{url: "{http_peer.url}/x?q={{{{ input.q }}}}"}}
          retry: {{attempts: 2, backoff: 1s, on: [503]}}
        """
    )
    rig.start()
    record = rig.succeeds("it", {"q": "A 1"})
    assert step_of(record, "a").attempts == 2
    assert record.output["status"] == 200
    assert http_peer.paths == ["/x?q=A%201"] * 2
    http_peer.answers = [500]
    record = rig.fails("it", {"q": "1"})
    assert (record.error or {})["class"] == "UnexpectedStatus"
    assert "500" in (record.error or {})["message"]
