"""The slots of an API with `concurrency`, when those die that have one."""

from __future__ import annotations

import os
import signal

import pytest

from tests.faults.conftest import FaultRig, child_of, kill_both
from tests.support import CONFIG, eventually
from trigger.config.model import Api, Concurrency, NoAuth, Workflow
from trigger.store.conditions import limits_of
from trigger.store.keys import HELD, SLOTS, SLOTTED
from trigger.store.queueing import Call, Submitter

API = Api("shop", "slow_first", NoAuth(), Workflow("slow_first", "work:slow_first"), concurrency=Concurrency(1))


def submit(rig: FaultRig, seconds: float) -> str:
    value = {"seconds": seconds}
    call = Call(API, value, "tester", limits=limits_of(API, value, {}, "tester", "192.0.2.1"))
    return Submitter(rig.redis).submit(call, CONFIG).uid


@pytest.mark.parametrize("who", ["a worker and all below it", "the process of a worker"])
def test_the_only_slot_is_had_by_one_at_a_time_whoever_dies(rig: FaultRig, who: str) -> None:
    victim = rig.start_with()
    first = submit(rig, 60)
    rig.started(first)
    rig.start_with()
    second = submit(rig, 0)
    assert rig.record(second).waits_for == "concurrency"
    if who == "the process of a worker":
        os.kill(child_of(victim), signal.SIGKILL)
    else:
        kill_both(victim)
    assert rig.succeeded(first).attempt == 2
    rig.succeeded(second)
    lines = (rig.folder / "evidence").read_text().splitlines()
    assert lines.index(f"D {first}") < lines.index(f"S {second}")
    eventually(lambda: not (rig.redis.keys(f"{SLOTS}*") or rig.redis.keys(f"{HELD}*") or rig.redis.exists(SLOTTED)))
    rig.is_tidy()
