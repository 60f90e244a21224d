"""Who works, and what is kept."""

from __future__ import annotations

import json

import pytest
from redis import Redis

from tests.store.conftest import FAILED, SUCCEEDED, Bench
from trigger import store
from trigger.store.overview import overview, workers
from trigger.store.queues import queues


def test_it_counts_the_records_that_are_kept(bench: Bench) -> None:
    seen = overview(bench.redis, 5)
    assert (seen.records, seen.failed, seen.oldest, seen.suspended) == (0, 0, None, False)
    first = bench.accept()
    bench.accept()
    bench.accept()
    bench.run(SUCCEEDED)
    bench.run(FAILED)
    seen = overview(bench.redis, 5)
    assert (seen.records, seen.failed, seen.suspended) == (3, 1, False)
    assert seen.oldest == bench.record(first).created_at
    bench.redis.set("rq:suspended", 1)
    assert overview(bench.redis, 5).suspended


def test_it_shows_the_newest_of_what_was_put_aside(bench: Bench) -> None:
    assert overview(bench.redis, 5).poisoned == ()
    for number in range(3):
        bench.redis.lpush("rq:queue:default", f"<b>{number}</b>")
        bench.take()
    newest = overview(bench.redis, 2).poisoned
    assert [entry.entry for entry in newest] == ["<b>2</b>", "<b>1</b>"]
    assert newest[0].at is not None
    assert newest[0].reason


@pytest.mark.parametrize(
    "packed",
    [b"", b"{", b"[]", b'"x"', b"{}", b"\xff\xfe", json.dumps({"at": None, "entry": {}, "reason": []}).encode()],
)
def test_what_was_put_aside_is_shown_whatever_it_is(redis: Redis, packed: bytes) -> None:
    redis.rpush(store.POISON, packed)
    (shown,) = overview(redis, 10).poisoned
    assert shown.at is None
    assert isinstance(shown.entry, str)
    assert isinstance(shown.reason, str)


def test_a_worker_that_is_gone_is_not_shown(redis: Redis) -> None:
    redis.sadd("rq:workers", "rq:worker:gone")
    redis.sadd("rq:workers:default", "rq:worker:gone")
    assert workers(redis) == []
    assert queues(redis, ["default"])[0].workers == 0
