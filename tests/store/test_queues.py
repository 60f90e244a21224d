"""How full queues are."""

from __future__ import annotations

from redis import Redis

from tests.store.conftest import FAILED, LATER, SUCCEEDED, Bench
from trigger import store
from trigger.store.overview import overview
from trigger.store.queues import Queue, queues


def look(redis: Redis, name: str = "default") -> Queue:
    (queue,) = queues(redis, [name])
    return queue


def test_a_queue_that_nothing_was_in_is_empty(redis: Redis) -> None:
    assert queues(redis, ["default", "slow"]) == [
        Queue("default", 0, 0, 0, 0, 0.0, 0.0, 0, 0),
        Queue("slow", 0, 0, 0, 0, 0.0, 0.0, 0, 0),
    ]
    assert overview(redis, 1).queues == frozenset()


def test_it_says_how_many_wait_run_and_wait_for_their_next_attempt(bench: Bench) -> None:
    for _ in range(5):
        bench.accept()
    bench.run(SUCCEEDED)
    bench.run(FAILED)
    bench.run(LATER)
    bench.take()
    seen = look(bench.redis)
    assert (seen.waiting, seen.running, seen.retrying) == (1, 1, 1)
    assert overview(bench.redis, 1).queues == {"default"}


def test_it_says_how_long_the_oldest_has_waited_by_the_clock_of_redis(bench: Bench) -> None:
    uid = bench.accept()
    bench.accept()
    seconds, _ = bench.redis.time()
    bench.redis.zadd(store.waiting_key("default"), {uid: (seconds - 100) * 1000})
    assert 100 <= look(bench.redis).oldest_waiting < 160
    bench.take()
    bench.take()
    assert look(bench.redis).oldest_waiting == 0.0


def test_it_says_for_how_long_one_had_no_owner(bench: Bench) -> None:
    uid = bench.accept()
    bench.take()
    assert look(bench.redis).oldest_unowned == 0.0
    seconds, _ = bench.redis.time()
    bench.redis.zadd(store.leased_key("default"), {uid: (seconds - 50) * 1000})
    assert 50 <= look(bench.redis).oldest_unowned < 110
