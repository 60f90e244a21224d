"""What nobody can read - in the queue, the ledger, a job or a command - is put aside, and the good executions run."""

from __future__ import annotations

import json
from typing import Any

import pytest
from redis import Redis

from tests.faults.conftest import FaultRig, child_of, kill_both
from tests.support import eventually
from trigger import store
from trigger.store import Status

JUNK: list[bytes | str] = [
    b"bad id",
    b"",
    b"\xff\xfe\x00",
    b"x" * 5000,
    b"../../etc/passwd",
    b"rq:job:1",
    "‮ü".encode(),
    store.new_uid(),
]


def poisoned(redis: Redis) -> list[str]:
    """What the poison list names."""
    entries: Any = redis.lrange(store.POISON, 0, -1)
    return [json.loads(entry.decode("utf-8", "replace"))["entry"] for entry in entries]


def test_junk_in_the_queue_is_put_aside(rig: FaultRig) -> None:  # F22
    first = rig.submit("noted")
    rig.redis.lpush("rq:queue:default", *JUNK)
    rig.redis.set("rq:job:string", "of another type")
    rig.redis.rpush("rq:queue:default", "string", *JUNK)
    last = rig.submit("noted")
    worker = rig.start_with()
    rig.succeeded(first)
    rig.succeeded(last)
    rig.is_tidy()
    assert len(poisoned(rig.redis)) == 2 * len(JUNK) + 1
    assert worker.poll() is None
    assert "bad id" in rig.log()


def test_junk_in_the_ledger_is_put_aside(rig: FaultRig) -> None:  # F22
    scored: Any = dict.fromkeys(JUNK, 1)
    for key in (store.waiting_key("default"), store.leased_key("default")):
        rig.redis.zadd(key, scored)
    rig.redis.zadd("rq:wip:default", scored)
    rig.redis.rpush("rq:queue:default:intermediate", *JUNK)
    uid = rig.submit("noted")
    worker = rig.start_with()
    rig.redis.sadd(f"rq:worker:{worker_name(rig)}:executions", *JUNK)
    rig.succeeded(uid)
    eventually(lambda: len(poisoned(rig.redis)) == 2 * len(JUNK))
    assert not rig.redis.exists(store.waiting_key("default"), store.leased_key("default"))
    rig.succeeded(rig.submit("noted"))
    assert worker.poll() is None


def worker_name(rig: FaultRig) -> str:
    (key,) = rig.workers()
    return key.decode().removeprefix("rq:worker:")


# Values that a field of a job should never have. Some are harmless; none may stop the others, or be lost.
CORRUPT = {
    "status": [b"", b"junk", b"started", b"scheduled", b"finished"],
    "timeout": [b"", b"abc", b"1e400", b"-5", b"nan", b"0", b"1.5", b"99999999999999999999"],
    "attempt": [b"abc", b"", b"99999999999999999999", b"-1", b"1.5"],
    "crashes": [b"abc", b"", b"99999999999999999999"],
    "failures": [b"abc", b"", b"99999999999999999999", b"-1"],
    "data": [b"", b"junk", b"\x80\x04."],
    "meta": [b"", b"[]", b"{", b"\xff", b"null"],
    "created_at": [b"junk", b"\xff"],
    "started_at": [b"junk"],
    "enqueued_at": [b"junk"],
    "result_ttl": [b"abc", b"1e400", b"-1", b"1.5", b"nan"],
    "failure_ttl": [b"abc", b"1e400", b"-1", b"1.5", b"nan"],
    "origin": [b"elsewhere", b"\xff"],
    "execution": [b"junk", b"\xff"],
    "worker_name": [b"\xff"],
    "success_callback_name": [b"os.system"],
    "repeats_left": [b"abc"],
    "group_id": [b"\xff"],
}


@pytest.mark.parametrize("workflow", ["noted", "fails", "killed_once", "again"])
def test_a_corrupt_field_harms_nobody_but_its_execution(rig: FaultRig, workflow: str) -> None:  # F22
    corrupt = {}
    good = []
    for field, values in CORRUPT.items():
        for value in values:
            uid = rig.submit(workflow)
            rig.redis.hset(f"rq:job:{uid}", field, value)
            corrupt[uid] = (field, value)
            good.append(rig.submit("noted"))
    worker = rig.start_with()
    for uid in good:
        rig.succeeded(uid, within=60)

    def unsettled() -> dict[str, Any]:
        """Those that have not ended as far as their hash can tell, and are not put aside either."""
        settled = {"finished", "failed", "stopped", "canceled"}
        put_aside = set(poisoned(rig.redis))
        states: dict[str, Any] = {uid: rig.redis.hget(f"rq:job:{uid}", "status") for uid in corrupt}
        return {
            uid: (corrupt[uid], state)
            for uid, state in states.items()
            if (state or b"").decode() not in settled and uid not in put_aside
        }

    try:
        eventually(lambda: not unsettled())
    except AssertionError:
        pytest.fail(f"in limbo: {unsettled()}")
    rig.is_tidy()
    assert all(rig.evidence()[f"S {uid}"] <= 2 for uid in corrupt)
    assert all(rig.evidence()[f"D {uid}"] == 1 for uid in good)
    assert worker.poll() is None


def test_a_corrupt_job_does_not_keep_the_reaper_from_the_others(rig: FaultRig) -> None:  # F22
    victim = rig.start_with()
    uids = [rig.submit("slow_first", {"seconds": 60}) for _ in range(2)]
    rig.started(uids[0])
    rig.redis.hset(f"rq:job:{uids[0]}", "crashes", "abc")
    second = rig.start_with()
    rig.started(uids[1])
    kill_both(victim)
    kill_both(second)
    rig.start_with()
    rig.succeeded(uids[1])
    assert rig.ended(uids[0]).status in store.FINAL
    rig.is_tidy()


COMMANDS = ["{", "[]", "null", '"text"', "{}", '{"command": 1}', '{"command": "stop-job"}', '{"command": "x"}', b"\xff"]


def test_a_command_that_nobody_understands_does_not_stop_the_worker(rig: FaultRig) -> None:
    worker = rig.start_with()
    child = child_of(worker)
    uid = rig.submit("noted", {"seconds": 1})
    rig.started(uid)
    for message in COMMANDS:
        eventually(lambda message=message: rig.redis.publish(f"rq:pubsub:{worker_name(rig)}", message))  # type: ignore[misc]
    eventually(lambda: rig.log().count("a command that nobody understands") == len(COMMANDS))
    assert rig.succeeded(uid).attempt == 1
    assert worker.poll() is None
    assert child_of(worker) == child


def test_a_key_of_the_wrong_type_stops_nobody_for_good(rig: FaultRig) -> None:  # F22
    worker = rig.start_with()
    for key in ("rq:queue:default", store.waiting_key("default"), store.leased_key("default")):
        rig.redis.delete(key)
        rig.redis.set(key, "of another type")
        eventually(lambda: "WRONGTYPE" in rig.log())
        rig.redis.delete(key)
        assert rig.succeeded(rig.submit("noted")).status is Status.SUCCEEDED
    assert worker.poll() is None
