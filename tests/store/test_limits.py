"""Rates, slots and bursts: what is let through, what waits and for how long, whatever becomes of workers."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any, cast

import pytest
from redis import Redis
from rq.registry import DeferredJobRegistry
from rq.serializers import JSONSerializer

from tests.store.conftest import FAILED, LATER, STOPPED, SUCCEEDED, Bench, api
from tests.support import CONFIG
from trigger import store
from trigger.config.model import Api, Concurrency, Debounce, Rate
from trigger.errors import InvalidParams, TooManyRequests
from trigger.store import Status, acts
from trigger.store.conditions import Limits, limits_of
from trigger.store.keys import HELD, MERGED, QUIET, RATE, SLOTS, SLOTTED
from trigger.store.queueing import Accepted, Call
from trigger.store.script import Script


def limits(of: Api, value: Any = None, caller: str | None = "ci", address: str | None = "192.0.2.1") -> Limits | None:
    return limits_of(of, {} if value is None else value, {}, caller, address)


def send(bench: Bench, of: Api, value: Any = None, *, caller: str = "ci", **more: Any) -> Accepted:
    call = Call(of, {} if value is None else value, caller, limits=limits(of, value, caller), **more)
    return bench.submitter.submit(call, CONFIG)


def policy(bench: Bench, of: Api, value: Any = None, **more: Any) -> str:
    """What refuses a call."""
    with pytest.raises(TooManyRequests) as caught:
        send(bench, of, value, **more)
    assert caught.value.details
    assert int(caught.value.headers["Retry-After"]) >= 1
    return str(caught.value.details["policy"])


def keys(redis: Redis, *prefixes: str) -> list[bytes]:
    return [key for prefix in prefixes for key in cast(list[bytes], redis.keys(f"{prefix}*"))]


def waits(bench: Bench, uid: str) -> tuple[Status, str | None]:
    record = bench.record(uid)
    return record.status, record.waits_for


def set_due(redis: Redis, uid: str, at: float = 1) -> None:
    redis.zadd(store.leased_key("default"), {uid: at})


# --- rate ---

HOURLY = api(rate=Rate(3, 3600, 3))


def test_a_rate_lets_a_burst_through_and_then_one_at_a_time(bench: Bench, redis: Redis) -> None:
    left = [send(bench, HOURLY).quota for _ in range(3)]
    assert [quota and quota.left for quota in left] == [2, 1, 0]
    assert policy(bench, HOURLY) == "rate"
    (key,) = keys(redis, RATE)
    assert 3500 < redis.ttl(key) <= 3600
    redis.decrby(key, 1200 * 10**6)  # a third of an hour later
    send(bench, HOURLY)
    assert policy(bench, HOURLY) == "rate"
    assert redis.llen("rq:queue:default") == 4


def test_a_refused_call_and_a_replay_cost_nothing(bench: Bench, redis: Redis) -> None:
    of = api(rate=Rate(2, 3600, 2), concurrency=Concurrency(1, full="reject"))
    first = send(bench, of, key="k")
    before = redis.get(keys(redis, RATE)[0])
    assert policy(bench, of) == "concurrency"
    again = send(bench, of, key="k")
    assert (again.uid, again.replayed, again.quota) == (first.uid, True, None)
    assert redis.get(keys(redis, RATE)[0]) == before


@pytest.mark.parametrize(("per", "apart"), [("api", 1), ("caller", 2), ("address", 2), ("{{ input.host }}", 3)])
def test_what_counts_together_is_as_the_config_says(bench: Bench, redis: Redis, per: str, apart: int) -> None:
    of = api(rate=Rate(100, 60, 100, per))
    for host, caller, address in (("a", "ci", "::1"), ("b", "ci", "::2"), ("c", "ops", "::2"), ("c", "ops", "::2")):
        bench.accept(of, {"host": host}, caller=caller, limits=limits(of, {"host": host}, caller, address))
    assert len(keys(redis, RATE)) == apart


def test_a_value_of_a_mebibyte_and_one_that_is_no_text_are_counted_too(bench: Bench, redis: Redis) -> None:
    of = api(rate=Rate(1, 3600, 1, "{{ input.host }}"))
    for host in ("x" * 2**20, {"a": [1, None]}, "\ud800", None):
        send(bench, of, {"host": host})
        assert policy(bench, of, {"host": host}) == "rate"
    assert max(map(len, keys(redis, RATE))) < 60


def test_what_can_not_be_told_is_the_callers_mistake() -> None:
    with pytest.raises(InvalidParams, match="can't be told"):
        limits(api(rate=Rate(1, 1, 1, "{{ input.a.b }}")), {})


def test_a_clock_that_was_set_back_refuses_calls_for_no_longer_than_a_burst_lasts(bench: Bench, redis: Redis) -> None:
    send(bench, HOURLY)
    (key,) = keys(redis, RATE)
    redis.incrby(key, 86_400 * 10**6)  # as an earlier clock that was a day ahead has left it
    with pytest.raises(TooManyRequests) as caught:
        send(bench, HOURLY)
    assert int(caught.value.headers["Retry-After"]) <= 1200


def test_the_balance_outlives_an_edit_of_another_key_and_another_rule_begins_anew(bench: Bench, redis: Redis) -> None:
    send(bench, HOURLY)
    send(bench, api(rate=HOURLY.rate, description="edited"))
    assert len(keys(redis, RATE)) == 1
    send(bench, api(rate=Rate(4, 3600, 4)))
    assert len(keys(redis, RATE)) == 2


def test_an_operators_call_counts_against_no_rate(bench: Bench, redis: Redis) -> None:
    of = api(rate=Rate(1, 3600, 1), debounce=Debounce(5, 50), concurrency=Concurrency(1))
    assert limits(of, address=None) == {"concurrency": limits(of)["concurrency"]}  # type: ignore[index]
    apart = api(concurrency=Concurrency(1, "address"))
    assert limits(apart, address=None) != limits(apart)


# --- concurrency ---

ONE = api(concurrency=Concurrency(1, waiting=3))


def test_a_further_call_waits_for_the_slot_and_gets_it_in_its_turn(bench: Bench, redis: Redis) -> None:
    first, second, third, fourth = (send(bench, ONE).uid for _ in range(4))
    assert waits(bench, first) == (Status.QUEUED, None)
    assert waits(bench, second) == (Status.QUEUED, "concurrency")
    assert policy(bench, ONE) == "concurrency"
    assert DeferredJobRegistry("default", connection=redis, serializer=JSONSerializer).count == 3
    for uid in (first, second, third, fourth):
        assert bench.run(SUCCEEDED) == uid
    assert bench.take() is None
    assert keys(redis, SLOTS, HELD, SLOTTED, "rq:deferred:") == []
    assert redis.zcard(store.leased_key("default")) == redis.zcard(store.waiting_key("default")) == 0


def test_the_next_is_taken_in_the_very_step_that_ends_the_one_before(bench: Bench) -> None:
    first, second = send(bench, ONE).uid, send(bench, ONE).uid
    taken = bench.take()
    assert taken is not None
    assert taken[0] == first
    assert bench.take() is None
    assert bench.end(*taken, FAILED)
    assert bench.run(SUCCEEDED) == second


@pytest.mark.parametrize("result", [SUCCEEDED, FAILED, STOPPED, LATER])
def test_every_way_to_leave_gives_the_slot_back(bench: Bench, result: Any) -> None:
    send(bench, ONE)
    second = send(bench, ONE).uid
    bench.run(result)
    assert waits(bench, second) == (Status.QUEUED, None)


def test_one_that_waits_for_its_next_attempt_needs_a_slot_for_it(bench: Bench, redis: Redis) -> None:
    first, second, third = (send(bench, ONE).uid for _ in range(3))
    bench.run(LATER)
    set_due(redis, first)
    bench.reap()
    assert waits(bench, first) == (Status.QUEUED, "concurrency")
    # It was accepted first, so it is before the third, but behind the one that has the slot.
    assert [bench.run(SUCCEEDED) for _ in range(3)] == [second, first, third]


def test_one_whose_worker_died_keeps_its_slot_and_runs_again_first(bench: Bench, redis: Redis) -> None:
    first, second = send(bench, ONE).uid, send(bench, ONE).uid
    assert bench.take() is not None
    bench.reap()
    assert waits(bench, second) == (Status.QUEUED, "concurrency")
    taken = bench.take()
    assert taken is not None
    assert taken[0] == first
    assert bench.take() is None


def test_one_that_pauses_after_its_second_death_lets_the_next_go(bench: Bench) -> None:
    first, second = send(bench, ONE).uid, send(bench, ONE).uid
    for _ in range(2):
        taken = bench.take()
        assert taken is not None
        bench.release(*taken)
    assert bench.record(first).status is Status.RETRYING
    assert bench.run(SUCCEEDED) == second


@pytest.mark.parametrize("which", [0, 1])
def test_cancelling_one_gives_back_its_slot_or_its_place(bench: Bench, redis: Redis, which: int) -> None:
    uids = [send(bench, ONE).uid for _ in range(4)]
    acts.cancel(redis, uids.pop(which), "ada")
    assert policy_free(bench)
    uids.append(send(bench, ONE).uid)
    assert [bench.run(SUCCEEDED) for _ in range(4)][:3] == uids[:3]
    assert keys(redis, SLOTS, HELD, SLOTTED) == []


def policy_free(bench: Bench) -> bool:
    return len(keys(bench.redis, HELD)) == 1 and int(bench.redis.zcard(keys(bench.redis, HELD)[0])) == 2


def test_a_slot_whose_execution_was_deleted_by_hand_is_found(bench: Bench, redis: Redis) -> None:
    first, second = send(bench, ONE).uid, send(bench, ONE).uid
    redis.delete(f"rq:job:{first}")
    bench.reap()
    assert waits(bench, second) == (Status.QUEUED, None)


def test_a_broken_key_of_a_slot_keeps_nothing_from_ending_and_nothing_else_waiting(bench: Bench, redis: Redis) -> None:
    first = send(bench, ONE).uid
    (key,) = keys(redis, SLOTS)
    redis.delete(key)
    redis.set(key, "of another program")
    taken = bench.take()
    assert taken is not None
    other = bench.accept()
    assert bench.end(*taken, SUCCEEDED)
    assert bench.record(first).status is Status.SUCCEEDED
    bench.reap()
    assert keys(redis, SLOTTED) == []
    assert bench.run(SUCCEEDED) == other


def test_full_newest_cancels_what_waits_but_nothing_that_runs(bench: Bench) -> None:
    of = api(concurrency=Concurrency(1, full="newest"))
    first, second, third = (send(bench, of).uid for _ in range(3))
    record = bench.record(second)
    assert record.status is Status.CANCELLED
    assert record.error == {"class": "Cancelled", "message": "Cancelled by a newer call"}
    assert [bench.run(SUCCEEDED), bench.run(SUCCEEDED)] == [first, third]


def test_each_value_of_per_has_slots_of_its_own(bench: Bench) -> None:
    of = api(concurrency=Concurrency(1, "{{ input.host }}", full="reject"))
    send(bench, of, {"host": "a"})
    send(bench, of, {"host": "b"})
    assert policy(bench, of, {"host": "a"}) == "concurrency"


@pytest.mark.parametrize(("before", "after", "running"), [(1, 3, 3), (3, 1, 3)])
def test_an_edit_of_the_limit_counts_from_the_next_call_on(
    bench: Bench, redis: Redis, before: int, after: int, running: int
) -> None:
    for _ in range(4):
        send(bench, api(concurrency=Concurrency(before)))
    new = api(concurrency=Concurrency(after))
    send(bench, new)
    taken = [found for _ in range(5) if (found := bench.take()) is not None]
    assert len(taken) == running
    for each in taken:
        assert bench.end(*each, SUCCEEDED)
    rest = [found for _ in range(5) if (found := bench.take()) is not None]
    assert len(rest) == min(after, 5 - running)


def test_what_waits_counts_for_the_backlog(bench: Bench) -> None:
    few = replace(CONFIG, server=replace(CONFIG.server, backlog=2))
    call = Call(ONE, {}, "ci", limits=limits(ONE))
    for _ in range(2):
        bench.submitter.submit(call, few)
    with pytest.raises(TooManyRequests) as caught:
        bench.submitter.submit(call, few)
    assert caught.value.details == {"policy": "backlog"}


def test_whatever_happens_never_more_run_than_may_and_no_slot_is_lost(bench: Bench, redis: Redis) -> None:
    chance = random.Random(7)
    of = api(concurrency=Concurrency(2, waiting=5))
    running: dict[str, str] = {}
    known: list[str] = []
    for _ in range(600):
        match chance.choice(["send", "send", "take", "take", "end", "later", "crash", "cancel", "reap"]):
            case "send":
                try:
                    known.append(send(bench, of).uid)
                except TooManyRequests:
                    pass
            case "take":
                if (taken := bench.take()) is not None:
                    running[taken[0]] = taken[1]
            case "end" | "later" as how if running:
                uid = chance.choice(sorted(running))
                assert bench.end(uid, running.pop(uid), SUCCEEDED if how == "end" else LATER)
            case "crash" if running:
                uid = chance.choice(sorted(running))
                bench.release(uid, running.pop(uid))
            case "cancel" if known:
                uid = chance.choice(known)
                if uid not in running and bench.record(uid).status not in store.FINAL:
                    acts.cancel(redis, uid, "ada")
            case "reap" if not running:  # which would take what runs for lost
                bench.reap()
        assert len(running) <= 2
        for key in keys(redis, SLOTS):
            assert redis.hlen(key) - 1 <= 2
    for uid, run in running.items():
        bench.end(uid, run, SUCCEEDED)
    for _ in range(2 * len(known)):
        bench.reap()
        if (taken := bench.take()) is not None:
            bench.end(*taken, SUCCEEDED)
    assert {bench.record(uid).status for uid in known} <= store.FINAL
    assert keys(redis, SLOTS, HELD, SLOTTED) == []


# --- debounce ---

QUIETLY = api(debounce=Debounce(5, 50))


def due(redis: Redis, uid: str) -> float:
    """In seconds from now."""
    score = redis.zscore(store.leased_key("default"), uid)
    assert isinstance(score, float)
    seconds, microseconds = redis.time()
    return score / 1000 - seconds - microseconds / 1e6


def test_calls_of_one_burst_are_one_execution_with_the_last_input(bench: Bench, redis: Redis) -> None:
    first = send(bench, QUIETLY, {"n": 1})
    others = [send(bench, QUIETLY, {"n": n}, key=f"k{n}") for n in (2, 3)]
    assert [(other.uid, other.merged) for other in others] == [(first.uid, True)] * 2
    assert waits(bench, first.uid) == (Status.QUEUED, "debounce")
    assert 4 < due(redis, first.uid) <= 5
    assert bench.take() is None
    set_due(redis, first.uid)
    bench.reap()
    record = bench.record(bench.run(SUCCEEDED))
    assert (record.uid, record.input, record.merged, record.waits_for) == (first.uid, {"n": 3}, 2, None)
    again = send(bench, QUIETLY, {"n": 2}, key="k2")
    assert (again.uid, again.replayed) == (first.uid, True)
    assert send(bench, QUIETLY).uid != first.uid
    assert keys(redis, "rq:deferred:") == [b"rq:deferred:default"]


def test_the_first_input_may_be_the_one_that_runs(bench: Bench, redis: Redis) -> None:
    of = api(debounce=Debounce(5, 50, run="first"))
    uid = send(bench, of, {"n": 1}).uid
    send(bench, of, {"n": 2})
    assert bench.record(uid).input == {"n": 1}


def test_a_burst_that_does_not_end_runs_when_at_most_is_over(bench: Bench, redis: Redis) -> None:
    uid = send(bench, QUIETLY).uid
    (key,) = keys(redis, QUIET)
    redis.hincrby(key, "first", -48_000)
    assert send(bench, QUIETLY).merged
    assert 1 < due(redis, uid) <= 2


def test_callers_are_apart_unless_it_is_said_that_they_are_not(bench: Bench) -> None:
    for per, together in (("caller", False), ("{{ input.ref }}", False), ("api", True)):
        of = api(debounce=Debounce(5, 50, per))
        first = send(bench, of, {"ref": 1}, caller="ci")
        assert send(bench, of, {"ref": 1}, caller="ops").merged is together
        assert send(bench, of, {"ref": 1}, caller="ci").uid == first.uid or together


def test_a_cancelled_burst_is_followed_by_a_new_one(bench: Bench, redis: Redis) -> None:
    uid = send(bench, QUIETLY).uid
    acts.cancel(redis, uid, "ada")
    assert redis.zcard("rq:deferred:default") == 0
    assert not send(bench, QUIETLY).merged


def test_calls_that_are_repeated_as_their_replies_were_lost_count_once_and_change_nothing(
    bench: Bench, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = api(debounce=Debounce(5, 50), rate=Rate(10, 3600, 10))
    real = Script.__call__
    sent: list[tuple[Script, list[bytes]]] = []

    def keep(self: Script, arguments: Any) -> Any:
        sent.append((self, list(arguments)))
        return real(self, sent[-1][1])

    monkeypatch.setattr(Script, "__call__", keep)
    uid = send(bench, of, {"n": 1}).uid
    for n in (2, 3, 4):
        assert send(bench, of, {"n": n}).uid == uid
    paid = redis.get(keys(redis, RATE)[0])
    answers = [real(script, arguments)[:2] for script, arguments in sent]
    assert answers == [[b"accepted", uid.encode()], *[[b"merged", uid.encode()]] * 3]
    record = bench.record(uid)
    assert (record.input, record.merged) == ({"n": 4}, 3)
    assert redis.get(keys(redis, RATE)[0]) == paid
    assert all(0 < redis.ttl(key) <= 10 for key in keys(redis, MERGED))


def test_a_cancelled_burst_leaves_no_slot_behind(bench: Bench, redis: Redis) -> None:
    of = api(debounce=Debounce(5, 50), concurrency=Concurrency(1))
    uid = send(bench, of).uid
    acts.cancel(redis, uid, "ada")
    assert keys(redis, SLOTS, HELD, SLOTTED) == []


def test_a_burst_that_is_over_waits_for_a_slot(bench: Bench, redis: Redis) -> None:
    of = api(debounce=Debounce(5, 50), concurrency=Concurrency(1))
    first = send(bench, of).uid
    set_due(redis, first)
    bench.reap()
    second = send(bench, of).uid
    assert second != first
    set_due(redis, second)
    bench.reap()
    assert waits(bench, second) == (Status.QUEUED, "concurrency")
    assert [bench.run(SUCCEEDED), bench.run(SUCCEEDED)] == [first, second]


def test_nothing_of_a_partition_is_left_when_it_is_over(bench: Bench, redis: Redis) -> None:
    of = api(
        rate=Rate(1000, 1, 1000, "{{ input.n }}"),
        concurrency=Concurrency(1, "{{ input.n }}"),
        debounce=Debounce(1, 2, "{{ input.n }}"),
    )
    for n in range(200):
        send(bench, of, {"n": n})
    for _ in range(4):
        bench.reap()
    while (taken := bench.take()) is not None:
        bench.end(*taken, SUCCEEDED)
    for _ in range(40):
        bench.reap()
    assert keys(redis, SLOTS, HELD, SLOTTED) == []
    assert all(0 < redis.pttl(key) <= 62_000 for key in keys(redis, RATE, QUIET))
