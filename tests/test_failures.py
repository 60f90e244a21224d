"""Wrong credentials are counted by all processes together, and by each alone while Redis is away."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests.support import OwnRedis, eventually
from trigger.store import wrong_credentials
from trigger.store.queueing import connect
from trigger.web import failures
from trigger.web.failures import CONNECTIONS, REPLY_TIMEOUT, Failures

LIMIT = 5
KEY = "shop/order:192.0.2.1"


def make(redis: Redis, limit: int = LIMIT) -> Failures:
    """The counts as one process knows them."""
    return Failures(lambda: limit, redis)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The round trips to Redis: the counters that each is about."""
    trips: list[tuple[str, ...]] = []
    real = wrong_credentials.count

    def count(redis: Redis, names: Any, window: float) -> list[tuple[int, float]]:
        trips.append(tuple(names))
        return real(redis, names, window)

    monkeypatch.setattr(wrong_credentials, "count", count)
    return trips


@pytest.fixture
def clients(own_redis: OwnRedis) -> Iterator[Callable[[], Redis]]:
    """Makes clients of a Redis of the test's own, with the timeout they have in service."""
    made: list[Redis] = []

    def make() -> Redis:
        made.append(connect(own_redis.url, reply_timeout=REPLY_TIMEOUT))
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[OwnRedis]:
    with OwnRedis(tmp_path / "redis", fsync="no") as server:
        yield server


def test_the_limit_allows_so_many_and_then_says_how_long_to_wait(redis: Redis) -> None:
    counts = make(redis)
    assert [counts.count(KEY) for _ in range(LIMIT)] == [0] * LIMIT
    assert 59 < counts.count(KEY) <= 60
    assert 59 < counts.wait(KEY) <= 60
    assert counts.wait("shop/other:192.0.2.1") == 0
    assert counts.count("shop/order:192.0.2.2") == 0


def test_processes_share_one_count(redis: Redis) -> None:
    one, other = make(redis), make(redis)
    for number in range(LIMIT):
        assert (one, other)[number % 2].count(KEY) == 0
    assert other.count(KEY) > 59
    assert one.count(KEY) > 59


def test_a_wrong_credential_costs_one_round_trip_and_none_over_the_limit(
    redis: Redis, asked: list[tuple[str, ...]]
) -> None:
    counts = make(redis)
    for _ in range(LIMIT + 20):
        counts.count(KEY)
    assert asked == [(KEY,)] * LIMIT
    counts.count(KEY, "operator:192.0.2.1", "shop/other:192.0.2.1")
    assert asked[LIMIT:] == [("operator:192.0.2.1", "shop/other:192.0.2.1")]


def test_callers_share_a_few_connections(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    real, lock, at_once, most = wrong_credentials.count, threading.Lock(), 0, 0

    def count(*arguments: Any) -> list[tuple[int, float]]:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        time.sleep(0.02)
        with lock:
            at_once -= 1
        return real(*arguments)

    monkeypatch.setattr(wrong_credentials, "count", count)
    counts = make(redis)
    with ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(lambda _: counts.count(KEY), range(40)))
    assert most == CONNECTIONS
    assert answers.count(0) == LIMIT


def test_to_ask_whether_one_must_wait_costs_no_round_trip(redis: Redis, asked: list[tuple[str, ...]]) -> None:
    counts = make(redis)
    counts.wait(KEY)
    counts.count(KEY)
    counts.wait(KEY)
    assert len(asked) == 1


def test_a_count_is_dropped_when_its_window_ends(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failures, "WINDOW", 0.3)
    counts = make(redis)
    for _ in range(LIMIT):
        counts.count(KEY)
    assert 0 < counts.wait(KEY) <= 0.3
    time.sleep(0.3)
    assert counts.wait(KEY) == 0
    assert not redis.keys()
    assert counts.count(KEY) == 0


def test_every_counter_in_redis_expires(redis: Redis) -> None:
    make(redis).count(KEY, "operator:2001:db8::/64")
    left = [redis.pttl(key) for key in redis.scan_iter()]
    assert len(left) == 2
    assert all(0 < milliseconds <= 60_000 for milliseconds in left)


def test_an_edit_of_the_limit_counts_at_once(redis: Redis) -> None:
    limit = LIMIT
    counts = Failures(lambda: limit, redis)
    for _ in range(LIMIT):
        counts.count(KEY)
    assert counts.wait(KEY) > 0
    limit = 2 * LIMIT
    assert counts.wait(KEY) == 0
    assert counts.count(KEY) == 0
    limit = 1
    assert counts.count(KEY) > 0


def test_however_many_clients_fail_a_process_remembers_a_bounded_number(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "REMEMBERED", 3)
    counts = make(redis)
    for _ in range(LIMIT):
        counts.count(KEY)
    for last in range(3):
        counts.count(f"shop/order:198.51.100.{last}")
    assert counts.wait(KEY) == 0  # forgotten here
    assert counts.count(KEY) > 59  # not by Redis
    assert counts.wait(KEY) > 59


def test_while_redis_is_away_a_process_counts_alone(own_redis: OwnRedis, clients: Callable[[], Redis]) -> None:
    counts = make(clients())
    for _ in range(2):
        assert counts.count(KEY) == 0
    own_redis.kill()
    assert [counts.count(KEY) for _ in range(LIMIT - 2)] == [0] * (LIMIT - 2)
    assert counts.count(KEY) > 58
    assert make(clients()).count(KEY) == 0


def test_a_redis_that_hangs_holds_wrong_callers_for_a_moment_once(
    own_redis: OwnRedis, clients: Callable[[], Redis], asked: list[tuple[str, ...]]
) -> None:
    counts = make(clients(), limit=1000)
    counts.count(KEY)
    os.kill(own_redis.process.pid, signal.SIGSTOP)
    try:
        for _ in range(50):
            counts.count(KEY)
        assert len(asked) == 2
    finally:
        os.kill(own_redis.process.pid, signal.SIGCONT)
    client = clients()
    stored = f"trigger:figures:wrong:{KEY}"

    def is_counted_there() -> bool:
        before = int(client.get(stored) or 0)
        counts.count(KEY)
        return int(client.get(stored) or 0) > before

    eventually(is_counted_there, within=5)
