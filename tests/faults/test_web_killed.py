"""gunicorn's processes are killed at the worst moment of a call; who repeats it with its key finds one execution."""

from __future__ import annotations

import http.client
import json
import os
import signal
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
from redis import Redis

from tests.faults.conftest import FaultRig, started, stopping
from tests.programs import free_port
from tests.support import ROOT, OwnRedis, environment, eventually

CONFIG = """\
modules:
  shop:
    methods:
      noted: {enabled: true, auth: {mode: none}, workflow: noted}
"""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    content: dict[str, object]

    @property
    def uid(self) -> str:
        assert self.status == 202, self
        return str(self.content["uid"])


class Web:
    """gunicorn with our settings and an app that can die at a point."""

    def __init__(self, rig: FaultRig) -> None:
        self._rig = rig
        self._port = free_port()
        config = (rig.folder / "config.yaml").read_text().replace("modules: {}\n", CONFIG)
        (rig.folder / "config.yaml").write_text(config)

    def start(self, point: str = "") -> None:
        environ = environment(
            self._rig.folder,
            self._rig.url,
            TRIGGER_BIND=f"127.0.0.1:{self._port}",
            FAULT_POINT=point,
            FAULT_FUSE=str(self._rig.fuse),
            PYTHONPATH=str(ROOT),
        )
        command = [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", "tests.faults.faulty_wsgi:app"]
        with (self._rig.folder / "log").open("ab") as log:
            self.master = started(command, environ, log)
        self._rig._stack.enter_context(stopping(self.master))
        eventually(self.is_up)

    def is_up(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=2)
        try:
            connection.request("GET", "/healthz")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def call(self, key: str | None = None, seconds: float = 0) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        try:
            headers = {"Idempotency-Key": key} if key else {}
            connection.request("POST", "/v1/api/shop/noted/async", json.dumps({"seconds": seconds}), headers)
            answer = connection.getresponse()
            content = json.loads(answer.read())["response"]
            return Answer(answer.status, dict(answer.getheaders()), content)
        finally:
            connection.close()

    def accepted(self, key: str) -> Answer:
        """The answer to a call that is repeated until it is accepted."""
        answers: list[Answer] = []

        def is_accepted() -> bool:
            with suppress(OSError, http.client.HTTPException):
                answers.append(self.call(key))
            return bool(answers) and answers[-1].status == 202

        eventually(is_accepted)
        return answers[-1]


@pytest.fixture
def web(rig: FaultRig) -> Web:
    return Web(rig)


@pytest.mark.parametrize(("point", "stored"), [("before accept", 0), ("after accept", 1)])
def test_a_call_that_had_no_answer_is_repeated_with_its_key_and_runs_once(
    rig: FaultRig, web: Web, redis: Redis, point: str, stored: int
) -> None:  # F02, F03
    web.start(point)
    rig.light()
    with pytest.raises((OSError, http.client.HTTPException)):
        web.call("k")
    assert rig.has_burnt()
    assert redis.llen("rq:queue:default") == stored
    left = redis.lrange("rq:queue:default", 0, -1)
    again = web.accepted("k")
    assert again.headers.get("Idempotency-Replayed") == ("true" if stored else None)
    assert left in ([], [again.uid.encode()])
    assert web.accepted("k").uid == again.uid
    rig.start_with()
    rig.succeeded(again.uid)
    rig.is_tidy()
    assert rig.evidence() == {f"S {again.uid}": 1, f"D {again.uid}": 1}


class Callers:
    """Callers who call without a pause until told to stop."""

    def __init__(self, web: Web, count: int = 4) -> None:
        self._web = web
        self._over = threading.Event()
        self.uids: list[str] = []
        self.refused: list[object] = []
        self._threads = [threading.Thread(target=self._call) for _ in range(count)]

    def _call(self) -> None:
        while not self._over.is_set():
            try:
                self.uids.append(self._web.call().uid)
            except (OSError, http.client.HTTPException) as error:
                # Nobody listens any more; everything else would be a call that was taken and not answered.
                if not isinstance(error, ConnectionRefusedError):
                    self.refused.append(error)
            except AssertionError as error:
                self.refused.append(error)

    def __enter__(self) -> Callers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


def test_a_stop_under_load_answers_every_call_that_it_took(rig: FaultRig, web: Web) -> None:  # F05
    web.start()
    with Callers(web) as callers:
        eventually(lambda: len(callers.uids) > 200)
        web.master.send_signal(signal.SIGTERM)
        assert web.master.wait(15) == 0
        web.start()
        before = len(callers.uids)
        eventually(lambda: len(callers.uids) > before + 200)
    # Who is in the queue of a socket when it closes is reset, unread; what was read has been answered.
    assert {type(error) for error in callers.refused} <= {ConnectionResetError}
    rig.start_with()
    for uid in callers.uids:
        rig.succeeded(uid, within=60)
    rig.is_tidy()
    assert rig.evidence() == {f"{word} {uid}": 1 for uid in callers.uids for word in "SD"}


def test_when_the_master_is_killed_another_takes_its_place(rig: FaultRig, web: Web) -> None:  # F04
    web.start()
    rig.start_with()
    with Callers(web) as callers:
        eventually(lambda: len(callers.uids) > 100)
        os.kill(web.master.pid, signal.SIGKILL)
        web.master.wait()
        web.start()
        before = len(callers.uids)
        eventually(lambda: len(callers.uids) > before + 100)
    for uid in callers.uids:
        rig.succeeded(uid, within=60)
    rig.is_tidy()
    assert all(times == 1 for times in rig.evidence().values())


def test_a_redis_that_hangs_is_answered_503_and_a_key_finds_what_it_did_all_the_same(
    own_rig: FaultRig, own_redis: OwnRedis
) -> None:  # F25
    web = Web(own_rig)
    web.start()
    web.call()
    own_redis.process.send_signal(signal.SIGSTOP)
    answers = [web.call(f"{number}") for number in range(3)]
    assert {answer.status for answer in answers} == {503}
    assert all(answer.headers["Retry-After"] for answer in answers)
    own_redis.process.send_signal(signal.SIGCONT)
    eventually(lambda: own_rig.redis.ping())
    done_all_the_same = own_rig.redis.keys("trigger:idempotency:*")
    again = [web.accepted(f"{number}") for number in range(3)]
    assert sum("Idempotency-Replayed" in answer.headers for answer in again) == len(done_all_the_same)
    assert len({answer.uid for answer in again}) == 3
    waiting: Any = own_rig.redis.lrange("rq:queue:default", 0, -1)
    own_rig.start_with()
    own_rig.is_tidy()
    assert own_rig.evidence() == {f"{word} {uid.decode()}": 1 for uid in waiting for word in "SD"}
