"""Records are kept for a time and up to a number; indexes hold nothing that is gone, and what runs is never removed."""

from __future__ import annotations

from typing import Any, cast

import pytest
from redis import Redis

from tests.store.conftest import FAILED, LATER, SUCCEEDED, Bench, api
from trigger import store
from trigger.store import Retention, Status, acts, retention


@pytest.fixture
def keeper(redis: Redis) -> Retention:
    return Retention(redis)


def age(redis: Redis, uids: list[str]) -> None:
    """Makes executions look as if they had been accepted two hours ago, in all indexes."""
    for key in redis.scan_iter(store.INDEX + "*"):
        for uid in uids:
            redis.zadd(key, {uid: store.accepted_ms(uid) - 7_200_000}, xx=True)


def indexed(redis: Redis) -> dict[str, list[str]]:
    keys = [key.decode() for key in redis.scan_iter("trigger:exec*")]
    return {key: [uid.decode() for uid in cast(list[bytes], redis.zrange(key, 0, -1))] for key in keys}


def test_what_is_gone_is_taken_out_of_every_index(bench: Bench, redis: Redis, keeper: Retention) -> None:
    old = [bench.accept() for _ in range(4)]
    for end in (FAILED, SUCCEEDED, FAILED, SUCCEEDED):
        bench.run(end)
    other = bench.accept(api("mail", "report"))
    bench.run(FAILED)
    kept = bench.accept()
    bench.steps(old[0], {}, {"a": {}})
    redis.xadd(store.LOG + old[0], {"m": "line"})
    age(redis, [*old, other])
    redis.delete(*(f"rq:job:{uid}" for uid in (*old, other)))
    assert keeper.enforce(3600, None) == 0
    assert indexed(redis) == {store.INDEX: [kept], store.api_index_key("shop", "restock"): [kept]}
    assert redis.zrange(store.APIS, 0, -1) == [b"shop/restock"]
    assert not redis.exists(store.STEPS + old[0], store.LOG + old[0], store.RESULTS + old[0])


def test_an_entry_without_a_record_is_left_until_its_time(bench: Bench, redis: Redis, keeper: Retention) -> None:
    uid = bench.accept()
    redis.delete(f"rq:job:{uid}")
    keeper.enforce(3600, None)
    assert redis.zcard(store.INDEX) == 1


def test_what_still_has_a_record_does_not_keep_what_comes_after_it(
    bench: Bench, redis: Redis, keeper: Retention, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "SLICE", 2)
    monkeypatch.setattr(retention, "SLICES", 2)
    uids = sorted(bench.accept() for _ in range(12))
    age(redis, uids)
    redis.delete(*(f"rq:job:{uid}" for uid in uids[7:]))
    for _ in range(4):
        keeper.enforce(3600, None)
    assert set(map(tuple, indexed(redis).values())) == {tuple(uids[:7])}
    redis.delete(*(f"rq:job:{uid}" for uid in uids[:7]))
    for _ in range(5):
        keeper.enforce(3600, None)
    assert indexed(redis) == {}
    assert not redis.exists(store.APIS)


def test_of_each_api_the_newest_are_kept_with_all_their_keys(bench: Bench, redis: Redis, keeper: Retention) -> None:
    ends: list[Any] = [SUCCEEDED, FAILED, SUCCEEDED, SUCCEEDED, FAILED]
    shop = [bench.accept() for _ in ends]
    for end in ends:
        bench.run(end)
    mail = [bench.accept(api("mail")) for _ in range(2)]
    for _ in mail:
        bench.run(SUCCEEDED)
    for uid in shop:
        redis.hset(store.STEPS + uid, "", "{}")
        redis.xadd(store.LOG + uid, {"m": "line"})
    assert keeper.enforce(3600, 2) == 3
    assert indexed(redis) == {
        store.INDEX: [*shop[3:], *mail],
        store.FAILED_INDEX: [shop[4]],
        store.api_index_key("shop", "restock"): shop[3:],
        store.api_index_key("mail", "restock"): mail,
    }
    for uid in shop[:3]:
        assert list(redis.scan_iter(f"*{uid}*")) == []
    left = {key: redis.zrange(f"rq:{key}:default", 0, -1) for key in ("finished", "failed")}
    assert left == {"finished": [uid.encode() for uid in (shop[3], *mail)], "failed": [shop[4].encode()]}
    assert keeper.enforce(3600, 2) == 0


def test_what_has_not_ended_is_never_removed_and_does_not_count(bench: Bench, redis: Redis, keeper: Retention) -> None:
    uids = [bench.accept() for _ in range(8)]
    running = bench.take()
    retrying = bench.run(LATER)
    ended = [bench.run(SUCCEEDED) for _ in range(4)]
    assert running
    assert keeper.enforce(3600, 1) <= 3
    statuses = {uid: record.status for uid in uids if (record := store.read(redis, uid))}
    assert {uid for uid, status in statuses.items() if status not in store.FINAL} == {
        running[0],
        retrying,
        *uids[6:],
    }
    assert statuses[ended[-1]] is Status.SUCCEEDED
    bench.end(*running, SUCCEEDED)
    acts.cancel(redis, retrying, "ada")
    for _ in range(2):
        bench.run(SUCCEEDED)
    keeper.enforce(3600, 1)
    assert [uid for uid in uids if store.read(redis, uid)] == [uids[-1]]


def test_a_cancelled_one_that_is_removed_while_it_stands_in_the_queue_is_no_riddle(
    bench: Bench, redis: Redis, keeper: Retention, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acts, "SHORT_LIST", 0)
    for _ in range(3):
        acts.cancel(redis, bench.accept(), "ada")
    assert keeper.enforce(3600, 1) == 2
    assert bench.take() is None
    assert redis.llen("rq:queue:default") == 0
    assert redis.llen(store.POISON) == 0


def test_many_apis_have_their_turn_one_after_the_other(
    bench: Bench, redis: Redis, keeper: Retention, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "APIS_PER_PASS", 3)
    for n in range(8):
        for _ in range(2):
            bench.accept(api("shop", f"m{n}"))
            bench.run(SUCCEEDED)
    assert [keeper.enforce(3600, 1) for _ in range(4)] == [3, 3, 2, 0]


def test_no_limit_removes_nothing(bench: Bench, redis: Redis, keeper: Retention) -> None:
    bench.accept()
    bench.run(SUCCEEDED)
    assert keeper.enforce(3600, None) == 0
    assert keeper.enforce(3600, 0) == 1
    assert indexed(redis) == {}
