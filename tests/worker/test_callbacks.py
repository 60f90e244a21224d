"""Callbacks by real workers: each end is told at least once, whatever the receiver does and whoever is killed."""

from __future__ import annotations

import base64
import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import pytest
import standardwebhooks
from redis import Redis

from bench.processes import descendants
from tests.support import CONFIG, WORKFLOWS, OwnRedis, environment, eventually, process
from trigger import store
from trigger.config.model import Api, NoAuth, Workflow
from trigger.store import Status, callbacks
from trigger.store.keys import CALLBACK_QUEUE
from trigger.store.queueing import Call, Submitter

KEY, OLD = ("whsec_" + base64.b64encode(text).decode() for text in (b"k" * 24, b"o" * 24))
PATH = "/hooks/s3cret-path-of-ops"


class Receiver:
    """Answers callbacks as it is told, each by the uid that it tells of, else 200; keeps what was right."""

    def __init__(self) -> None:
        self.got: list[tuple[str, dict[str, Any]]] = []  # webhook-id and payload
        self.wrong: list[str] = []
        self.answers: dict[str, list[int]] = {}
        self.held = threading.Event()  # while it is clear, nobody is answered
        self.held.set()
        self.asked = 0
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.asked += 1
                receiver.held.wait(30)
                status = receiver._status(
                    self.path, {name.lower(): value for name, value in self.headers.items()}, body
                )
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def _status(self, path: str, headers: dict[str, str], body: bytes) -> int:
        for key in (KEY, OLD):
            try:
                payload = standardwebhooks.Webhook(key).verify(body, headers)
            except standardwebhooks.WebhookVerificationError as error:
                self.wrong.append(f"{error}: {path} {headers}")
                return 401
        uid = payload["data"]["uid"]
        left = self.answers.get(uid)
        status = left.pop(0) if left else 200
        if status == 200:
            self.got.append((headers["webhook-id"], payload))
        return status

    def of(self, uid: str) -> list[dict[str, Any]]:
        return [payload for of, payload in self.got if of.startswith(uid)]


class House:
    """A Redis, a worker of each queue, and a receiver."""

    def __init__(self, folder: Path, redis: OwnRedis, receiver: Receiver, stack: ExitStack) -> None:
        self.folder, self.receiver, self._stack = folder, receiver, stack
        self.environ = environment(folder, redis.url, OPS_URL=f"{receiver.url}{PATH}", CB=KEY, TRIGGER_LOG="json")
        self.redis = Redis.from_url(redis.url)
        (folder / "work.py").write_text(WORKFLOWS)
        self.write("ops")
        self.submitter = Submitter(self.redis)
        self.work = self.start("default")
        self.post = self.start(CALLBACK_QUEUE)

    def write(self, name: str) -> None:
        whole = (
            f"callbacks:\n  {name}: {{url: '${{OPS_URL}}', secrets: ['${{CB}}', '{OLD}', '${{CB_NONE:-}}'], "
            "include: [input, output, logs], addresses: any}\n"
            "workflows: {echo: 'work:echo', fails: 'work:fails', who: 'work:who'}\nmodules: {}\n"
        )
        (self.folder / "config.new").write_text(whole)
        (self.folder / "config.new").rename(self.folder / "config.yaml")

    def start(self, queue: str) -> Any:
        before = self.redis.scard(f"rq:workers:{queue}")
        arguments = ["worker", "--queue", queue]
        child = self._stack.enter_context(process(arguments, self.environ, self.folder / f"{queue}.log"))
        eventually(lambda: self.redis.scard(f"rq:workers:{queue}") > before)
        return child

    def submit(self, workflow: str = "echo", value: Any = None, to: str = "ops", secrets: Any = ()) -> str:
        described = Workflow(name=workflow, python=f"work:{workflow}")
        ends: Any = {to: ("succeeded", "failed", "cancelled")}
        api = Api("shop", workflow, auth=NoAuth(), workflow=described, callbacks=ends)
        return self.submitter.submit(Call(api, {} if value is None else value, "ci", secrets), CONFIG).uid

    def state(self, uid: str) -> callbacks.CallbackState | None:
        found = callbacks.of(self.redis, uid)
        return found[0] if found else None

    def reaches(self, uid: str, status: Status, attempts: int = 1) -> callbacks.CallbackState:
        def state() -> callbacks.CallbackState | None:
            found = self.state(uid)
            return found if found and found.status is status and found.attempts >= attempts else None

        return cast(callbacks.CallbackState, eventually(state, within=30))


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("callbacks")
    receiver = Receiver()
    with ExitStack() as stack:
        redis = stack.enter_context(OwnRedis(folder / "data", fsync="no"))
        yield House(folder, redis, receiver, stack)
    receiver.server.shutdown()
    receiver.server.server_close()


def test_each_end_is_told_as_the_official_library_accepts_it(house: House) -> None:
    good = house.submit("who", {"sku": "A1", "card": "4111111111"}, secrets=[["card"]])
    bad = house.submit("fails", {"sku": "B2"})
    for uid in (good, bad):
        house.reaches(uid, Status.SUCCEEDED)
    (told,) = house.receiver.of(good)
    assert (told["type"], told["data"]["input"]) == ("execution.succeeded", {"sku": "A1", "card": "***"})
    assert told["data"]["output"][0] == good
    assert [line["text"] for line in told["data"]["logs"]] == ["hello from who"]
    (told,) = house.receiver.of(bad)
    assert told["data"]["error"] == {"class": "ValueError", "message": "no stock of B2"}
    assert told["text"] == f"shop/fails failed: ValueError: no stock of B2 (uid {bad})"
    assert {of for of, _ in house.receiver.got} >= {f"{good}.succeeded", f"{bad}.failed"}
    assert house.receiver.wrong == []


def test_one_process_sends_one_after_the_other(house: House) -> None:
    processes = set()
    for _ in range(5):
        house.reaches(house.submit(), Status.SUCCEEDED)
        processes |= set(descendants(house.post.pid))
    assert len(processes) <= 4, "the one that was used before, one more, and their guardians"


def test_what_fails_is_tried_again_after_a_pause_and_as_one_wants_it(house: House) -> None:
    uid = house.submit()
    house.receiver.answers[uid] = [503, 302]
    state = house.reaches(uid, Status.RETRYING)
    assert state.error == {"class": "UnexpectedStatus", "message": "the answer is 503 Service Unavailable"}
    callbacks.again(house.redis, uid, "ops")
    house.reaches(uid, Status.RETRYING, 2)
    callbacks.again(house.redis, uid, "ops")
    assert house.reaches(uid, Status.SUCCEEDED, 3).next is None
    assert len(house.receiver.of(uid)) == 1


def test_410_ends_it_for_good_until_somebody_asks_for_it_again(house: House) -> None:
    uid = house.submit()
    house.receiver.answers[uid] = [410]
    state = house.reaches(uid, Status.FAILED)
    assert "410 Gone; it is not sent again" in (state.error or {})["message"]
    callbacks.again(house.redis, uid, "ops")
    assert house.reaches(uid, Status.SUCCEEDED).uid != state.uid
    assert house.redis.hget(store.JOB + uid, "status") == b"finished", "the execution is what it was"


def test_a_callback_that_the_config_lacks_waits_for_one_that_has_it(house: House) -> None:
    uid = house.submit(to="later")
    state = house.reaches(uid, Status.RETRYING, 0)
    assert state.attempts == 0
    house.write("later")
    try:
        eventually(lambda: "config" in (house.folder / "callbacks.log").read_text())
        house.reaches(uid, Status.SUCCEEDED)
    finally:
        house.write("ops")


@pytest.mark.parametrize("how", ["gone", "broken"])
def test_where_there_is_no_record_its_end_is_told_all_the_same(house: House, how: str) -> None:
    house.receiver.held.clear()
    before = house.receiver.asked
    held, uid = house.submit(), house.submit("fails", {"sku": "C3"})
    eventually(lambda: house.receiver.asked > before)
    house.reaches(uid, Status.QUEUED, 0)
    if how == "gone":
        house.redis.delete(store.JOB + uid)
    else:
        house.redis.set(store.STEPS + uid, "no hash")
    house.receiver.held.set()
    (told,) = eventually(lambda: house.receiver.of(uid), within=30)
    assert (told["type"], told["text"]) == ("execution.failed", f"shop/fails failed (uid {uid})")
    house.reaches(held, Status.SUCCEEDED)


def test_kills_lose_no_callback_and_doubles_have_the_same_id(house: House) -> None:
    """The worker of callbacks is killed while it sends, and so is that of the workflows."""
    house.receiver.held.clear()
    before = house.receiver.asked
    uids = [house.submit("fails" if number % 3 == 0 else "echo", {"sku": number}) for number in range(30)]
    eventually(lambda: house.receiver.asked > before)
    for which, queue in (("post", CALLBACK_QUEUE), ("work", "default")):
        child = getattr(house, which)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        setattr(house, which, house.start(queue))
    house.receiver.held.set()
    for uid in uids:
        assert house.reaches(uid, Status.SUCCEEDED)
    by_uid = {uid: {of for of, _ in house.receiver.got if of.startswith(uid)} for uid in uids}
    assert all(len(ids) == 1 for ids in by_uid.values()), by_uid
    assert house.receiver.wrong == []


def test_no_secret_of_a_callback_is_in_a_log_or_a_record(house: House) -> None:
    uid = house.submit()
    house.receiver.answers[uid] = [500]
    state = house.reaches(uid, Status.RETRYING)
    for secret in (KEY, OLD, KEY.removeprefix("whsec_"), PATH):
        for log in house.folder.glob("*.log"):
            assert secret not in log.read_text(), log
        kept = house.redis.hgetall(store.JOB + state.uid)
        assert not [value for value in cast(dict[bytes, bytes], kept).values() if secret.encode() in value]
    lines = [json.loads(line) for line in (house.folder / "callbacks.log").read_text().splitlines()]
    mine = [line for line in lines if line.get("uid") == state.uid]
    assert any(line.get("request") == uid for line in mine), "the log of the one leads to the other"


def test_a_receiver_that_hangs_does_not_hold_others_up(house: House) -> None:
    house.receiver.held.clear()
    before = house.receiver.asked
    os.kill(house.post.pid, signal.SIGSTOP)
    try:
        uids = [house.submit() for _ in range(3)]
        states = [house.reaches(uid, Status.QUEUED, 0) for uid in uids]
        house.redis.hset(store.JOB + states[0].uid, "timeout", 1)
    finally:
        os.kill(house.post.pid, signal.SIGCONT)
    first, *rest = [house.reaches(uid, Status.RETRYING) for uid in uids]
    assert (first.attempts, (first.error or {})["class"]) == (1, "AnswerTimeout")
    for one in rest:
        assert (one.error or {})["message"].startswith("not tried: its host has not answered for")
    assert house.receiver.asked == before + 1
    house.receiver.held.set()
    callbacks.again(house.redis, uids[1], "ops")
    assert house.reaches(uids[1], Status.SUCCEEDED, 2), "it is tried all the same, as somebody asks for it"
