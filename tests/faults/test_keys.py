"""What stays in Redis, for how long, and that a key of a caller starts one execution."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from tests.faults.conftest import SHORT, FaultRig, child_of, kill_both
from tests.support import CONFIG, eventually
from trigger import store
from trigger.config.model import Api, NoAuth, Workflow
from trigger.errors import IdempotencyMismatch
from trigger.store.queueing import Call, Submitter, connect

NOTED = Api("shop", "noted", NoAuth(), Workflow(name="noted", python="work:noted", timeout=60))
SLOW_FIRST = Api("shop", "slow", NoAuth(), Workflow(name="slow_first", python="work:slow_first", timeout=60))
FAILS = Api("shop", "fails", NoAuth(), Workflow(name="fails", python="work:fails", timeout=60))


def keys_without_end(rig: FaultRig) -> set[str]:
    return {key.decode() for key in rig.redis.scan_iter() if rig.redis.ttl(key) == -1}


def test_every_record_goes_at_its_time_and_no_key_is_left(rig: FaultRig) -> None:  # F41
    short = replace(CONFIG, retention=2.0, idempotency=2.0)
    submitter = Submitter(rig.redis)
    victim = rig.start_with(FAULT_RETENTION="2")
    held = submitter.submit(Call(SLOW_FIRST, {"seconds": 60}, None), short).uid
    rig.started(held)
    kill_both(victim)
    rig.start_with(FAULT_RETENTION="2")
    rig.started(held, 2)
    uids = []
    for number in range(1000):
        call = Call(NOTED if number % 2 else FAILS, {}, None, key=f"{number}" if number % 3 else None)
        uids.append(submitter.submit(call, short).uid)
    eventually(lambda: store.read(rig.redis, uids[-1]) is None)
    assert store.read(rig.redis, uids[0]) is None
    eventually(lambda: not rig.redis.exists(store.INDEX, "rq:finished:default", "rq:failed:default"))
    assert not rig.redis.keys("rq:job:*")
    # What is left counts, or says which queues and workers there are.
    lasting = {"rq:queues", "rq:workers", "rq:workers:default", store.STATS, "trigger:reaper:default"}
    eventually(lambda: keys_without_end(rig) <= lasting)
    assert not rig.redis.keys("rq:results:*")
    assert not rig.redis.keys("trigger:idempotency:*")


def test_a_worker_killed_before_it_was_registered_leaves_no_key(rig: FaultRig) -> None:
    worker = rig.start_with()
    uid = rig.submit("noted", {"seconds": 1})
    rig.started(uid)
    # As if Redis had forgotten the worker: its child goes on writing, for nobody.
    (key,) = rig.redis.smembers("rq:workers:default")
    child_of(worker)
    rig.redis.delete(key)
    rig.succeeded(uid)
    eventually(lambda: rig.redis.exists(key))
    assert rig.redis.ttl(key) > 0


def test_fifty_callers_with_one_key_start_one_execution(rig: FaultRig) -> None:  # F44
    call = Call(NOTED, {"a": 1}, "ann", key="k")

    def submit(_: int) -> str:
        return Submitter(connect(rig.url, reply_timeout=5.0)).submit(call, CONFIG).uid

    with ThreadPoolExecutor(50) as pool:
        uids = set(pool.map(submit, range(50)))
    assert len(uids) == 1
    rig.start_with(SHORT)
    rig.succeeded(uids.pop())
    assert rig.evidence().total() == 2


def test_a_key_belongs_to_its_caller_and_api_and_input_and_ends_with_its_time(rig: FaultRig) -> None:  # F44
    submitter = Submitter(rig.redis)
    short = replace(CONFIG, idempotency=1.0)
    call = Call(NOTED, {"a": 1}, "ann", key="k")
    first = submitter.submit(call, short).uid
    assert submitter.submit(call, short).uid == first
    others = {submitter.submit(other, short).uid for other in (replace(call, caller="bob"), replace(call, api=FAILS))}
    assert len(others | {first}) == 3
    with pytest.raises(IdempotencyMismatch):
        submitter.submit(replace(call, input={"a": 2}), short)
    eventually(lambda: submitter.submit(call, short).uid != first)
