"""Cancelling workflows with steps at whatever moment, and going on with what is left of them."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from tests.support import OwnRedis, eventually
from tests.worker.stepping import Steps, statuses, step_of
from trigger import store
from trigger.errors import ExecutionEnded, WorkflowChanged
from trigger.store import Status, acts
from trigger.store.steps import REUSED

TIMES = 30

CANCELLED = {"class": "Cancelled", "message": "Cancelled by ada"}


@pytest.fixture
def rig(tmp_path: Path, redis: Redis, redis_server: OwnRedis) -> Iterator[Steps]:
    rig = Steps(tmp_path, redis, redis_server.url)
    yield rig
    rig.close()


def test_the_step_that_runs_is_told_and_nothing_begins_after_it(rig: Steps, redis: Redis) -> None:
    rig.steps(
        it="""
        steps:
          - {name: a, python: "work:mark", with: {}}
          - {name: b, python: "work:tidy", with: {}}
          - {name: c, python: "work:mark", with: {}}
        on_failure:
          - {name: alert, python: "work:mark", with: {}}
        """
    )
    worker = rig.start()
    uid = rig.submit("it")
    eventually(lambda: rig.marks(uid)["b"])
    acts.cancel(redis, uid, "ada")
    record = rig.ended(uid)
    assert (record.status, record.error) == (Status.CANCELLED, CANCELLED)
    assert statuses(record) == {"a": "succeeded", "b": "cancelled", "c": "skipped", "alert": "skipped"}
    assert rig.marks(uid) == {"a": 1, "b": 1, "b-tidied": 1}
    assert acts.cancel(redis, uid, "grace") is Status.CANCELLED
    assert rig.record(uid) == record
    assert worker.poll() is None
    rig.nothing_is_left()


def test_one_that_does_not_listen_is_killed_after_the_grace_with_all_it_has_started(rig: Steps, redis: Redis) -> None:
    rig.steps(
        it="- {name: a, python: 'work:stays_with_family', with: {}}", well="- {name: a, python: 'work:mark', with: {}}"
    )
    rig.start()
    uid = rig.submit("it")
    eventually(lambda: rig.marks(uid)["a"])
    acts.cancel(redis, uid, "ada")
    assert rig.ended(uid).status is Status.CANCELLED
    pids = (rig.folder / "pids").read_text().split()
    assert len(pids) == 2
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    rig.succeeds("well")


def test_all_steps_that_run_at_the_same_time_are_told(rig: Steps, redis: Redis) -> None:
    names = "abc"
    rig.steps(it="\n".join(f"- {{name: {name}, python: 'work:tidy', with: {{}}, needs: []}}" for name in names))
    rig.start()
    uid = rig.submit("it")
    eventually(lambda: set(rig.marks(uid)) == set(names))
    acts.cancel(redis, uid, "ada")
    assert set(statuses(rig.ended(uid)).values()) == {"cancelled"}
    assert rig.marks(uid) == dict.fromkeys([f"{name}{end}" for name in names for end in ("", "-tidied")], 1)


def test_at_any_moment_there_is_one_end_and_no_process_is_left(rig: Steps, redis: Redis) -> None:
    chosen = random.Random(7)
    token = f"30{rig.folder.stat().st_ino}"
    rig.steps(
        it=f"""
        - {{name: a, python: "work:dawdles", with: {{seconds: 0.02}}}}
        - {{name: b, run: [sh, -c, 'sleep 0.03; (sleep {token} &) ; sleep 0.03']}}
        - {{name: c, run: [sh, -c, 'trap "" TERM; sleep 0.05']}}
        """
    )
    rig.start()
    seen = set()
    finals: dict[str, store.Record] = {}
    for _ in range(TIMES):
        uid = rig.submit("it")
        time.sleep(chosen.uniform(0, 0.25))
        try:
            acts.cancel(redis, uid, "ada")
        except ExecutionEnded:
            pass
        finals[uid] = rig.ended(uid)
        seen.add(finals[uid].status)
        assert not rig.processes_of(f"sleep {token}")
    rig.succeeds("it")
    assert {uid: rig.record(uid) for uid in finals} == finals
    assert seen <= {Status.SUCCEEDED, Status.CANCELLED}
    for uid, final in finals.items():
        assert rig.marks(uid)["a"] <= 1
        assert (redis.xlen(store.RESULTS + uid) == 1) or final.started_at is None
    rig.nothing_is_left()


def test_a_resumed_execution_does_what_is_left(rig: Steps, redis: Redis) -> None:
    rig.steps(
        it="""
        - {name: a, python: "work:mark", with: {n: 7}}
        - {name: b, python: "work:until_go", with: {}}
        - {name: c, python: "work:give", with: {n: "{{ steps.a.output.n }}", b: "{{ steps.b.output }}"}}
        """
    )
    rig.start()
    uid = rig.submit("it")
    eventually(lambda: rig.marks(uid)["b"])
    acts.cancel(redis, uid, "ada")
    rig.ended(uid)
    (rig.folder / "go").touch()
    record = rig.resume(uid)
    assert record.status is Status.SUCCEEDED
    assert (record.resumed_from, record.output) == (uid, {"n": 7, "b": "gone on"})
    assert rig.marks(record.uid) == {"b": 1}
    assert step_of(record, "a").because == REUSED
    assert statuses(rig.record(uid)) == {"a": "succeeded", "b": "cancelled", "c": "skipped"}


def test_a_failed_one_goes_on_from_the_mended_step_unless_what_is_done_was_changed(rig: Steps) -> None:
    listed = """
        - {{name: a, python: "work:mark", with: {{n: {n}}}}}
        - {{name: b, run: [sh, -c, exit {code}]}}
        - {{name: c, python: "work:mark", with: {{}}}}
        """
    rig.steps(it=listed.format(n=1, code=3))
    rig.start()
    uid = rig.fails("it").uid
    rig.steps(it=listed.format(n=2, code=0))
    with pytest.raises(WorkflowChanged):
        rig.resume(uid)
    rig.steps(it=listed.format(n=1, code=0))
    eventually(lambda: "config" in rig.log() and rig.resume(uid).status is Status.SUCCEEDED)
