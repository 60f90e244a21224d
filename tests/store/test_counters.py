"""The figures of APIs and workflows: every way to begin and to end an execution counts once, nothing stays for ever."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from tests.store.conftest import FAILED, LATER, SUCCEEDED, WORKER, Bench, api
from tests.support import CONFIG
from trigger import store
from trigger.config.model import Api, Workflow
from trigger.errors import TooManyRequests
from trigger.store import acts, counters, retention
from trigger.store.counters import ApiTotals, Hours, Lately, Outcomes
from trigger.store.counting import EDGES, LIFE
from trigger.store.exchange import Ended, Exchange
from trigger.store.keys import FAILING, FIGURES
from trigger.store.queueing import Call, Submitter

SHOP = ("shop", "restock")
OF_SHOP = FIGURES + "api:shop/restock"
OF_PLAIN = FIGURES + "workflow:plain"
OF_ALL = FIGURES + "service:all"


def hours(redis: Redis, of: tuple[str, str] = SHOP) -> Hours:
    (found,) = counters.hours(redis, [of], time.time())
    assert len(found.calls) == len(found.failures) == 24
    return found


def totals(redis: Redis) -> ApiTotals:
    """Those of the one API that was called."""
    (found,) = counters.api_totals(redis)
    return found


def week(redis: Redis, workflow: str = "plain") -> Outcomes:
    (found,) = counters.outcomes(redis, [workflow], time.time())
    return found


def lately(redis: Redis, most: int = 10) -> Lately:
    found = counters.lately(redis, time.time(), most)
    assert {len(hours) for hours in found.by_status.values()} == {24}
    return found


def this_hour(redis: Redis) -> int:
    return int(redis.time()[0] // 3600)


# --- accepting ---


def test_an_accepted_call_counts_in_the_present_hour(bench: Bench, redis: Redis) -> None:
    for _ in range(3):
        bench.accept()
    bench.accept(api("mail", "report"), debug=True)  # the simulated ones too
    assert sum(hours(redis).calls[-2:]) == 3  # an hour may have begun meanwhile
    assert sum(hours(redis, ("mail", "report")).calls[-2:]) == 1
    assert sum(hours(redis).failures) == 0
    assert hours(redis, ("mail", "other")) == Hours((0,) * 24, (0,) * 24)


def test_figures_come_in_the_order_they_were_asked_for(bench: Bench, redis: Redis) -> None:
    asked = [("shop", f"api{number}") for number in range(250)]
    for number in (3, 120, 249):
        bench.accept(api("shop", f"api{number}"))
    found = counters.hours(redis, asked, time.time())
    assert [number for number, of in enumerate(found) if any(of.calls)] == [3, 120, 249]
    assert counters.hours(redis, [], time.time()) == []


def test_a_call_that_starts_nothing_does_not_count(bench: Bench, redis: Redis) -> None:
    first = bench.accept(key="k")
    assert bench.accept(key="k") == first
    full = replace(CONFIG, server=replace(CONFIG.server, backlog=1))
    with pytest.raises(TooManyRequests):
        bench.submitter.submit(Call(api(), {}, None), full)
    assert sum(hours(redis).calls) == 1


def test_a_call_whose_reply_got_lost_counts_once(redis: Redis) -> None:
    submitter = Submitter(redis)
    real, lost = submitter._accept, iter([True, True, False])

    def lossy(arguments: Any) -> Any:
        reply = real(arguments)
        if next(lost):
            raise RedisConnectionError("Connection closed by server.")
        return reply

    submitter._accept = lossy  # type: ignore[assignment]
    submitter.submit(Call(api(), {}, None), CONFIG)
    assert sum(hours(redis).calls) == 1


# --- ending ---


def waiting(bench: Bench) -> str:
    """The uid of the one execution in the queue."""
    (uid,) = cast(list[bytes], bench.redis.lrange("rq:queue:default", 0, -1))
    return uid.decode()


def succeeds(bench: Bench) -> None:
    bench.run(SUCCEEDED)


def fails(bench: Bench) -> None:
    bench.run(FAILED)


def is_cancelled_in_the_queue(bench: Bench) -> None:
    uid = waiting(bench)
    acts.cancel(bench.redis, uid, "ada")
    acts.cancel(bench.redis, uid, "ada")
    assert bench.take() is None


def is_cancelled_from_a_long_queue(bench: Bench) -> None:
    uid = waiting(bench)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(acts, "SHORT_LIST", 0)
        acts.cancel(bench.redis, uid, "ada")
    assert bench.take() is None


def is_cancelled_between_two_attempts(bench: Bench) -> None:
    acts.cancel(bench.redis, bench.run(LATER), "ada")
    bench.reap()


def is_cancelled_while_it_runs(bench: Bench) -> None:
    taken = bench.take()
    assert taken
    acts.cancel(bench.redis, taken[0], "ada")
    assert bench.end(*taken, replace(FAILED, status="stopped"))


def is_cancelled_and_its_worker_dies(bench: Bench) -> None:
    taken = bench.take()
    assert taken
    acts.cancel(bench.redis, taken[0], "ada")
    assert bench.release(*taken) == "cancelled"
    assert bench.release(*taken) == "lost"


def succeeds_although_it_was_to_be_cancelled(bench: Bench) -> None:
    taken = bench.take()
    assert taken
    acts.cancel(bench.redis, taken[0], "ada")
    assert bench.end(*taken, SUCCEEDED)


def fails_once_and_succeeds(bench: Bench) -> None:
    bench.run(LATER)
    bench.reap()
    bench.run(SUCCEEDED)


def goes_on_as_the_same_attempt(bench: Bench) -> None:
    bench.run(replace(LATER, error=""))  # a step of it waits for its next attempt
    bench.reap()
    bench.run(SUCCEEDED)


def is_handed_back_and_succeeds(bench: Bench) -> None:
    taken = bench.take()
    assert taken
    assert bench.release(*taken, "stop") == "queued"
    bench.run(SUCCEEDED)


def loses_its_worker_and_is_reaped(bench: Bench) -> None:
    taken = bench.take()
    bench.reap()
    bench.run(SUCCEEDED)
    assert taken
    assert not bench.end(*taken, FAILED)  # the first one is back, and has lost the run


def loses_its_worker_too_often(bench: Bench) -> None:
    for _ in range(5):
        assert bench.take()
        bench.reap()
        bench.reap()  # the pause after it is over, too
    assert bench.take() is None


def loses_its_child_too_often(bench: Bench) -> None:
    for _ in range(5):
        taken = bench.take()
        assert taken
        bench.release(*taken)
        bench.reap()  # the pause after it is over, too
    assert bench.take() is None


def can_not_be_read(bench: Bench) -> None:
    bench.redis.hset(f"rq:job:{waiting(bench)}", "timeout", "soon")
    assert bench.take() is None


WAYS: list[tuple[Callable[[Bench], None], str, dict[str, int]]] = [
    (succeeds, "succeeded", {"succeeded": 1}),
    (fails, "failed", {"failed": 1}),
    (is_cancelled_in_the_queue, "cancelled", {}),
    (is_cancelled_from_a_long_queue, "cancelled", {}),
    (is_cancelled_between_two_attempts, "cancelled", {"retried": 1}),
    (is_cancelled_while_it_runs, "cancelled", {"cancelled": 1}),
    (is_cancelled_and_its_worker_dies, "cancelled", {"cancelled": 1}),
    (succeeds_although_it_was_to_be_cancelled, "succeeded", {"succeeded": 1}),
    (fails_once_and_succeeds, "succeeded", {"retried": 1, "succeeded": 1}),
    (goes_on_as_the_same_attempt, "succeeded", {"succeeded": 1}),
    (is_handed_back_and_succeeds, "succeeded", {"interrupted": 1, "succeeded": 1}),
    (loses_its_worker_and_is_reaped, "succeeded", {"interrupted": 1, "succeeded": 1}),
    (loses_its_worker_too_often, "failed", {"interrupted": 4, "failed": 1}),
    (loses_its_child_too_often, "failed", {"interrupted": 4, "failed": 1}),
    (can_not_be_read, "failed", {}),
]


@pytest.mark.parametrize(("way", "status", "attempts"), WAYS, ids=[way.__name__ for way, _, _ in WAYS])
def test_every_way_to_end_counts_once(
    bench: Bench, redis: Redis, way: Callable[[Bench], None], status: str, attempts: dict[str, int]
) -> None:
    uid = bench.accept()
    way(bench)
    record = bench.record(uid)
    assert record.status == status
    assert totals(redis) == ApiTotals("shop", "restock", {}, {status: 1}, attempts)
    assert record.attempt == sum(attempts.values())
    assert sum(hours(redis).failures) == (status == "failed")
    outcomes = week(redis)
    assert (outcomes.succeeded, outcomes.failed, outcomes.cancelled) == (
        status == "succeeded",
        status == "failed",
        status == "cancelled",
    )
    assert (outcomes.p50 is not None) == (status == "succeeded")


def test_an_end_whose_reply_got_lost_counts_once(bench: Bench, redis: Redis) -> None:
    bench.accept()
    exchange = Exchange(redis, "default", WORKER, lease=10)
    taken = exchange().taken
    assert taken
    ended = Ended(taken.job.uid, taken.run, SUCCEEDED)
    assert exchange(ended).ended
    assert not exchange(ended).ended
    assert totals(redis).ended == {"succeeded": 1}


def test_what_runs_again_or_goes_on_counts_for_itself(bench: Bench, redis: Redis) -> None:
    first = bench.accept()
    bench.run(FAILED)
    bench.accept(rerun_of=first)
    bench.run(SUCCEEDED)
    assert sum(hours(redis).calls) == 2
    assert totals(redis).ended == {"succeeded": 1, "failed": 1}


def test_records_that_are_kept_no_longer_stay_counted(bench: Bench, redis: Redis) -> None:
    for _ in range(3):
        bench.accept()
        bench.run(SUCCEEDED)
    retention.Retention(redis).enforce(3600, 1)
    assert redis.zcard(store.INDEX) == 1
    assert totals(redis).ended == {"succeeded": 3}
    assert week(redis).succeeded == 3


def test_a_job_that_is_not_ours_has_no_figures(bench: Bench, redis: Redis) -> None:
    for field, value in (("description", "os.system('a b')"), ("meta", "[1]")):
        uid = bench.accept()
        redis.hset(f"rq:job:{uid}", field, value)
        bench.run(FAILED)
    assert totals(redis).ended == {"failed": 1}  # which has an API and no workflow
    assert week(redis).failed == 1  # which has a workflow and no API
    assert set(redis.scan_iter(FIGURES + "*")) == {
        key.encode()
        for key in (
            OF_SHOP,
            OF_PLAIN,
            OF_ALL,
            FAILING,
            *(FIGURES + index for index in ("apis", "workflows", "services")),
        )
    }
    assert lately(redis).count("failed") == 2


# --- the whole service ---


def test_all_that_ends_is_counted_together_with_the_apis_that_fail(bench: Bench, redis: Redis) -> None:
    assert lately(redis) == Lately(dict.fromkeys(("succeeded", "failed", "cancelled"), (0,) * 24), (), 0)
    bench.accept(api("mail", "report"))
    bench.run(SUCCEEDED)
    for number in range(4):
        bench.accept(api("shop", f"api{number}"))
        bench.run(FAILED)
    bench.accept(api("shop", "api9"))
    acts.cancel(redis, bench.accept(api("shop", "api8")), "ada")
    found = lately(redis, 3)
    assert {status: found.count(status) for status in found.by_status} == {"succeeded": 1, "failed": 4, "cancelled": 1}
    assert len(found.failing) == 3
    assert {module for module, _ in found.failing} == {"shop"}
    assert found.more == 1
    assert counters.failed(redis, time.time()) == 4


def test_an_api_that_failed_yesterday_is_not_failing(bench: Bench, redis: Redis) -> None:
    hour = this_hour(redis)
    redis.hset(OF_ALL, mapping={f"failed@{hour - 24}": 7, f"failed@{hour - 23}": 1})
    redis.zadd(FAILING, {"shop/old": hour - 24, "shop/late": hour - 23})
    found = counters.lately(redis, hour * 3600.0, 10)
    assert (found.count("failed"), found.failing, found.more) == (1, (("shop", "late"),), 0)
    bench.accept()
    bench.run(FAILED)
    assert not redis.hexists(OF_ALL, f"failed@{hour - 24}")
    assert redis.zscore(FAILING, "shop/old") is None


# --- durations ---


def took(bench: Bench, seconds: float, of: Api | None = None) -> None:
    """Lets one succeed that began so many seconds ago."""
    bench.accept(of)
    taken = bench.take()
    assert taken
    now, microseconds = bench.redis.time()
    bench.redis.hset(f"rq:execution:{':'.join(taken)}", "created_at", f"{now + microseconds / 1e6 - seconds:.6f}")
    assert bench.end(*taken, SUCCEEDED)


def test_percentiles_are_a_tenth_off_at_most(bench: Bench, redis: Redis) -> None:
    chosen = random.Random(5)
    seconds = sorted(10 ** chosen.uniform(-0.5, 4) for _ in range(200))
    for each in seconds:
        took(bench, each)
    outcomes = week(redis)
    assert outcomes.succeeded == 200
    assert outcomes.p50 == pytest.approx(seconds[99], rel=0.1)
    assert outcomes.p95 == pytest.approx(seconds[189], rel=0.1)


def test_one_alone_is_both_percentiles_however_short_or_long_it_was(bench: Bench, redis: Redis) -> None:
    for name, seconds in (("quick", 0.0), ("slow", 10.0**8)):
        took(bench, seconds, api(workflow=Workflow(name=name, python="work:plain", timeout=60)))
    quick, slow = counters.outcomes(redis, ["quick", "slow"], time.time())
    assert quick.p50 == quick.p95
    assert quick.p50
    assert 0 < quick.p50 < 0.5
    assert slow.p50 == slow.p95
    assert slow.p50
    assert slow.p50 > 86_400


def test_the_totals_of_a_workflow_are_a_histogram(bench: Bench, redis: Redis) -> None:
    for seconds in (2, 2, 50, 10**6):
        took(bench, seconds)
    bench.accept(api(workflow=Workflow(name="broken", python="work:plain", timeout=60)))
    bench.run(FAILED)
    (found,) = counters.workflow_totals(redis)
    assert found.workflow == "plain"
    up_to = dict(found.up_to)
    assert tuple(up_to) == (*EDGES, float("inf"))
    assert [up_to[edge] for edge in (1.0, 3.0, 30.0, 60.0, 86400.0, float("inf"))] == [0, 2, 2, 3, 3, 4]
    assert found.seconds == pytest.approx(10**6 + 54, abs=2)


# --- time ---


def test_hours_and_days_that_are_too_old_are_not_shown_and_go_when_others_begin(bench: Bench, redis: Redis) -> None:
    hour = this_hour(redis)
    day = hour - hour % 24
    redis.hset(OF_SHOP, mapping={f"calls@{hour - 24}": 5, f"failed@{hour - 24}": 5, f"calls@{hour - 23}": 1})
    redis.hset(OF_PLAIN, mapping={f"took@{day - 7 * 24}:30": 5, f"failed@{day - 7 * 24}": 5, f"failed@{day - 144}": 1})
    now = hour * 3600.0
    (shown,) = counters.hours(redis, [SHOP], now)
    assert (shown.calls, shown.failures) == ((1,) + (0,) * 23, (0,) * 24)
    assert counters.outcomes(redis, ["plain"], now) == [Outcomes(0, 1, 0, None, None)]
    bench.accept()
    bench.run(SUCCEEDED)
    assert not redis.hexists(OF_SHOP, f"calls@{hour - 24}")
    assert not redis.hexists(OF_SHOP, f"failed@{hour - 24}")
    assert sum(hours(redis).calls) in (1, 2)  # the old one, if no hour has begun since
    assert not redis.hexists(OF_PLAIN, f"took@{day - 7 * 24}:30")
    assert not redis.hexists(OF_PLAIN, f"failed@{day - 7 * 24}")


def test_what_is_not_in_use_any_more_goes_by_itself(bench: Bench, redis: Redis) -> None:
    redis.zadd(FIGURES + "apis", {"gone/api": this_hour(redis) - LIFE // 3600 - 1})
    assert list(counters.api_totals(redis)) == [ApiTotals("gone", "api", {}, {}, {})]
    bench.accept()
    bench.run(FAILED)
    assert [found.module for found in counters.api_totals(redis)] == ["shop"]
    for key in redis.scan_iter(FIGURES + "*"):
        assert LIFE - 60 < redis.ttl(key) <= LIFE


def test_one_that_ends_after_its_figures_went_leaves_nothing_for_ever(bench: Bench, redis: Redis) -> None:
    bench.accept()
    redis.delete(*redis.scan_iter(FIGURES + "*"))
    bench.run(SUCCEEDED)
    assert all(redis.ttl(key) > 0 for key in redis.scan_iter(FIGURES + "*"))
    assert totals(redis).ended == {"succeeded": 1}


@pytest.mark.parametrize("broken", [OF_SHOP, OF_PLAIN, OF_ALL, FAILING, FIGURES + "apis", FIGURES + "workflows"])
@pytest.mark.parametrize("result", [SUCCEEDED, FAILED], ids=["succeeded", "failed"])
def test_figures_that_can_not_be_written_stop_nothing(bench: Bench, redis: Redis, broken: str, result: Any) -> None:
    redis.set(broken, "somebody else's")
    uid = bench.accept()
    bench.run(result)
    assert bench.record(uid).status in ("succeeded", "failed")
    assert redis.get(broken) == b"somebody else's"


def test_figures_that_can_not_be_read_are_0(bench: Bench, redis: Redis) -> None:
    bench.accept()
    bench.run(SUCCEEDED)
    for broken in (OF_SHOP, OF_PLAIN, OF_ALL, FAILING):
        redis.delete(broken)
        redis.set(broken, "somebody else's")
    assert hours(redis) == Hours((0,) * 24, (0,) * 24)
    assert week(redis) == Outcomes(0, 0, 0, None, None)
    assert totals(redis) == ApiTotals("shop", "restock", {}, {}, {})
    assert list(counters.workflow_totals(redis)) == []
    assert lately(redis) == Lately(dict.fromkeys(("succeeded", "failed", "cancelled"), (0,) * 24), (), 0)
