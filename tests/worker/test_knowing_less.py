"""A worker never fails an execution because it knows less than the process that accepted it (found.md 15, 17)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest
from redis import Redis

from tests.support import environment, eventually
from tests.worker.conftest import Rig
from trigger import store
from trigger.config import Settings
from trigger.config.model import Config
from trigger.inforce import load_checked
from trigger.store import Status, acts
from trigger.store.queueing import Call, Submitter

BOTH = "  extra: work:who\n  also: work:who\n"


class Site:
    """What a web process does: it has the config's version of the moment in force, and accepts by it."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.config = self.load()

    def load(self) -> Config:
        return load_checked(Settings.from_environ(environment(self.rig.folder, self.rig.url)), {}, imports=False)

    def accept(self, api: str) -> str:
        call = Call(self.config.apis["shop", api], {}, "tester")
        return Submitter(self.rig.redis).submit(call, self.config).uid


def configure(rig: Rig, apis: Mapping[str, str], workflows: str = "") -> None:
    """Writes the config with APIs that start workflows."""
    rig.configure(workflows)
    path = rig.folder / "config.yaml"
    lines = "".join(f"      {api}: {{auth: {{mode: none}}, workflow: '{name}'}}\n" for api, name in apis.items())
    path.write_text(path.read_text().replace("modules: {}\n", f"modules:\n  shop:\n    methods:\n{lines}"))


def fields(redis: Redis, uid: str, *names: str) -> list[bytes | None]:
    return cast(list[bytes | None], redis.hmget(store.JOB + uid, *names))


def test_the_record_says_which_version_of_the_config_accepted_it(rig: Rig) -> None:
    configure(rig, {"a": "who"})
    site = Site(rig)
    record = rig.record(site.accept("a"))
    assert record.config_version == site.config.digest[:12]
    assert record.as_json(operator=False)["config_version"] == site.config.digest[:12]


def test_an_edit_that_is_on_the_disk_but_not_taken_up_yet_runs_at_once(rig: Rig) -> None:
    configure(rig, {"a": "who"})
    rig.start()
    rig.ended(Site(rig).accept("a"))
    for number in range(5):
        configure(rig, {"a": f"new{number}"}, f"  new{number}: work:who\n")
        uid = Site(rig).accept("a")
        record = rig.ended(uid)
        assert (record.status, record.attempt) == (Status.SUCCEEDED, 1), record.error
    assert "lacks the workflow" not in rig.log()


def test_a_workflow_that_calls_another_function_now_runs_as_it_was_accepted(rig: Rig) -> None:
    configure(rig, {"a": "w"}, "  w: work:echo\n")
    rig.start()
    rig.ended(Site(rig).accept("a"))
    for function, output in (("waits", "waited"), ("echo", {})) * 3:
        configure(rig, {"a": "w"}, f"  w: work:{function}\n")
        assert rig.ended(Site(rig).accept("a")).output == output


def test_code_that_is_edited_runs_as_it_was_when_the_execution_was_accepted(rig: Rig) -> None:
    configure(rig, {"a": "w"}, "  w: fresh:number\n")
    for number in range(4):  # the same size, and all within the second that Python's own cache goes by
        (rig.folder / "fresh.py").write_text(f"def number(value):\n    return {number}\n")
        if number == 0:
            rig.start()
        assert rig.ended(Site(rig).accept("a")).output == number


def test_a_worker_without_the_workflow_puts_the_execution_back_and_counts_nothing(rig: Rig, redis: Redis) -> None:
    rig.start()
    first, second = rig.submit("elsewhere"), rig.submit("elsewhere")
    eventually(lambda: rig.record(first).status is rig.record(second).status is Status.RETRYING)
    others = [rig.submit("who") for _ in range(20)]
    for uid in others:
        assert rig.ended(uid).status is Status.SUCCEEDED
    for uid in (first, second):
        assert rig.record(uid).attempt == 0
        assert fields(redis, uid, "crashes", "failures") == [None, None]
    said = [line for line in rig.log().splitlines() if "lacks the workflow" in line]
    assert len(said) == 1, said
    assert "'elsewhere'" in said[0]
    rig.configure("  elsewhere: work:who\n")
    for uid in (first, second):
        record = rig.ended(uid)
        assert (record.status, record.attempt) == (Status.SUCCEEDED, 1)
        assert [span.what for span in record.timeline][:1] == ["queued"]
    assert redis.zcard(store.leased_key("default")) == redis.zcard(store.waiting_key("default")) == 0


def test_two_workers_of_which_one_is_behind_lose_and_double_nothing(rig: Rig, redis: Redis, tmp_path: Path) -> None:
    (tmp_path / "behind").mkdir()
    behind = Rig(tmp_path / "behind", redis, rig.url)
    rig.configure("  counted: work:noted\n")
    behind.start()
    rig.start()
    uids = [rig.submit("counted") for _ in range(12)]
    for uid in uids:
        record = rig.ended(uid, within=60)
        assert (record.status, record.attempt) == (Status.SUCCEEDED, 1), record.error
    assert rig.evidence() == {f"{letter} {uid}": 1 for uid in uids for letter in "SD"}
    assert not behind.evidence()
    behind.close()


def test_what_was_accepted_by_a_version_that_a_worker_had_runs_by_it_also_when_its_workflow_is_gone(
    rig: Rig, redis: Redis
) -> None:
    """A web process that is behind the worker goes on accepting by the version before (found.md 15, 16)."""
    configure(rig, {"a": "w"}, "  w: work:noted\n  p: {steps: [{name: s, run: [echo, hello]}]}\n")
    site = Site(rig)
    rig.start()
    first = site.accept("a")
    eventually(lambda: rig.evidence()[f"D {first}"])
    blocker = rig.submit("noted", {"seconds": 6})
    waiting = [site.accept("a") for _ in range(3)]
    configure(rig, {"a": "renamed"}, "  renamed: work:noted\n")
    eventually(lambda: "3 executions in queue default wait for the workflow 'w'" in rig.log(), within=30)
    for uid in (blocker, *waiting, site.accept("a"), Site(rig).accept("a")):
        record = rig.ended(uid)
        assert (record.status, record.attempt) == (Status.SUCCEEDED, 1), record.error
    assert "lacks the workflow 'w';" not in rig.log()


def test_after_ten_minutes_without_a_worker_that_knows_it_the_execution_fails_and_says_why(
    rig: Rig, redis: Redis
) -> None:
    uid = rig.submit("elsewhere")
    redis.hset(store.JOB + uid, "unknown_since", int((redis.time()[0] - 590) * 1000))
    rig.start()
    eventually(lambda: rig.record(uid).status is Status.RETRYING)
    redis.hset(store.JOB + uid, "unknown_since", int((redis.time()[0] - 601) * 1000))
    redis.zadd(store.leased_key("default"), {uid: 0})  # its pause is over
    record = rig.ended(uid)
    assert record.status is Status.FAILED
    assert record.error is not None
    assert "no worker knows the workflow 'elsewhere'" in record.error["message"]
    assert "10 minutes" in record.error["message"]


def test_an_execution_that_waits_for_a_worker_that_knows_it_can_be_cancelled(rig: Rig, redis: Redis) -> None:
    rig.start()
    uid = rig.submit("elsewhere")
    eventually(lambda: rig.record(uid).status is Status.RETRYING)
    acts.cancel(redis, uid, "admin")
    assert rig.record(uid).status is Status.CANCELLED


@pytest.mark.parametrize("value", [None, 7, ["x"], {"a": 1}])
def test_a_version_that_can_not_be_read_does_no_harm(rig: Rig, redis: Redis, value: Any) -> None:
    uid = rig.submit("who")
    meta = json.loads(cast(bytes, redis.hget(store.JOB + uid, "meta")))
    redis.hset(store.JOB + uid, "meta", json.dumps(meta | {"config": value}))
    rig.start()
    assert rig.ended(uid).status is Status.SUCCEEDED
