"""The list of executions: what a page holds, where the next one goes on, and what a query may say."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis

from tests.store.conftest import FAILED, LATER, STEPPED, SUCCEEDED, Bench, api
from trigger import store
from trigger.errors import InvalidParams
from trigger.store import Query, Record, Status, acts, listing, summary

FUTURE = 4_000_000_000_000  # milliseconds since 1970: newer than whatever a test accepts


def parse(**given: Any) -> Query:
    return Query.parse(given, now=time.time())


def uids(redis: Redis, **given: Any) -> list[str]:
    """The uids of all pages, and that no page is larger than asked for."""
    found: list[str] = []
    while True:
        page = store.page(redis, parse(**given))
        assert len(page.executions) <= int(given.get("limit") or store.LIMIT)
        found += [summary.uid for summary in page.executions]
        if page.next is None:
            return found
        given["cursor"] = page.next


def some_of_each(bench: Bench) -> list[Record]:
    """Executions of three APIs, by three callers, in every state, newest first."""
    chosen = random.Random(7)
    ends = [SUCCEEDED, SUCCEEDED, FAILED, LATER, None]
    accepted = []
    for _ in range(60):
        of = api(chosen.choice(["shop", "shop", "mail"]), chosen.choice(["restock", "report"]))
        accepted.append(bench.accept(of, caller=chosen.choice(["ci", "ada", None])))
    for _ in range(45):
        end = chosen.choice(ends)
        if end is None:
            bench.take()
        else:
            bench.run(end)
    for uid in chosen.sample(accepted, 8):
        if bench.record(uid).status in (Status.QUEUED, Status.RETRYING):
            acts.cancel(bench.redis, uid, "admin")
    records = [bench.record(uid) for uid in sorted(accepted, reverse=True)]
    assert {record.status for record in records} == set(Status)
    return records


FILTERS: dict[str, tuple[dict[str, str], Callable[[Record], bool]]] = {
    "none": ({}, lambda record: True),
    "module": ({"module": "shop"}, lambda record: record.module == "shop"),
    "method": ({"method": "report"}, lambda record: record.method == "report"),
    "api": (
        {"module": "mail", "method": "report"},
        lambda record: (record.module, record.method) == ("mail", "report"),
    ),
    "no such api": ({"module": "mail", "method": "restoc"}, lambda record: False),
    "caller": ({"caller": "ada"}, lambda record: record.caller == "ada"),
    **{str(status): ({"status": str(status)}, lambda r, status=status: r.status is status) for status in Status},  # type: ignore[misc]
    "failed of an api": (
        {"status": "failed", "module": "shop", "method": "restock"},
        lambda record: (record.status, record.module, record.method) == (Status.FAILED, "shop", "restock"),
    ),
    "queued of a module and a caller": (
        {"status": "queued", "module": "shop", "caller": "ci"},
        lambda record: (record.status, record.module, record.caller) == (Status.QUEUED, "shop", "ci"),
    ),
    "empty ones": ({"module": "", "status": "", "cursor": "", "limit": ""}, lambda record: True),
}


@pytest.mark.parametrize("limit", [3, 200])
@pytest.mark.parametrize("merged", [listing.MERGED, 1])
@pytest.mark.parametrize("ledger", [listing.LEDGER, 0])
def test_every_filter_finds_each_that_fits_once_and_newest_first(
    bench: Bench, redis: Redis, monkeypatch: pytest.MonkeyPatch, limit: int, merged: int, ledger: int
) -> None:
    """Whichever index it is read from."""
    monkeypatch.setattr(listing, "MERGED", merged)
    monkeypatch.setattr(listing, "LEDGER", ledger)
    records = some_of_each(bench)
    for given, fits in FILTERS.values():
        wanted = [record.uid for record in records if fits(record)]
        assert uids(redis, **{"limit": str(limit), **given}) == wanted, given


def copies(redis: Redis, uid: str, moments: list[int]) -> list[str]:
    """Copies of an execution, one for each millisecond given; newest first."""
    made = [f"{(ms << 40) + n:025d}" for n, ms in enumerate(moments)]
    pipeline = redis.pipeline(transaction=False)
    for name, ms in zip(made, moments, strict=True):
        pipeline.copy(f"rq:job:{uid}", f"rq:job:{name}")
        for index in (store.INDEX, store.api_index_key("mail", "restock")):
            pipeline.zadd(index, {name: ms})
    pipeline.execute()
    return sorted(made, reverse=True)


def test_since_and_until_are_times_or_durations(bench: Bench, redis: Redis) -> None:
    moments = [1_800_000_000_000 + n for n in range(6)]  # 2027-01-15T08:00:00Z
    made = copies(redis, bench.accept(api("mail")), moments)
    since, until = "2027-01-15T08:00:00.002Z", "2027-01-15T09:00:00.004+01:00"
    for given in ({}, {"caller": "ci"}, {"module": "mail"}):
        assert uids(redis, since=since, until=until, limit="1", **given) == made[2:4]
        assert uids(redis, since=since, **given)[-4:] == made[:4]
        assert uids(redis, until=until, **given)[:4] == made[2:]
    now = 1_800_000_000.003 + 7200
    within = store.page(redis, Query.parse({"since": "2h", "until": "2027-02-01T00:00:00Z"}, now=now))
    assert [summary.uid for summary in within.executions] == made[:3]


@pytest.mark.parametrize("given", [{}, {"module": "shop"}, {"status": "queued"}])
def test_what_is_accepted_meanwhile_moves_no_page(bench: Bench, redis: Redis, given: dict[str, str]) -> None:
    accepted = sorted((bench.accept() for _ in range(10)), reverse=True)
    first = store.page(redis, parse(limit="4", **given))
    for _ in range(5):
        bench.accept()
    assert first.next
    rest = uids(redis, limit="4", cursor=first.next, **given)
    assert [summary.uid for summary in first.executions] + rest == accepted


def test_a_cursor_goes_on_also_when_its_execution_is_gone(bench: Bench, redis: Redis) -> None:
    accepted = sorted((bench.accept() for _ in range(10)), reverse=True)
    page = store.page(redis, parse(limit="4"))
    redis.delete(f"rq:job:{accepted[3]}")
    redis.zrem(store.INDEX, accepted[3])
    assert page.next
    assert uids(redis, cursor=page.next) == accepted[4:]


def test_many_of_one_millisecond_are_each_listed_once(bench: Bench, redis: Redis) -> None:
    made = copies(redis, bench.accept(), [FUTURE] * 40 + [FUTURE + 1] * 3)
    page = store.page(redis, parse(limit="10"))
    assert page.next
    redis.zrem(store.INDEX, made[9])
    found = [summary.uid for summary in page.executions] + uids(redis, limit="7", cursor=page.next)
    assert found[:-1] == made


def test_a_page_looks_at_so_many_entries_and_goes_on_with_a_cursor(
    bench: Bench, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    rare = bench.accept(caller="rare")
    copies(redis, bench.accept(), [FUTURE + n for n in range(130)])
    monkeypatch.setattr(listing, "SLICE", 50)
    monkeypatch.setattr(listing, "WALK", 100)
    first = store.page(redis, parse(caller="rare"))
    assert first.executions == ()
    assert first.next is not None
    second = store.page(redis, parse(caller="rare", cursor=first.next))
    assert [summary.uid for summary in second.executions] == [rare]
    assert second.next is None
    assert [summary.uid for summary in store.collect(redis, parse(caller="rare"), 5).executions] == [rare]


def test_collecting_goes_over_as_many_pages_as_it_takes(bench: Bench, redis: Redis) -> None:
    accepted = copies(redis, bench.accept(), [FUTURE + n for n in range(500)])
    page = store.collect(redis, parse(), 450)
    assert len(page.executions) == 450
    assert page.next
    rest = uids(redis, cursor=page.next)
    assert len(rest) == 51
    assert [summary.uid for summary in page.executions] + rest[:50] == accepted


def test_a_summary_shows_what_the_record_does_but_for_input_and_output(bench: Bench, redis: Redis) -> None:
    first = bench.accept(value={"card": "4111"}, secrets=[["card"]])
    bench.run(FAILED)
    uid = bench.accept(value={"card": "4111"}, secrets=[["card"]], debug=True, rerun_of=first)
    (second, summary) = store.page(redis, parse()).executions
    shown = dict(bench.record(first).as_json(operator=False).items())
    for name in ("input", "output", "steps", "timeline"):
        del shown[name]
    absent = {"debug": False, "rerun_of": None, "resumed_from": None, "waits_for": None, "merged": 0}
    assert summary.as_json() == {**shown, **absent}
    assert (second.uid, second.debug, second.rerun_of) == (uid, True, first)
    assert second.workflow == "plain"


def test_a_long_message_is_shortened_in_the_list(bench: Bench, redis: Redis) -> None:
    bench.accept()
    bench.run(type(FAILED)("failed", error='{"class":"E","message":"' + "x" * 4000 + '"}'))
    (only,) = store.page(redis, parse()).executions
    assert only.error == {"class": "E", "message": "x" * summary.MESSAGE}


def test_what_can_not_be_read_is_left_out(bench: Bench, redis: Redis) -> None:
    good = bench.accept()
    bad = [bench.accept() for _ in range(6)]
    redis.delete(f"rq:job:{bad[0]}", f"rq:job:{bad[1]}")
    redis.set(f"rq:job:{bad[1]}", "text")
    redis.hset(f"rq:job:{bad[2]}", "meta", "{")
    redis.hset(f"rq:job:{bad[3]}", "meta", "[]")
    redis.hset(f"rq:job:{bad[4]}", "status", "nonsense")
    redis.hdel(f"rq:job:{bad[5]}", "status")
    redis.zadd(store.INDEX, {"no uid": FUTURE, "1" * 24 + "x": 1})
    redis.sadd("rq:queues", "rq:queue:other")
    redis.zadd(store.leased_key("other"), {"no uid": 1})
    assert uids(redis) == [good]
    assert uids(redis, caller="ci", limit="1") == [good]
    assert uids(redis, status="running") == []


@pytest.mark.parametrize(
    ("given", "field", "said"),
    [
        ({"stauts": "failed"}, "stauts", "did you mean status?"),
        ({"x": ""}, "x", "must be one of module, method, status"),
        ({"status": "done"}, "status", "must be one of queued, running, retrying, succeeded, failed, cancelled"),
        ({"status": ["failed", "queued"]}, "status", "must be given once"),
        ({"limit": "0"}, "limit", "from 1 to 200"),
        ({"limit": "201"}, "limit", "from 1 to 200"),
        ({"limit": "-1"}, "limit", "from 1 to 200"),
        ({"limit": "٣"}, "limit", "from 1 to 200"),
        ({"since": "tomorrow"}, "since", "2026-01-31T12:00:00Z"),
        ({"since": "2026-01-31T12"}, "since", "2026-01-31T12:00:00Z"),
        ({"since": "2026-13-31T12:00:00Z"}, "since", "2026-01-31T12:00:00Z"),
        ({"since": "2026-01-31T12:00:00 01:00"}, "since", "+ is %2B"),
        ({"until": "24 hours"}, "until", "24h"),
        ({"cursor": "x"}, "cursor", "`next`"),
        ({"cursor": "é" * 15}, "cursor", "`next`"),
        ({"cursor": "_" * 15}, "cursor", "`next`"),
        ({"cursor": "A" * 15 + "="}, "cursor", "`next`"),
        ({"cursor": "A" * 1000}, "cursor", "`next`"),
    ],
)
def test_a_query_that_makes_no_sense_is_refused_with_what_would(given: dict[str, Any], field: str, said: str) -> None:
    with pytest.raises(InvalidParams) as refused:
        parse(**given)
    assert refused.value.details
    assert said in refused.value.details["fields"][field][0]


def test_extreme_times_and_cursors_are_harmless(bench: Bench, redis: Redis) -> None:
    uid = bench.accept()
    assert uids(redis, since="999999999w") == [uid]
    assert uids(redis, since="0001-01-01T00:00:00Z", until="9999-12-31T23:59:59-23:59") == [uid]
    assert uids(redis, until="0001-01-01T00:00:00+23:59") == []
    assert uids(redis, cursor="A" * 15) == []
    assert uids(redis, caller="\0'\"]]", module="*", method="../x") == []


def test_the_recent_executions_of_a_workflow_are_found_by_the_apis_that_start_it(bench: Bench) -> None:
    apis = [api("shop", "restock", STEPPED), api("mail", "report", STEPPED)]
    other = api("mail", "greet")
    accepted = [bench.accept(of) for of in (*apis, other, *apis, other)]
    names = [(of.module, of.method) for of in apis]
    theirs = [uid for index, uid in enumerate(accepted) if index % 3 < 2]
    assert [found.uid for found in store.recent(bench.redis, "stepped", names, 10)] == theirs[::-1]
    assert [found.uid for found in store.recent(bench.redis, "stepped", names, 3)] == theirs[:0:-1]
    assert [found.uid for found in store.recent(bench.redis, "stepped", names[:1], 10)] == theirs[2::-2]
    # What such an API started while the config named another workflow for it is none of this one's.
    assert not store.recent(bench.redis, "plain", names, 10)


def test_with_many_apis_or_none_a_workflow_is_looked_for_among_all(bench: Bench) -> None:
    apis = [api("shop", f"m{index}", STEPPED) for index in range(listing.MERGED + 1)]
    accepted = [bench.accept(of) for of in (api(), *apis, api())]
    names = [(of.module, of.method) for of in apis]
    for known in (names, []):
        found = store.recent(bench.redis, "stepped", known, 50)
        assert [summary.uid for summary in found] == accepted[-2:0:-1]
