"""The reaper: what nobody owns runs again, once; what is due runs; it costs the same however long the queue is."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from redis import Redis
from rq import Worker as RqWorker
from rq.job import Job as RqJob
from rq.queue import Queue as RqQueue
from rq.registry import FailedJobRegistry, FinishedJobRegistry, StartedJobRegistry
from rq.serializers import JSONSerializer

from bench.reaper import fill
from tests.faults.conftest import FaultRig, kill_both
from tests.support import OwnRedis, eventually
from trigger import store
from trigger.config.model import Api, NoAuth, Workflow
from trigger.store import Status
from trigger.store.exchange import Exchange
from trigger.store.lua import load
from trigger.store.queueing import connect

NOTED = Api("shop", "noted", NoAuth(), Workflow(name="noted", python="work:noted", timeout=60))


def abandon(redis: Redis, count: int) -> None:
    """Takes so many executions for a worker that does not exist, and lets their leases run out at once."""
    exchange = Exchange(redis, "default", "gone", lease=0)
    for _ in range(count):
        assert exchange().taken


def look_at_everything(redis: Redis) -> None:
    """Every view that RQ's tools and ours have of a queue; some of RQ's clean up while they count."""
    queue = RqQueue("default", connection=redis, serializer=JSONSerializer)
    for registry_class in (StartedJobRegistry, FailedJobRegistry, FinishedJobRegistry):
        registry: Any = registry_class("default", connection=redis, serializer=JSONSerializer)
        assert registry.count >= 0
        registry.get_job_ids()
    assert queue.count >= 0
    for job_id in queue.get_job_ids()[:5]:
        RqJob.fetch(job_id, connection=redis, serializer=JSONSerializer)
    RqWorker.all(connection=redis)
    for summary in store.page(redis, store.Query(limit=100)).executions:
        store.read(redis, summary.uid)


def test_two_reapers_and_a_console_free_each_abandoned_execution_once(rig: FaultRig) -> None:  # F18
    uids = [rig.submit("noted") for _ in range(200)]
    abandon(rig.redis, len(uids))
    over = threading.Event()
    failures: list[BaseException] = []

    def poll() -> None:
        client = connect(rig.url, reply_timeout=5.0)
        try:
            while not over.wait(0.1):
                look_at_everything(client)
        except BaseException as error:  # noqa: BLE001  a thread's exception is told where the test can see it
            failures.append(error)

    consoles = [threading.Thread(target=poll) for _ in range(2)]
    for console in consoles:
        console.start()
    try:
        for _ in range(2):
            rig.start_with()
        for uid in uids:
            rig.succeeded(uid)
        rig.is_tidy()
    finally:
        over.set()
        for console in consoles:
            console.join()
    assert not failures
    assert rig.evidence() == {f"{word} {uid}": 1 for uid in uids for word in "SD"}
    assert {rig.redis.hget(f"rq:job:{uid}", "crashes") for uid in uids} == {b"1"}
    assert store.stats(rig.redis)["reaped"] == len(uids)


def delay(redis: Redis, uid: str, milliseconds: int) -> None:
    """Puts an accepted execution off, as a retry with a delay is: from the queue to the leased half of the ledger."""
    seconds, micros = redis.time()
    due = seconds * 1000 + micros // 1000 + milliseconds
    with redis.pipeline() as step:
        step.lrem("rq:queue:default", 1, uid)
        step.hset(f"rq:job:{uid}", "status", "scheduled")
        step.zrem(store.waiting_key("default"), uid)
        step.zadd(store.leased_key("default"), {uid: due})
        step.zadd("rq:scheduled:default", {uid: due / 1000})
        step.execute()


@pytest.mark.parametrize("point", ["before reap", "after reap"])
def test_what_is_due_later_runs_once_whoever_dies_when_it_is_moved(rig: FaultRig, point: str) -> None:  # F42
    uids = [rig.submit("noted") for _ in range(20)]
    later = rig.submit("noted")
    for uid in uids:
        delay(rig.redis, uid, 0)
    delay(rig.redis, later, 5000)
    assert {rig.record(uid).status for uid in uids} == {Status.RETRYING}
    rig.redis.set("rq:suspended", 1)  # who is killed here runs nothing: only the move is looked at
    rig.light()
    reaper = rig.start_with(point=point)
    eventually(rig.has_burnt)
    reaper.wait()
    rig.redis.delete("rq:suspended")
    rig.start_with()
    for uid in uids:
        rig.succeeded(uid)
    assert rig.record(later).status is Status.RETRYING
    rig.succeeded(later)
    rig.is_tidy()
    assert rig.evidence() == {f"{word} {uid}": 1 for uid in (*uids, later) for word in "SD"}
    assert not rig.redis.exists("rq:scheduled:default")


@pytest.mark.parametrize("damage", ["its entry", "the whole list", "its status"])
def test_an_execution_that_is_in_no_queue_is_found(rig: FaultRig, damage: str) -> None:
    uid = rig.submit("noted")
    others = [rig.submit("noted") for _ in range(3)]
    if damage == "its entry":
        rig.redis.lrem("rq:queue:default", 1, uid)
    elif damage == "the whole list":
        rig.redis.delete("rq:queue:default")
    else:
        rig.redis.hset(f"rq:job:{uid}", "status", "started")
    rig.start_with()
    for each in (uid, *others):
        rig.succeeded(each)
    rig.is_tidy()
    assert rig.evidence() == {f"{word} {u}": 1 for u in (uid, *others) for word in "SD"}


def commands(redis: Redis) -> dict[str, int]:
    """How often each command has run, those within scripts included."""
    said: Any = redis.info("commandstats")
    return {name.removeprefix("cmdstat_"): stat["calls"] for name, stat in said.items()}


def passes(redis: Redis, count: int = 10, *, lease: int = 10_000) -> tuple[dict[str, int], list[Any]]:
    """What so many passes of the reaper run in Redis, and what they answer."""
    reap = load("reap").on(redis)
    named = {
        "list": "rq:queue:default",
        "queue": "default",
        "grace": lease,
        "retention": 3_600_000,
        "budget": 5,
        "error": "",
        "exc_string": "",
    }
    reap(**named)
    before = commands(redis)
    answers = [reap(**named) for _ in range(count)]
    after = commands(redis)
    return {name: calls - before.get(name, 0) for name, calls in after.items() if calls != before.get(name, 0)}, answers


def test_a_pass_of_the_reaper_costs_the_same_however_long_the_queue_is(rig: FaultRig) -> None:  # F45
    none, _ = passes(rig.redis)
    fill(rig.redis, NOTED, 100)
    few, _ = passes(rig.redis)
    fill(rig.redis, NOTED, 100_000)
    many, answers = passes(rig.redis)
    assert all(answer[:3] == [[], [], []] for answer in answers)
    assert many == few
    assert sum(many.values()) <= sum(none.values()) + 10  # one more command a pass: where the head is in the ledger


def test_a_hundred_thousand_that_wait_survive_a_restart_of_everything(
    own_rig: FaultRig, own_redis: OwnRedis
) -> None:  # F45
    uids = set(fill(own_rig.redis, NOTED, 100_000))
    workers = [own_rig.start_with() for _ in range(2)]
    eventually(lambda: own_rig.evidence().total() > 200)
    for worker in workers:
        kill_both(worker)
    own_redis.restart()
    waiting, leased, ledger = ledger_and_queue(own_rig.redis)
    assert len(set(waiting)) == len(waiting)
    assert set(waiting) == ledger
    assert ledger | leased | done(own_rig) == uids
    # The first are enough to see that all goes on; the others need not run.
    others = waiting[500:]
    own_rig.redis.ltrim("rq:queue:default", 0, 499)
    own_rig.redis.zrem(store.waiting_key("default"), *others)
    for _ in range(2):
        own_rig.start_with()
    own_rig.is_tidy()
    assert done(own_rig) == uids - set(others)
    doubled = {line for line, times in own_rig.evidence().items() if times > 1}
    assert len(doubled) <= 2 * len(workers)  # those that were running, and ended before they could say so


def ledger_and_queue(redis: Redis) -> tuple[list[str], set[str], set[str]]:
    """The queue, and the leased and the waiting half of the ledger."""
    raw: list[Any] = [
        redis.lrange("rq:queue:default", 0, -1),
        redis.zrange(store.leased_key("default"), 0, -1),
        redis.zrange(store.waiting_key("default"), 0, -1),
    ]
    queue, leased, waiting = ([uid.decode() for uid in uids] for uids in raw)
    return queue, set(leased), set(waiting)


def done(rig: FaultRig) -> set[str]:
    """The uids of the executions that say themselves that they have run to their end."""
    return {line[2:] for line in rig.evidence() if line.startswith("D ")}


def test_poison_entries_tell_what_and_why(rig: FaultRig) -> None:
    rig.redis.rpush("rq:queue:default", "junk entry")
    rig.start_with()
    eventually(lambda: rig.redis.llen(store.POISON))
    (entry,) = rig.redis.lrange(store.POISON, 0, -1)
    told = json.loads(entry)
    assert told["entry"] == "junk entry"
    assert told["reason"] == "the queue names a job that does not exist"
    assert told["at"].endswith("Z")
    assert store.stats(rig.redis)["poisoned"] == 1
