"""Whatever becomes of an execution, the log's lines about it have all that finds it: its uid, its request, its API."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from redis import Redis

from tests.faults.conftest import FaultRig, child_of, kill_both, send_all
from tests.forks import Process
from tests.support import OwnRedis, eventually
from tests.worker.stepping import Steps
from trigger import store
from trigger.store import acts

GIVEN = "6f1dcb2a03e94ac1b7a1d1f0c2b3a495"

DEAF = """

def deaf(value):
    note("S")
    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass
"""


def start(rig: FaultRig) -> Process:
    return rig.start_with(TRIGGER_LOG="json")


def said(rig: FaultRig, uid: str, workflow: str, last: str) -> list[str]:
    """The sentences about an execution, once there is one that holds `last`."""
    eventually(lambda: any(last in entry["event"] for entry in rig.entries(uid)), within=30)
    about = {"uid": uid, "request": GIVEN, "module": "shop", "method": workflow, "workflow": workflow}
    found = rig.entries(uid)
    for entry in found:
        assert {name: entry.get(name) for name in about} == about, entry
    return [f"{entry.get('state', '')}: {entry['event']}" for entry in found]


def test_a_child_that_dies(rig: FaultRig) -> None:
    worker = start(rig)
    uid = rig.submit("slow_first", {"seconds": 60}, request=GIVEN)
    rig.started(uid)
    os.kill(child_of(worker), signal.SIGKILL)
    first, second = said(rig, uid, "slow_first", "succeeded")
    assert first == "queued: shop/slow_first was interrupted, as its process has died: it runs again"
    assert second.startswith("succeeded: shop/slow_first succeeded in ")
    assert rig.entries(uid)[-1]["attempt"] == 2


def test_one_that_kills_its_process_every_time(rig: FaultRig) -> None:
    (rig.folder / "config.yaml").write_text("crashes: 2\n" + (rig.folder / "config.yaml").read_text())
    start(rig)
    uid = rig.submit("killed", request=GIVEN)
    assert said(rig, uid, "killed", "once too often") == [
        "queued: shop/killed was interrupted, as its process has died: it runs again",
        "failed: shop/killed was interrupted, as its process has died: once too often",
    ]


def test_a_worker_that_dies_with_its_child(rig: FaultRig) -> None:
    worker = start(rig)
    uid = rig.submit("slow_first", {"seconds": 60}, request=GIVEN)
    rig.started(uid)
    kill_both(worker)
    start(rig)
    first, _ = said(rig, uid, "slow_first", "succeeded")
    assert first.startswith("queued: shop/slow_first had no owner for up to ")


def test_workers_that_die_once_too_often(rig: FaultRig) -> None:
    (rig.folder / "config.yaml").write_text("crashes: 1\n" + (rig.folder / "config.yaml").read_text())
    worker = start(rig)
    uid = rig.submit("slow_first", {"seconds": 60}, request=GIVEN)
    rig.started(uid)
    kill_both(worker)
    start(rig)
    assert said(rig, uid, "slow_first", "once too often") == [
        "failed: shop/slow_first failed: its worker died once too often"
    ]


def test_a_workflow_that_does_not_stop_after_its_timeout(rig: FaultRig) -> None:
    start(rig)
    uid = rig.submit("stubborn", timeout=1, request=GIVEN)
    assert said(rig, uid, "stubborn", "killed") == [
        "failed: shop/stubborn does not stop after its timeout of 1 s; its process is killed"
    ]


def test_a_workflow_that_does_not_end_when_it_is_cancelled(rig: FaultRig) -> None:
    with (rig.folder / "work.py").open("a") as file:
        file.write(DEAF)
    rig.configure("  deaf: work:deaf\ncancel_grace: 1s\n")
    start(rig)
    uid = rig.submit("deaf", request=GIVEN)
    rig.started(uid)
    acts.cancel(rig.redis, uid, "ada")
    assert said(rig, uid, "deaf", "killed") == [
        "cancelled: shop/deaf does not end although it was cancelled; its process is killed"
    ]


def test_a_stop_that_does_not_wait(rig: FaultRig) -> None:
    (rig.folder / "config.yaml").write_text("stop_grace: 1s\n" + (rig.folder / "config.yaml").read_text())
    worker = start(rig)
    uid = rig.submit("slow_first", {"seconds": 60}, request=GIVEN)
    rig.started(uid)
    worker.send_signal(signal.SIGTERM)
    assert said(rig, uid, "slow_first", "interrupted") == [
        "queued: shop/slow_first was interrupted, as its worker stops: it runs again"
    ]


def test_a_run_that_was_taken_over(rig: FaultRig) -> None:
    stopped = start(rig)
    uid = rig.submit("reports", {"seconds": 2}, request=GIVEN)
    rig.started(uid)
    send_all(stopped, signal.SIGSTOP)
    start(rig)
    rig.started(uid, 2)
    send_all(stopped, signal.SIGCONT)
    dropped = ": shop/reports was taken over by another worker; this run of it is dropped"
    assert dropped in said(rig, uid, "reports", "taken over")


def test_a_log_that_can_not_be_written(own_rig: FaultRig) -> None:
    with (own_rig.folder / "work.py").open("a") as file:
        file.write("\n\ndef says(value):\n    note('S')\n    time.sleep(1)\n    print('said')\n    time.sleep(1)\n")
    own_rig.configure("  says: work:says\n")
    start(own_rig)
    uid = own_rig.submit("says", request=GIVEN)
    own_rig.started(uid)
    own_rig.redis.config_set("maxmemory", 1)
    eventually(lambda: "log can't be written" in own_rig.log())
    own_rig.redis.config_set("maxmemory", 0)
    own_rig.ended(uid)
    eventually(lambda: "says succeeded" in own_rig.log())
    found = own_rig.entries(uid)
    assert {(entry["uid"], entry["request"]) for entry in found} == {(uid, GIVEN)}
    assert any("log can't be written" in entry["event"] for entry in found)


def test_steps_that_can_not_be_recorded_while_redis_is_away(tmp_path: Path, own_redis: OwnRedis) -> None:
    client = Redis.from_url(own_redis.url)
    rig = Steps(tmp_path, client, own_redis.url)
    rig.steps(it="- {name: a, python: 'work:until_go', with: {}}\n- {name: b, run: ['true']}")
    rig.start(TRIGGER_LOG="json")
    uid = rig.submit("it", request=GIVEN)
    eventually(lambda: rig.marks(uid)["a"])
    own_redis.kill()
    (rig.folder / "go").touch()
    eventually(lambda: "steps can't be recorded" in rig.log())
    own_redis.start()
    rig.ended(uid)
    eventually(lambda: "it succeeded" in rig.log())
    found = rig.entries(uid)
    assert {(entry["uid"], entry["request"]) for entry in found} == {(uid, GIVEN)}
    assert any("steps can't be recorded" in entry["event"] for entry in found)
    rig.close()
    client.close()


def test_a_job_that_nobody_can_read(rig: FaultRig) -> None:
    uids = [rig.submit("noted", request=GIVEN) for _ in range(2)]
    rig.redis.hset(store.JOB + uids[0], "data", b"junk")
    rig.redis.hset(store.JOB + uids[1], "timeout", b"junk")
    start(rig)
    (first,) = said(rig, uids[0], "noted", "failed")
    assert first.startswith("failed: shop/noted failed: the job in Redis can't be read")
    eventually(lambda: rig.entries(uids[1]))
    (second,) = rig.entries(uids[1])
    assert (second["uid"], second["event"]) == (uids[1], f"put aside as unreadable: {uids[1]!r}")
