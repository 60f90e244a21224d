"""An execution's log in Redis: bounded, complete in its newest part, and read while it grows."""

from __future__ import annotations

import threading
import time
import tracemalloc
from pathlib import Path

import pytest
from redis import Redis

from tests.faults.lossy import LossyProxy
from tests.support import OwnRedis, eventually
from trigger import store
from trigger.store import JOB, LOG
from trigger.store.keys import TOLD
from trigger.store.log import WRITE, Log
from trigger.store.log_reading import START, Line, Lines, follow, is_position, read
from trigger.store.queueing import connect
from trigger.store.telling import News, alone

LIMIT = 1024 * 1024


def start(redis: Redis, execution: str = "run1") -> str:
    """The uid of an execution that runs."""
    uid = store.new_uid()
    redis.hset(JOB + uid, mapping={"status": "started", "execution": execution, "timeout": 60, "result_ttl": 3600})
    return uid


def end(redis: Redis, uid: str) -> None:
    """Ends an execution in one step, as a worker does."""
    pipeline = redis.pipeline(transaction=True)
    pipeline.hset(JOB + uid, "status", "finished")
    pipeline.hdel(JOB + uid, "execution")
    pipeline.publish(TOLD + uid, "end")
    pipeline.execute()


def is_watched(redis: Redis, uid: str) -> bool:
    """Whether somebody waits for news of it."""
    return bool(redis.pubsub_numsub(TOLD + uid)[0][1])


def texts(page: Lines) -> list[str]:
    return [line.text for line in page.lines]


def all_of(redis: Redis, uid: str) -> list[Line]:
    page = read(redis, uid)
    lines = list(page.lines)
    while page.lines:
        page = read(redis, uid, page.next)
        lines += page.lines
    return lines


@pytest.fixture
def uid(redis: Redis) -> str:
    return start(redis)


@pytest.fixture
def log(redis: Redis, uid: str) -> Log:
    return Log(redis, uid, "run1", limit=LIMIT, secrets=["canary-4711"])


def test_a_line_is_read_with_all_that_belongs_to_it(redis: Redis, uid: str, log: Log) -> None:
    now = time.time()
    log.write("stdout", "hello\n", at=now - 5)
    log.write("log", "a\nb", level="WARNING", step="quote", attempt=2, at=now)
    assert log.flush()
    assert not log.pending
    page = read(redis, uid)
    assert [(x.stream, x.level, x.step, x.attempt, x.text) for x in page.lines] == [
        ("stdout", "", "", 1, "hello"),
        ("log", "WARNING", "quote", 2, "a"),
        ("log", "WARNING", "quote", 2, "b"),
    ]
    first, second, _ = page.lines
    assert first.time.endswith("Z")
    assert first.time < second.time
    assert str(first) == f"{first.time} stdout - hello"
    assert str(second) == f"{second.time} log/WARNING quote#2 a"
    assert first.as_json() == {
        "id": first.id,
        "time": first.time,
        "stream": "stdout",
        "level": "",
        "step": "",
        "attempt": 1,
        "text": "hello",
    }


def test_a_log_is_read_page_by_page(redis: Redis, uid: str, log: Log) -> None:
    log.write("stdout", "\n".join(map(str, range(10))))
    log.flush()
    first = read(redis, uid, limit=4)
    assert (texts(first), first.ended) == (["0", "1", "2", "3"], False)
    end(redis, uid)
    second = read(redis, uid, first.next, limit=4)
    assert (texts(second), second.ended) == (["4", "5", "6", "7"], False)
    third = read(redis, uid, second.next, limit=4)
    assert (texts(third), third.ended) == (["8", "9"], True)
    nothing = read(redis, uid, third.next)
    assert (nothing.lines, nothing.next, nothing.ended) == ((), third.next, True)


def test_an_execution_that_wrote_nothing_has_an_empty_log(redis: Redis, uid: str) -> None:
    assert read(redis, uid) == Lines((), 0, START, False)
    end(redis, uid)
    assert read(redis, uid) == Lines((), 0, START, True)
    assert read(redis, store.new_uid()).ended


def test_the_newest_part_is_kept_and_what_is_cut_is_counted(redis: Redis, uid: str) -> None:
    log = Log(redis, uid, "run1", limit=20_000)
    numbers = iter(range(10_000))
    positions = {START}
    for size in [1, 50, 400, 3, 1000, 249, 250, 251]:
        written = [next(numbers) for _ in range(size)]
        for number in written:
            log.write("stdout", f"line {number}")
        assert log.flush()
        page = read(redis, uid)
        kept = [int(text.split()[1]) for text in texts(page)]
        assert kept == list(range(written[-1] + 1 - len(kept), written[-1] + 1))
        assert page.cut == written[-1] + 1 - len(kept)
        assert sum(len(text) + 32 for text in texts(page)) <= 20_000
        positions.add(page.next)
    assert page.cut > 0
    assert read(redis, uid, page.next).cut == 0, "nothing is missing after what was read last"
    assert read(redis, uid, page.lines[0].id).cut == 0
    assert read(redis, uid, min(positions)).as_json()[0] == {"cut": page.cut}
    assert read(redis, uid).as_text()[0] == f"... {page.cut} lines were cut; only the newest are kept"


def test_a_log_that_keeps_less_than_a_line_says_so_once(redis: Redis, uid: str) -> None:
    log = Log(redis, uid, "run1", limit=10)
    log.write("stdout", "too long for that")
    log.flush()
    page = read(redis, uid)
    assert (page.lines, page.cut) == ((), 1)
    assert read(redis, uid, page.next).cut == 0
    log.write("stdout", "this too")
    log.flush()
    assert read(redis, uid, page.next).cut == 2


def test_a_flood_takes_little_memory_while_it_waits(redis: Redis, uid: str) -> None:
    log = Log(redis, uid, "run1", limit=100_000)
    tracemalloc.start()
    for number in range(50_000):  # of which each would take 100 bytes
        log.write("stdout", f"line {number}")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000


def test_of_many_lines_the_newest_are_kept(redis: Redis, uid: str, log: Log) -> None:
    for first in range(0, 200_000, 1000):
        log.write_lines("stdout", [b"line %d" % number for number in range(first, first + 1000)])
    assert log.flush()
    lines = all_of(redis, uid)
    assert [line.text for line in lines] == [f"line {n}" for n in range(200_000 - len(lines), 200_000)]
    assert read(redis, uid).cut == 200_000 - len(lines)
    assert len(lines) > 20_000
    assert (redis.memory_usage(LOG + uid) or 0) < 2 * LIMIT


@pytest.mark.parametrize("data", [b"", b"x", b"\x00" * 50, bytes(range(32, 127)) * 3])
def test_redis_takes_about_as_much_memory_as_is_said(redis: Redis, uid: str, log: Log, data: bytes) -> None:
    log.write_lines("stdout", [data] * 100_000)
    assert log.flush()
    # The private Redis packs streams in nodes of 256 bytes, which suits records: a log pays for it.
    assert 0 < (redis.memory_usage(LOG + uid) or 0) < 2.5 * LIMIT


def test_binary_output_and_secrets_are_made_safe(redis: Redis, uid: str, log: Log) -> None:
    log.write_lines("stdout", [bytes(range(256)).replace(b"\n", b""), b"token canary-4711 \x1b[2J"])
    log.flush()
    assert texts(read(redis, uid))[1] == r"token *** \x1b[2J"
    assert "canary" not in f"{redis.xrange(LOG + uid)}"


def test_the_stream_and_its_counters_end_with_the_record(redis: Redis, uid: str, log: Log) -> None:
    log.write("stdout", "x")
    log.flush()
    assert 3600 < redis.ttl(LOG + uid) <= 3600 + 60 + 86400
    assert set(redis.keys("*")) == {(JOB + uid).encode(), (LOG + uid).encode()}


def test_a_run_that_has_lost_its_execution_adds_nothing(redis: Redis, uid: str, log: Log) -> None:
    log.write("stdout", "first")
    log.flush()
    redis.hset(JOB + uid, "execution", "run2")
    log.write("stdout", "late")
    assert log.flush()
    Log(redis, uid, "run2", limit=LIMIT).write("stdout", "never flushed")
    other = Log(redis, uid, "run2", limit=LIMIT)
    other.write("stdout", "second", attempt=2)
    other.flush()
    end(redis, uid)
    other.write("stdout", "too late")
    assert other.flush()
    assert not other.pending
    assert texts(read(redis, uid)) == ["first", "second"]


def test_nothing_is_written_for_a_record_that_is_gone(redis: Redis, log: Log) -> None:
    redis.flushall()
    log.write("stdout", "x")
    assert log.flush()
    assert redis.dbsize() == 0


def test_a_clock_that_goes_back_does_not_change_the_order(redis: Redis, uid: str, log: Log) -> None:
    now = time.time()
    for at, text in [(now, "a"), (now - 100, "b"), (now + 100, "c"), (now - 1, "d")]:
        log.write("stdout", text, at=at)
        log.flush()
    assert texts(read(redis, uid)) == ["a", "b", "c", "d"]


def test_lines_whose_reply_was_lost_are_not_doubled(
    redis: Redis, redis_server: OwnRedis, uid: str, tmp_path: Path
) -> None:
    proxy = LossyProxy(tmp_path, redis_server.url)
    log = Log(connect(proxy.url), uid, "run1", limit=LIMIT)
    log.write("stdout", "first")
    assert log.flush()
    proxy.lose(WRITE.text)
    log.write("stdout", "second")
    assert not log.flush()
    log.write("stdout", "third")
    assert log.flush()
    assert proxy.lost == 1
    assert texts(read(redis, uid)) == ["first", "second", "third"]


def test_while_redis_is_away_the_newest_lines_are_kept(tmp_path: Path) -> None:
    with OwnRedis(tmp_path / "data") as server:
        redis = connect(server.url)
        uid = start(redis)
        log = Log(redis, uid, "run1", limit=50_000)
        log.write("stdout", "before")
        assert log.flush()
        server.kill()
        for number in range(5_000):
            log.write("stdout", f"line {number}")
            if number % 1000 == 0:
                assert not log.flush()
                assert not log.refused
        server.start()
        assert log.flush()
        lines = all_of(redis, uid)
        assert lines[-1].text == "line 4999"
        assert read(redis, uid).cut == 5_001 - len(lines)
        redis.close()


def test_a_redis_that_refuses_to_write_is_told_from_one_that_is_away(redis: Redis, uid: str, log: Log) -> None:
    redis.config_set("maxmemory", 1)
    try:
        log.write("stdout", "x")
        outcome = log.flush(), log.refused
    finally:
        redis.config_set("maxmemory", 0)
    assert outcome == (False, True)
    assert (log.flush(), log.refused) == (True, False)
    assert texts(read(redis, uid)) == ["x"]


def test_whoever_waits_gets_a_line_when_it_comes(redis: Redis, uid: str, log: Log) -> None:
    def later() -> None:
        eventually(lambda: is_watched(redis, uid))
        log.write("stdout", "x")
        log.flush()

    thread = threading.Thread(target=later)
    thread.start()
    with alone(redis, uid) as watch:
        page = follow(redis, uid, None, 10, 60, watch)
    thread.join()
    assert (texts(page), page.ended) == (["x"], False)


def test_whoever_waits_is_told_the_end(redis: Redis, uid: str) -> None:
    def later() -> None:
        eventually(lambda: is_watched(redis, uid))
        end(redis, uid)

    thread = threading.Thread(target=later)
    thread.start()
    with alone(redis, uid) as watch:
        assert follow(redis, uid, None, 10, 60, watch) == Lines((), 0, START, True)
    thread.join()


def test_a_wait_ends_without_news_too(redis: Redis, uid: str) -> None:
    with alone(redis, uid) as watch:
        assert follow(redis, uid, None, 10, 0.05, watch) == Lines((), 0, START, False)
    assert follow(redis, uid, None, 10, 0.05, None) == Lines((), 0, START, False)


def test_what_was_written_before_the_end_is_always_given_before_it_is_told(
    redis: Redis, redis_server: OwnRedis
) -> None:
    def work(uid: str) -> None:
        client = Redis.from_url(redis_server.url)
        log = Log(client, uid, "run1", limit=LIMIT)
        for number in range(20):
            log.write("stdout", f"{number}")
            log.flush()
        end(client, uid)
        client.close()

    news = News(redis)
    for _ in range(50):
        uid = start(redis)
        thread = threading.Thread(target=work, args=[uid])
        thread.start()
        got: list[str] = []
        position, ended = START, False
        watch = news.watch(uid)
        while not ended:
            page = follow(redis, uid, position, 3, 5, watch)
            got += texts(page)
            position, ended = page.next, page.ended
        thread.join()
        assert got == [f"{number}" for number in range(20)]
    news.stop()


@pytest.mark.parametrize("spoilt", [b"junk", b"", b"1 2", b"1 x 0-0 a 1", b"1 5 nowhere a 1", b"\xff"])
def test_counters_that_somebody_spoilt_do_no_harm(redis: Redis, uid: str, log: Log, spoilt: bytes) -> None:
    redis.hset(JOB + uid, "log", spoilt)
    log.write("stdout", "x")
    assert log.flush() or log.refused
    assert read(redis, uid).ended is False


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("0-0", True),
        ("1700000000000-12", True),
        *[(text, False) for text in ("", "1", "-", "+", "$", "1-", "(1-1", "1-1\n", " 1-1", "1-1-1")],
        *[(text, False) for text in (f"{2**63}-0", f"0-{2**64 - 1}", "1" * 400 + "-1", "\u0661-\u0660")],
    ],
)
def test_only_the_id_of_a_line_stands_for_a_place(text: str, right: bool) -> None:
    assert is_position(text) is right


def test_the_furthest_place_is_after_every_line(redis: Redis, uid: str) -> None:
    assert read(redis, uid, f"{2**63 - 1}-{2**63 - 1}").lines == ()
