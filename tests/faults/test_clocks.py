"""Machines whose calendars are wrong: all times that matter are Redis' own."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import pytest

from tests.faults.conftest import FaultRig, kill_both
from tests.faults.test_reaping import passes
from tests.support import eventually
from trigger import store


def start_skewed(rig: FaultRig, library: str, seconds: int) -> None:
    rig.start_with(LD_PRELOAD=library, SKEW_S=str(seconds))


def test_workers_with_wrong_clocks_neither_lose_nor_double(rig: FaultRig, preload: Callable[[str], str]) -> None:  # F40
    library = preload("skewclock")
    for seconds in (600, -600, 0):
        start_skewed(rig, library, seconds)
    uids = [rig.submit("noted", {"seconds": 3}) for _ in range(3)] + [rig.submit("noted") for _ in range(300)]
    for uid in uids:
        assert rig.succeeded(uid).attempt == 1
    rig.is_tidy()
    assert rig.evidence() == {f"{word} {uid}": 1 for uid in uids for word in "SD"}


@pytest.mark.parametrize("seconds", [600, -600])
def test_what_a_killed_worker_held_is_freed_by_one_with_a_wrong_clock(
    rig: FaultRig, preload: Callable[[str], str], seconds: int
) -> None:  # F40
    victim = rig.start_with()
    uid = rig.submit("slow_first", {"seconds": 60})
    rig.started(uid)
    kill_both(victim)
    start_skewed(rig, preload("skewclock"), seconds)
    assert rig.succeeded(uid).attempt == 2
    assert rig.evidence() == {f"S {uid}": 2, f"D {uid}": 1}
    rig.is_tidy()


def test_calls_that_a_web_process_with_a_fast_clock_took_are_not_taken_for_lost(
    rig: FaultRig, monkeypatch: pytest.MonkeyPatch
) -> None:  # F40
    true_time = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: true_time() + 600 * 10**9)
    uids = [rig.submit("noted") for _ in range(300)]
    monkeypatch.undo()
    rig.light()  # before the worker starts: it could have run all of them by the time that it is known to have started
    victim = rig.start_with(point="after take", scope="both")
    victim.wait()
    # While nobody takes anything, the one that was held comes back to the front. Those behind it are as old as it: no
    # pass of the reaper has to search for them.
    rig.redis.set("rq:suspended", 1)
    with_clock = rig.start_with()
    eventually(lambda: not rig.redis.exists(store.leased_key("default")))
    with_clock.send_signal(signal.SIGSTOP)
    ran, answers = passes(rig.redis, lease=1)
    with_clock.send_signal(signal.SIGCONT)
    assert "lrange" not in ran
    assert all(answer[:3] == [[], [], []] for answer in answers)
    rig.redis.delete("rq:suspended")
    for uid in uids:
        rig.succeeded(uid)
    rig.is_tidy()
