"""Waiting for news of executions: told by the scripts themselves, looked up where nobody tells, bounded, let go."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis

from tests.store.conftest import FAILED, LATER, SUCCEEDED, Bench
from tests.support import OwnRedis, awaited, eventually
from trigger import store
from trigger.store import JOB, acts, telling
from trigger.store.keys import TOLD
from trigger.store.log import Log
from trigger.store.lua import load
from trigger.store.queueing import connect
from trigger.store.telling import News, Watch


@pytest.fixture
def news(redis: Redis) -> Iterator[News]:
    found = News(redis)
    yield found
    found.stop()


def watched(news: News, uid: str, *, only_end: bool = False) -> Watch:
    watch = news.watch(uid, only_end=only_end)
    assert watch is not None
    return watch


class Heard:
    """What is published of an execution."""

    def __init__(self, redis: Redis, uid: str) -> None:
        self._pubsub = redis.pubsub(ignore_subscribe_messages=True)
        self._pubsub.subscribe(TOLD + uid)
        eventually(lambda: redis.pubsub_numsub(TOLD + uid)[0][1])

    def next(self) -> str:
        message = eventually(lambda: self._pubsub.get_message(timeout=1))
        assert message is not None
        return str(message["data"].decode())


# --- What the scripts tell ---


def test_a_run_is_told_from_its_begin_to_its_end(bench: Bench, redis: Redis) -> None:
    uid = bench.accept()
    heard = Heard(redis, uid)
    taken = bench.take()
    assert taken is not None
    assert heard.next() == "status"
    log = Log(redis, *taken, limit=1000)
    log.write("stdout", "x")
    assert log.flush()
    assert heard.next() == "log"
    assert load("save_steps").on(redis)(job=JOB + uid, steps=store.STEPS + uid, run=taken[1], more=["quote", "{}"])
    assert heard.next() == "steps"
    assert bench.end(*taken, SUCCEEDED)
    assert heard.next() == "end"


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda bench, taken: bench.end(*taken, LATER), "status"),
        (lambda bench, taken: bench.release(*taken, why="stop"), "status"),
        (lambda bench, taken: bench.reap(), "status"),
        (lambda bench, taken: bench.end(*taken, FAILED), "end"),
    ],
    ids=["retries", "given back", "reaped", "fails"],
)
def test_each_way_out_of_a_run_is_told(
    bench: Bench, redis: Redis, act: Callable[[Bench, tuple[str, str]], object], said: str
) -> None:
    uid = bench.accept()
    taken = bench.take()
    assert taken is not None
    heard = Heard(redis, uid)
    act(bench, taken)
    assert heard.next() == said


def test_a_cancel_is_told(bench: Bench, redis: Redis) -> None:
    uid = bench.accept()
    heard = Heard(redis, uid)
    acts.cancel(redis, uid, "ada")
    assert heard.next() == "end"


# --- Who waits ---


@pytest.fixture
def _unlooked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only Redis tells."""
    monkeypatch.setattr(telling, "LOOK_SECONDS", 3600.0)


@pytest.mark.usefixtures("_unlooked")
def test_who_waits_for_the_end_is_told_of_nothing_else(bench: Bench, news: News) -> None:
    uid = bench.accept()
    with watched(news, uid, only_end=True) as end, watched(news, uid) as any_news:
        taken = bench.take()
        assert taken is not None
        assert any_news.wait(20)
        bench.end(*taken, SUCCEEDED)
        assert end.wait(20)
        assert store.statuses(bench.redis, [uid]) == [store.Status.SUCCEEDED]


def test_what_has_ended_before_it_was_waited_for_is_told_at_once(bench: Bench, news: News) -> None:
    uid = bench.accept()
    bench.run(FAILED)
    with watched(news, uid, only_end=True) as watch:
        assert watch.wait(20)
    with watched(news, uid, only_end=True), watched(news, uid, only_end=True) as second:
        assert second.wait(20)


def test_an_execution_that_is_not_there_is_over(redis: Redis, news: News) -> None:
    with watched(news, store.new_uid(), only_end=True) as watch:
        assert watch.wait(20)


def test_an_end_that_nobody_has_told_is_seen(bench: Bench, redis: Redis, news: News) -> None:
    uid = bench.accept()
    with watched(news, uid, only_end=True) as watch:
        eventually(lambda: awaited(redis))
        redis.hset(JOB + uid, "status", "finished")
        assert watch.wait(20)


@pytest.mark.usefixtures("_unlooked")
def test_who_is_told_only_of_the_log_knows_that(bench: Bench, redis: Redis, news: News) -> None:
    uid = bench.accept()
    taken = bench.take()
    assert taken is not None
    log = Log(redis, *taken, limit=1000)
    with watched(news, uid) as watch:
        assert (watch.wait(20), watch.only_log) == (True, False)

        def told_of_a_line() -> bool:
            log.write("stdout", "x")
            assert log.flush()
            assert watch.wait(20)
            return watch.only_log

        eventually(told_of_a_line)  # the first look may find a line, too
        bench.end(*taken, SUCCEEDED)
        assert (watch.wait(20), watch.only_log) == (True, False)


def test_redis_tells_only_of_what_is_waited_for_and_once(bench: Bench, redis: Redis, news: News) -> None:
    first, second = bench.accept(), bench.accept()
    with watched(news, first), watched(news, first), watched(news, second):
        eventually(lambda: awaited(redis) == {first, second})
        assert redis.pubsub_numsub(TOLD + first)[0][1] == 1
    eventually(lambda: not awaited(redis))
    assert news.waiting == 0
    with watched(news, first):
        eventually(lambda: awaited(redis) == {first})


def test_places_are_bounded_and_given_back(redis: Redis) -> None:
    news = News(redis, places=2)
    uid = store.new_uid()
    first, second = news.watch(uid), news.watch(uid)
    assert news.watch(uid) is None
    assert first is not None
    assert second is not None
    first.close()
    first.close()
    assert (third := news.watch(uid)) is not None
    assert news.watch(uid) is None
    news.stop()
    assert (second.wait(3600), third.wait(3600), second.left) == (False, False, True)
    assert not second.wait(3600)
    assert news.watch(uid) is None


def test_nothing_is_missed_when_redis_was_away(tmp_path: Path) -> None:
    with OwnRedis(tmp_path / "data") as server:
        client = connect(server.url)
        bench = Bench(client)
        uid = bench.accept()
        taken = bench.take()
        assert taken is not None
        news = News(client)
        with watched(news, uid, only_end=True) as watch:
            eventually(lambda: awaited(client))
            server.kill()
            assert not watch.wait(0.5)
            server.start()
            again = connect(server.url)
            eventually(lambda: awaited(again))
            Bench(again).end(*taken, SUCCEEDED)
            assert watch.wait(20)
        news.stop()


def test_a_redis_user_that_may_neither_publish_nor_listen_is_served_by_looks(
    bench: Bench, redis: Redis, redis_server: OwnRedis
) -> None:
    redis.execute_command("ACL", "SETUSER", "mute", "on", ">mute", "~*", "+@all", "-subscribe", "resetchannels")
    mute = connect(redis_server.url)
    mute.connection_pool.connection_kwargs.update(username="mute", password="mute")
    assert mute.execute_command("ACL", "WHOAMI") == b"mute"
    news, bench = News(mute), Bench(mute)
    uid = bench.accept()
    with watched(news, uid, only_end=True) as watch:
        bench.run(SUCCEEDED)
        assert watch.wait(20)
    news.stop()
    redis.execute_command("ACL", "DELUSER", "mute")
