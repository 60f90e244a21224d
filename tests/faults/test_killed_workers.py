"""Workers and their children are killed at every step of an execution's life; it runs to its end all the same."""

from __future__ import annotations

import os
import signal

import pytest

from bench.processes import is_alive
from tests.faults.conftest import FaultRig, child_of, kill_both, send_all
from tests.support import eventually
from trigger.store import Status

# At the defaults an execution is free 15 seconds after its worker and child have died; a busy machine gets some more.
FREE_AGAIN = 15 + 5


def test_without_a_fault_everything_runs_exactly_once(rig: FaultRig) -> None:  # F01
    rig.start()
    rig.start()
    uids = [rig.submit("noted") for _ in range(3000)]
    eventually(lambda: rig.evidence().total() >= 2 * len(uids), within=60)
    rig.is_tidy()
    assert rig.evidence() == {f"{word} {uid}": 1 for uid in uids for word in "SD"}


def test_when_worker_and_child_are_killed_the_execution_is_free_within_15_seconds(rig: FaultRig) -> None:  # F08
    workers = [rig.start() for _ in range(3)]
    uids = [rig.submit("slow_first", {"seconds": 60}) for _ in workers]
    for uid in uids:
        rig.started(uid)
    rig.start()
    for worker in workers:
        kill_both(worker)
    for uid in uids:
        rig.started(uid, 2, within=FREE_AGAIN)
        assert rig.succeeded(uid).attempt == 2
    assert rig.evidence() == {f"S {uid}": 2 for uid in uids} | {f"D {uid}": 1 for uid in uids}


def test_a_child_dies_with_its_worker_and_its_execution_runs_again(rig: FaultRig) -> None:  # F06
    worker = rig.start_with()
    uid = rig.submit("slow_first", {"seconds": 60})
    rig.started(uid)
    child = child_of(worker)
    worker.kill()
    eventually(lambda: not is_alive(child), within=3)
    rig.start_with()
    assert rig.succeeded(uid).attempt == 2
    assert rig.evidence() == {f"S {uid}": 2, f"D {uid}": 1}


def test_when_only_the_child_is_killed_the_execution_runs_again_at_once(rig: FaultRig) -> None:  # F07
    # With a lease that the test would not live to see run out.
    worker = rig.start_with({"lease": 600.0})
    uid = rig.submit("slow_first", {"seconds": 60})
    rig.started(uid)
    os.kill(child_of(worker), signal.SIGKILL)
    rig.started(uid, 2, within=5)
    assert rig.succeeded(uid).attempt == 2
    assert worker.poll() is None


# What has been done when the child dies there: how often the workflow has run to its end when all is over.
RUNS = {"before take": 1, "after take": 1, "before end": 2, "after end": 1}


@pytest.mark.parametrize("scope", ["self", "both"])
@pytest.mark.parametrize("point", RUNS)
def test_a_worker_killed_at_any_step_of_an_execution_loses_nothing(
    rig: FaultRig, point: str, scope: str
) -> None:  # F09 to F13
    rig.start_with(point=point, scope=scope)
    rig.light()
    uid = rig.submit("noted")
    eventually(rig.has_burnt)
    rig.start_with()
    rig.succeeded(uid)
    other = rig.submit("noted")
    rig.succeeded(other)
    rig.is_tidy()
    assert rig.evidence() == {f"{word} {u}": n for u, n in ((uid, RUNS[point]), (other, 1)) for word in "SD"}


@pytest.mark.parametrize("point", ["before beat", "after beat", "before free", "after free"])
def test_a_worker_killed_at_any_step_loses_nothing(rig: FaultRig, point: str) -> None:
    worker = rig.start_with(point=point)
    uid = rig.submit("slow_first", {"seconds": 60})
    rig.started(uid)
    rig.light()
    if point.endswith("free"):
        os.kill(child_of(worker), signal.SIGKILL)
    eventually(rig.has_burnt)
    rig.start_with()
    assert rig.succeeded(uid).attempt == 2
    rig.is_tidy()


def test_a_worker_killed_while_it_reaps_leaves_nothing_locked(rig: FaultRig) -> None:  # F17
    victim = rig.start_with()
    uid = rig.submit("slow_first", {"seconds": 60})
    rig.started(uid)
    for point in ("before reap", "after reap"):
        rig.light()
        reaper = rig.start_with(point=point)
        eventually(rig.has_burnt)
        reaper.wait()
    kill_both(victim)
    rig.start_with()
    assert rig.succeeded(uid).attempt == 2


def test_an_execution_that_kills_its_worker_every_time_is_failed_with_the_reason(rig: FaultRig) -> None:  # F20
    rig.start_with()
    poison = rig.submit("killed")
    others = [rig.submit("noted") for _ in range(20)]
    record = rig.ended(poison)
    assert record.status is Status.FAILED
    assert record.error == {"class": "WorkerDied", "message": "its worker died 5 times"}
    assert record.attempt == 5
    for uid in others:
        rig.succeeded(uid)
    assert rig.evidence() == {f"S {poison}": 5} | {f"{word} {uid}": 1 for uid in others for word in "SD"}
    rig.is_tidy()


def test_the_crash_budget_also_counts_workers_that_died_with_their_child(rig: FaultRig) -> None:
    uid = rig.submit("slow_first", {"seconds": 60})
    rig.redis.hset(f"rq:job:{uid}", "crashes", 4)
    worker = rig.start_with()
    rig.started(uid)
    kill_both(worker)
    rig.start_with()
    assert rig.ended(uid).error == {"class": "WorkerDied", "message": "its worker died 5 times"}
    rig.is_tidy()


def test_an_execution_that_ignores_its_timeout_is_killed_and_says_so(rig: FaultRig) -> None:  # F21
    rig.start_with()
    uid = rig.submit("stubborn", timeout=1)
    other = rig.submit("noted")
    record = rig.ended(uid)
    assert record.status is Status.FAILED
    assert record.error == {"class": "Timeout", "message": "The workflow took longer than 1 s and had to be killed"}
    rig.succeeded(other)
    assert rig.evidence()[f"S {uid}"] == 1


def test_a_worker_that_stood_still_does_not_overwrite_what_another_has_done(rig: FaultRig) -> None:  # F19
    worker = rig.start_with()
    uid = rig.submit("reports", {"seconds": 3})
    rig.started(uid)
    child = child_of(worker)
    send_all(worker, signal.SIGSTOP)
    other = rig.start_with()
    record = rig.succeeded(uid)
    assert record.output == 2
    send_all(worker, signal.SIGCONT)
    # Its own run of it goes on from where it stood, or is stopped: in both cases it counts for nothing.
    last = rig.submit("reports", {})
    rig.succeeded(last)
    eventually(lambda: not is_alive(child) or rig.evidence()[f"D {uid}"] == 2)
    assert rig.record(uid) == record
    assert worker.poll() is None
    assert other.poll() is None


def test_a_run_that_another_worker_has_taken_over_is_stopped(rig: FaultRig) -> None:  # F19
    worker = rig.start_with()
    uid = rig.submit("slow_first", {"seconds": 60})
    rig.started(uid)
    child = child_of(worker)
    os.kill(worker.pid, signal.SIGSTOP)  # the child goes on, but nobody beats for it
    rig.start_with()
    record = rig.succeeded(uid)
    assert record.attempt == 2
    os.kill(worker.pid, signal.SIGCONT)
    eventually(lambda: not is_alive(child))
    assert rig.record(uid) == record
    assert rig.evidence() == {f"S {uid}": 2, f"D {uid}": 1}
