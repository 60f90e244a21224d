"""GET /v1/executions/<uid>/events: what a stream tells, that it goes on without loss or doubles, and how it ends."""

from __future__ import annotations

import json
import re
import threading
from typing import Any, NamedTuple

import pytest
from redis import Redis

from tests.store.conftest import STEPPED, SUCCEEDED, Bench
from tests.store.conftest import api as api_of
from tests.support import awaited, eventually
from tests.web.conftest import MakeSite
from tests.web.site import OPERATOR, OTHER_TOKEN, TOKEN, Site, accepted, basic, refusal
from trigger import store
from trigger.store.log import Log
from trigger.store.lua import load
from trigger.web import events, waiting

ADMIN = basic("admin", OPERATOR)


class Event(NamedTuple):
    kind: str
    data: Any
    id: str


def parsed(text: str) -> list[Event]:
    """The events of a stream, which begins with when to come again; comments are left out."""
    first, *blocks = text.split("\n\n")
    assert first == "retry: 1000"
    assert blocks.pop() == ""
    found = []
    for block in blocks:
        if block != ":":
            match = re.fullmatch(r"id: (\S*)\nevent: (\w+)\ndata: (.*)", block)
            assert match is not None, block
            found.append(Event(match[2], json.loads(match[3]), match[1]))
    return found


def stream(site: Site, uid: str, last: str = "", **headers: str) -> list[Event]:
    response = site.call(f"/v1/executions/{uid}/events", "GET", headers={**ADMIN, "Last-Event-ID": last, **headers})
    assert response.status_code == 200
    assert response.content_type == "text/event-stream; charset=utf-8"
    assert response.headers["X-Accel-Buffering"] == "no"
    assert response.headers["Cache-Control"] == "no-store"
    return parsed(response.text)


class Told:
    """An execution with steps, and what a worker tells of it."""

    def __init__(self, redis: Redis) -> None:
        self.bench = Bench(redis)
        self.uid = self.bench.accept(api_of("open", "any", STEPPED))
        taken = self.bench.take()
        assert taken is not None
        self.taken = taken
        self._log = Log(redis, *taken, limit=1024 * 1024)
        self._save = load("save_steps").on(redis)

    def step(self, name: str, status: str, **more: Any) -> None:
        state = json.dumps({"status": status, "attempts": 1, **more})
        plan = json.dumps({"steps": ["quote", "order", "tell"], "on_failure": []})
        assert self._save(
            job=store.JOB + self.uid, steps=store.STEPS + self.uid, run=self.taken[1], more=["", plan, name, state]
        )

    def say(self, *texts: str) -> None:
        for text in texts:
            self._log.write("stdout", text, step="quote")
        assert self._log.flush()

    def end(self) -> None:
        assert self.bench.end(*self.taken, SUCCEEDED)


@pytest.fixture
def told(site: Site, redis: Redis) -> Told:
    return Told(redis)


def test_it_tells_all_of_an_execution_that_has_ended(site: Site, told: Told) -> None:
    told.step("quote", "succeeded", output=7)
    told.say("grüße", "two")
    told.step("order", "running")
    told.end()
    found = stream(site, told.uid)
    record = site.call(f"/v1/executions/{told.uid}", "GET", headers=ADMIN).get_json()["response"]
    assert [event.kind for event in found] == ["status", "step", "step", "step", "log", "log", "end"]
    assert found[0].data == {name: record[name] for name in events.STATUS}
    assert [event.data for event in found if event.kind == "step"] == record["steps"]
    assert [event.data["text"] for event in found if event.kind == "log"] == ["grüße", "two"]
    assert found[-1].data == record
    assert len({event.id for event in found}) == len(found)


def test_it_goes_on_from_every_event_without_loss_or_doubles(site: Site, told: Told) -> None:
    told.step("quote", "succeeded")
    told.say(*map(str, range(events.LINES + 5)))
    told.end()
    whole = stream(site, told.uid)
    assert len(whole) == events.LINES + 5 + 5
    for place, event in list(enumerate(whole[:-1]))[::20]:
        assert stream(site, told.uid, event.id) == whole[place + 1 :]
    for nonsense in ("x", "1-1", f"{2**70}-0///", "0-0/r1/" + "s" * 5000):
        assert [event.data for event in stream(site, told.uid, nonsense) if event.kind == "end"] == [whole[-1].data]
    answer = site.call(f"/v1/executions/{told.uid}/events", "GET", headers={**ADMIN, "Last-Event-ID": whole[-1].id})
    assert (answer.status_code, answer.data) == (204, b"")  # an EventSource comes no more


def test_it_tells_what_changes_as_it_comes(site: Site, told: Told, redis: Redis) -> None:
    found: list[Event] = []
    thread = threading.Thread(target=lambda: found.extend(stream(site, told.uid)))
    thread.start()
    eventually(lambda: awaited(redis))
    told.step("quote", "running")
    told.say("one")
    told.step("quote", "succeeded", output=1)
    told.end()
    thread.join()
    kinds = [event.kind for event in found]
    assert (kinds[0], kinds[-1], kinds.count("end")) == ("status", "end", 1)
    assert [event.data["status"] for event in found if event.kind == "status"] == ["running", "succeeded"]
    assert [event.data["text"] for event in found if event.kind == "log"] == ["one"]
    assert [event.data["status"] for event in found if event.kind == "step" and event.data["name"] == "quote"][-1] == (
        "succeeded"
    )


def test_who_may_read_the_record_may_follow_it(site: Site, redis: Redis) -> None:
    uid = accepted(site.call("keyed/one", headers={"token": TOKEN}))
    store_path = f"/v1/executions/{uid}/events"
    for headers in ({}, {"token": OTHER_TOKEN}, basic("admin", "wrong")):
        assert refusal(site.call(store_path, "GET", headers=headers)).code == "requestError.executionNotFound"
    assert refusal(site.call(f"/v1/executions/{store.new_uid()}/events", "GET", headers=ADMIN)).status == 404
    assert refusal(site.call(store_path, "POST", headers=ADMIN)).status == 405
    Bench(redis).run(SUCCEEDED)
    (end,) = [event for event in stream(site, uid, Authorization="", token=TOKEN) if event.kind == "end"]
    assert end.data["status"] == "succeeded"


def test_it_is_bounded_in_time_and_says_now_and_then_that_it_lives(
    site: Site, told: Told, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "LONGEST", 0.5)
    monkeypatch.setattr(events, "HEARTBEAT", 0.05)
    text = site.call(f"/v1/executions/{told.uid}/events", "GET", headers=ADMIN).text
    assert "\n\n:\n\n" in text
    (status,) = parsed(text)
    assert status.data["status"] == "running"
    assert [event.kind for event in stream(site, told.uid, status.id)] == []
    eventually(lambda: not awaited(redis))
    head = site.call(f"/v1/executions/{told.uid}/events", "HEAD", headers=ADMIN)
    assert (head.status_code, head.mimetype, head.data) == (200, "text/event-stream", b"")


def test_who_finds_no_place_is_told_to_come_later(
    make_site: MakeSite, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "places", lambda: 0)
    site = make_site()
    uid = accepted(site.call("open/any"))
    answer = site.call(f"/v1/executions/{uid}/events", "GET", headers=ADMIN)
    assert refusal(answer).code == "requestError.tooManyRequests"
    assert answer.headers["Retry-After"] == "1"
