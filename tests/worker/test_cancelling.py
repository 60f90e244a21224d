"""Cancelling what a real worker runs, at whatever moment."""

from __future__ import annotations

import random
import time

from redis import Redis

from tests.support import eventually
from tests.worker.conftest import Rig
from trigger import store
from trigger.errors import ExecutionEnded
from trigger.store import Status, acts

TIMES = 25


def test_a_running_execution_is_cancelled_and_the_worker_goes_on(rig: Rig, redis: Redis) -> None:
    rig.start()
    uid = rig.submit("noted", {"seconds": 60})
    eventually(lambda: rig.evidence()[f"S {uid}"])
    assert acts.cancel(redis, uid, "ada") in (Status.RUNNING, Status.CANCELLED)
    record = rig.ended(uid)
    assert (record.status, record.error) == (
        Status.CANCELLED,
        {"class": "Cancelled", "message": "Cancelled by ada"},
    )
    assert rig.ended(rig.submit("echo")).status is Status.SUCCEEDED
    assert rig.evidence() == {f"S {uid}": 1}
    assert acts.cancel(redis, uid, "ada") is Status.CANCELLED


def test_a_worker_that_has_missed_the_message_sees_at_its_next_beat_that_it_is_to_cancel(
    rig: Rig, redis: Redis
) -> None:
    rig.start()
    uid = rig.submit("noted", {"seconds": 60})
    eventually(lambda: rig.evidence()[f"S {uid}"])
    redis.hset(f"rq:job:{uid}", "cancel", "ada")
    assert rig.ended(uid).status is Status.CANCELLED


def test_at_any_moment_of_its_life_an_execution_gets_one_end(rig: Rig, redis: Redis) -> None:
    chosen = random.Random(11)
    rig.start()
    finals: dict[str, store.Record] = {}
    for _ in range(TIMES):
        uid = rig.submit(chosen.choice(["noted", "flaky"]), {"seconds": chosen.choice([0, 0.05, 0.2])})
        time.sleep(chosen.choice([0, 0.002, chosen.uniform(0, 0.3)]))
        try:
            acts.cancel(redis, uid, "ada")
        except ExecutionEnded:
            pass
        finals[uid] = rig.ended(uid)
    assert rig.ended(rig.submit("echo")).status is Status.SUCCEEDED
    for uid, final in finals.items():
        assert rig.record(uid) == final
        assert rig.evidence()[f"S {uid}"] <= 1
        if final.status is Status.SUCCEEDED:
            assert rig.evidence()[f"D {uid}"] == 1
    assert redis.zcard(store.leased_key("default")) == 0
    assert redis.llen(store.POISON) == 0
