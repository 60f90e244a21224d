"""How full queues are, and what is kept."""

from __future__ import annotations

import json

import pytest
from redis import Redis

from tests.executions.conftest import FAILED, LATER, SUCCEEDED, Bench
from trigger import executions
from trigger.executions import overview
from trigger.executions.overview import Queue


def look(redis: Redis, name: str = "default") -> Queue:
    (queue,) = overview.queues(redis, [name])
    return queue


def test_a_queue_that_nothing_was_in_is_empty(redis: Redis) -> None:
    assert overview.queues(redis, ["default", "slow"]) == [
        Queue("default", 0, 0, 0, None, 0.0, 0),
        Queue("slow", 0, 0, 0, None, 0.0, 0),
    ]
    assert overview.queue_names(redis) == set()
    assert overview.workers(redis) == []


def test_it_says_how_many_wait_run_and_wait_for_their_next_attempt(bench: Bench) -> None:
    for _ in range(5):
        bench.accept()
    bench.run(SUCCEEDED)
    bench.run(FAILED)
    bench.run(LATER)
    bench.take()
    seen = look(bench.redis)
    assert (seen.waiting, seen.running, seen.later) == (1, 1, 1)
    assert overview.queue_names(bench.redis) == {"default"}


def test_it_says_how_long_the_oldest_has_waited_by_the_clock_of_redis(bench: Bench) -> None:
    uid = bench.accept()
    bench.accept()
    seconds, _ = bench.redis.time()
    bench.redis.zadd(executions.waiting_key("default"), {uid: (seconds - 100) * 1000})
    oldest = look(bench.redis).oldest
    assert oldest is not None
    assert 100 <= oldest < 160
    bench.take()
    bench.take()
    assert look(bench.redis).oldest is None


def test_it_says_for_how_long_one_had_no_owner(bench: Bench) -> None:
    uid = bench.accept()
    bench.take()
    assert look(bench.redis).ownerless == 0.0
    seconds, _ = bench.redis.time()
    bench.redis.zadd(executions.leased_key("default"), {uid: (seconds - 50) * 1000})
    assert 50 <= look(bench.redis).ownerless < 110


def test_it_counts_the_records_that_are_kept(bench: Bench) -> None:
    assert overview.kept(bench.redis) == overview.Kept(0, 0, None, False)
    first = bench.accept()
    bench.accept()
    bench.accept()
    bench.run(SUCCEEDED)
    bench.run(FAILED)
    seen = overview.kept(bench.redis)
    assert (seen.records, seen.failed, seen.suspended) == (3, 1, False)
    assert seen.oldest == bench.record(first).created_at
    bench.redis.set("rq:suspended", 1)
    assert overview.kept(bench.redis).suspended


def test_it_shows_the_newest_of_what_was_put_aside(bench: Bench) -> None:
    assert overview.poisoned(bench.redis, 5) == []
    for number in range(3):
        bench.redis.lpush("rq:queue:default", f"<b>{number}</b>")
        bench.take()
    newest = overview.poisoned(bench.redis, 2)
    assert [entry.entry for entry in newest] == ["<b>2</b>", "<b>1</b>"]
    assert newest[0].at is not None
    assert newest[0].reason


@pytest.mark.parametrize(
    "packed",
    [b"", b"{", b"[]", b'"x"', b"{}", b"\xff\xfe", json.dumps({"at": None, "entry": {}, "reason": []}).encode()],
)
def test_what_was_put_aside_is_shown_whatever_it_is(redis: Redis, packed: bytes) -> None:
    redis.rpush(executions.POISON, packed)
    (shown,) = overview.poisoned(redis, 10)
    assert shown.at is None
    assert isinstance(shown.entry, str)
    assert isinstance(shown.reason, str)


def test_a_worker_that_is_gone_is_not_shown(redis: Redis) -> None:
    redis.sadd("rq:workers", "rq:worker:gone")
    redis.sadd("rq:workers:default", "rq:worker:gone")
    assert overview.workers(redis) == []
    assert look(redis).workers == 0
