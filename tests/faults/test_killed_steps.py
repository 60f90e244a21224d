"""Workers, their children and Redis are killed at every step's boundary and in its middle: what is done stays done."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from bench.processes import children, is_alive
from tests.faults.conftest import FaultRig, child_of, kill_both, send_all
from tests.support import OwnRedis, eventually
from tests.worker.stepping import Steps, statuses, step_of
from trigger.store import Status

NAMES = "abcde"
LIST = "\n".join(f"- {{name: {name}, python: 'work:lights', with: {{on: '{{{{ input.on }}}}'}}}}" for name in NAMES)
SLOW = "\n".join(f"- {{name: {name}, python: 'work:dawdles', with: {{}}}}" for name in NAMES)


class FaultSteps(Steps, FaultRig):
    """Workers that can be told where to die, whose workflows have steps."""


@pytest.fixture
def rig(tmp_path: Path, redis: Redis, redis_server: OwnRedis) -> Iterator[FaultSteps]:
    rig = FaultSteps(tmp_path, redis, redis_server.url)
    yield rig
    rig.close()


@pytest.mark.parametrize("scope", ["self", "both"])
@pytest.mark.parametrize("point", ["before save", "after save"])
def test_at_a_boundary_what_is_written_down_is_not_done_again(rig: FaultSteps, point: str, scope: str) -> None:
    rig.steps(it=LIST)
    worker = rig.start_with(point=point, scope=scope)
    for on in NAMES:
        uid = rig.submit("it", {"on": on})
        worker.wait(20)
        worker = rig.start_with(point=point, scope=scope)
        record = rig.ended(uid)
        assert record.status is Status.SUCCEEDED, record.error
        assert rig.has_burnt()
        twice = {on: 2} if point == "before save" else {}
        assert rig.marks(uid) == dict.fromkeys(NAMES, 1) | twice
        assert [step.output for step in record.steps] == list(NAMES)
    rig.is_tidy()


@pytest.mark.parametrize("who", ["child", "worker", "both"])
def test_a_step_that_was_interrupted_runs_again_and_no_other(rig: FaultSteps, who: str) -> None:
    rig.steps(
        it="""
        - {name: a, python: "work:mark", with: {}}
        - {name: b, python: "work:until_go", with: {}}
        - {name: c, python: "work:mark", with: {}}
        """
    )
    worker = rig.start_with()
    uid = rig.submit("it")
    eventually(lambda: rig.marks(uid)["b"] == 1)
    child = child_of(worker)
    steps = children(child)  # the one that runs, and one that stands by
    if who == "both":
        kill_both(worker)
    else:
        os.kill(child if who == "child" else worker.pid, signal.SIGKILL)
    eventually(lambda: not any(map(is_alive, steps)), within=3)
    if who != "child":
        assert statuses(rig.record(uid))["b"] in ("running", "waiting")
        rig.start_with()
    eventually(lambda: rig.marks(uid)["b"] == 2)
    (rig.folder / "go").touch()
    record = rig.ended(uid)
    assert record.status is Status.SUCCEEDED
    assert rig.marks(uid) == {"a": 1, "b": 2, "c": 1}
    assert step_of(record, "b").attempts == 2


def test_killed_at_any_moment_a_workflow_runs_to_its_end(rig: FaultSteps) -> None:
    chosen = random.Random(5)
    rig.steps(it=SLOW)
    worker = rig.start_with()
    for _ in range(12):
        uid = rig.submit("it")
        kills = 0
        for _ in range(chosen.choice([1, 2])):
            time.sleep(chosen.uniform(0, 0.3))
            if rig.record(uid).status is Status.SUCCEEDED:
                break
            kills += 1
            if chosen.random() < 0.3:
                kill_both(worker)
                worker = rig.start_with()
            else:
                os.kill(child_of(worker), signal.SIGKILL)
        record = rig.ended(uid)
        assert record.status is Status.SUCCEEDED, record.error
        marks = rig.marks(uid)
        assert set(marks) == set(NAMES)
        assert marks.total() <= len(NAMES) + kills
    rig.is_tidy()


def test_a_step_that_ends_while_redis_is_away_is_written_down_when_it_is_back(
    tmp_path: Path, own_redis: OwnRedis
) -> None:
    client = Redis.from_url(own_redis.url)
    rig = FaultSteps(tmp_path, client, own_redis.url)
    try:
        rig.steps(
            it="""
            - {name: a, python: "work:mark", with: {}}
            - {name: b, python: "work:until_go", with: {}}
            - {name: c, python: "work:mark", with: {}}
            """
        )
        rig.start()
        uid = rig.submit("it")
        eventually(lambda: rig.marks(uid)["b"] == 1)
        own_redis.kill()
        (rig.folder / "go").touch()
        time.sleep(0.5)
        assert rig.marks(uid)["c"] == 0
        own_redis.start()
        record = rig.ended(uid)
        assert record.status is Status.SUCCEEDED
        assert rig.marks(uid) == {"a": 1, "b": 1, "c": 1}
    finally:
        rig.close()
        client.close()


def test_a_worker_that_is_told_to_stop_ends_at_the_next_boundary_and_another_goes_on(rig: FaultSteps) -> None:
    rig.steps(
        it="""
        - {name: a, python: "work:until_go", with: {}}
        - {name: b, python: "work:mark", with: {}}
        """
    )
    worker = rig.start_with()
    uid = rig.submit("it")
    eventually(lambda: rig.marks(uid)["a"] == 1)
    worker.send_signal(signal.SIGTERM)
    eventually(lambda: "stopping" in rig.log())
    time.sleep(0.1)  # it says so before it tells its child
    (rig.folder / "go").touch()
    assert worker.wait(10) == 0
    assert rig.record(uid).status is Status.QUEUED
    assert rig.marks(uid) == {"a": 1}
    rig.start_with()
    assert rig.ended(uid).status is Status.SUCCEEDED
    assert rig.marks(uid) == {"a": 1, "b": 1}
    assert rig.record(uid).attempt == 2


def test_a_run_that_was_taken_over_writes_and_begins_nothing_more(rig: FaultSteps) -> None:
    rig.steps(
        it="""
        - {name: a, python: "work:until_go", with: {}}
        - {name: b, python: "work:mark", with: {}}
        """
    )
    stopped = rig.start_with()
    uid = rig.submit("it")
    eventually(lambda: rig.marks(uid)["a"] == 1)
    child = child_of(stopped)
    send_all(stopped, signal.SIGSTOP)
    rig.start_with()
    eventually(lambda: rig.marks(uid)["a"] == 2)
    (rig.folder / "go").touch()
    record = rig.ended(uid)
    send_all(stopped, signal.SIGCONT)
    eventually(lambda: (children(stopped.pid) and children(stopped.pid)[0] != child) or "taken over" in rig.log())
    time.sleep(0.3)
    assert rig.record(uid) == record
    assert rig.marks(uid) == {"a": 2, "b": 1}


def test_a_step_that_kills_the_child_every_time_ends_the_execution(rig: FaultSteps) -> None:
    (rig.folder / "config.yaml").write_text("")
    rig.steps(it="- {name: a, run: [sh, -c, 'echo x >> seen; kill -9 $PPID; sleep 60']}")
    rig.start_with()
    record = rig.ended(rig.submit("it"), within=60)
    assert (record.status, (record.error or {})["class"]) == (Status.FAILED, "WorkerDied")
    assert len((rig.folder / "seen").read_text().split()) == 5
