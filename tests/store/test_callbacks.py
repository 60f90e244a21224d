"""The executions that call back: what the scripts that end one write, whatever is broken, and what is seen of them."""

from __future__ import annotations

import json
import re
from typing import Any, cast

import pytest
from redis import Redis
from rq.job import Job as RqJob
from rq.serializers import JSONSerializer

from tests.store.conftest import FAILED, LATER, STOPPED, SUCCEEDED, Bench, api
from trigger import store
from trigger.errors import CallbackNotFound, ExecutionNotEnded, ExecutionNotFound
from trigger.store import Status, acts, callbacks, counters
from trigger.store.keys import CALLBACK_QUEUE, CALLBACKS, RUNNER
from trigger.store.outcome import Outcome

ALL = ("succeeded", "failed", "cancelled")
TOLD = api(callbacks={"ops": ALL, "night": ("failed",)})
LIST = f"rq:queue:{CALLBACK_QUEUE}"


def queued(redis: Redis) -> list[str]:
    """The uids in the queue of callbacks."""
    return [uid.decode() for uid in cast(list[bytes], redis.lrange(LIST, 0, -1))]


def told(bench: Bench, uid: str) -> dict[str, Status | None]:
    return {one.to: one.status for one in bench.record(uid).callbacks}


@pytest.mark.parametrize(
    ("result", "expected"), [(SUCCEEDED, {"ops"}), (FAILED, {"ops", "night"}), (STOPPED, {"ops"}), (LATER, set())]
)
def test_an_end_calls_back_whoever_is_to_be_told_of_it(bench: Bench, result: Outcome, expected: set[str]) -> None:
    uid = bench.accept(TOLD)
    bench.run(result)
    assert told(bench, uid) == dict.fromkeys(expected, Status.QUEUED)
    assert len(queued(bench.redis)) == len(expected)


@pytest.mark.parametrize("how", ["waiting", "retrying", "reaped"])
def test_every_other_way_to_end_calls_back_too(bench: Bench, how: str) -> None:
    uid = bench.accept(TOLD)
    if how == "waiting":
        acts.cancel(bench.redis, uid, "ada")
    elif how == "retrying":
        bench.run(LATER)
        acts.cancel(bench.redis, uid, "ada")
    else:
        bench.redis.hset(store.JOB + uid, "crashes", 4)
        bench.take()
        bench.reap()
    assert bench.record(uid).status in store.FINAL
    assert told(bench, uid)["ops"] is Status.QUEUED


def test_an_api_without_callbacks_costs_nothing(bench: Bench) -> None:
    uid = bench.accept()
    before = json.loads(cast(bytes, bench.redis.hget(store.JOB + uid, "meta")))
    bench.run(FAILED)
    assert "callbacks" not in before
    assert bench.redis.hget(store.JOB + uid, "callbacks") is None
    assert bench.redis.exists(LIST, CALLBACKS, store.waiting_key(CALLBACK_QUEUE)) == 0


def test_it_is_an_ordinary_job_for_rqs_tools(bench: Bench) -> None:
    uid = bench.accept(TOLD)
    bench.run(SUCCEEDED)
    (other,) = queued(bench.redis)
    job = RqJob.fetch(other, connection=bench.redis, serializer=JSONSerializer)
    assert (job.func_name, job.origin, job.description) == (RUNNER, CALLBACK_QUEUE, "@callbacks/ops")
    assert job.args[0] == "@callback"
    assert {"uid": uid, "status": "succeeded", "to": "ops", "api": "shop/restock"}.items() <= job.args[1].items()
    assert b"rq:queue:callbacks" in cast(set[bytes], bench.redis.smembers("rq:queues"))
    assert bench.redis.zscore(store.waiting_key(CALLBACK_QUEUE), other)


def test_its_uid_is_one_and_it_is_in_no_list_of_executions(bench: Bench) -> None:
    uid = bench.accept(TOLD)
    bench.run(FAILED)
    others = queued(bench.redis)
    assert len(set(others)) == 2
    assert all(store.is_uid(other) and other[:13] == uid[:13] for other in others)
    assert [one.uid for one in store.page(bench.redis, store.Query()).executions] == [uid]
    for status in (Status.QUEUED, Status.FAILED):
        found = store.page(bench.redis, store.Query(status=status)).executions
        assert [one.uid for one in found] == ([uid] if status is Status.FAILED else [])
    assert {one.uid for one in callbacks.listed(bench.redis, limit=10)} == set(others)


def test_a_callback_calls_nobody_back_and_counts_as_no_execution(bench: Bench) -> None:
    bench.accept(TOLD)
    bench.run(SUCCEEDED)
    bench.send(LATER)
    bench.redis.zadd(store.leased_key(CALLBACK_QUEUE), {queued_later(bench.redis): 1})
    reap(bench)
    bench.send(FAILED)
    assert queued(bench.redis) == []
    assert dict(counters.callback_totals(bench.redis)) == {
        "ops": {"succeeded": 0, "failed": 1, "cancelled": 0, "retried": 1, "interrupted": 0}
    }
    (totals,) = counters.api_totals(bench.redis)
    assert (totals.module, totals.ended) == ("shop", {"succeeded": 1})
    assert [of.workflow for of in counters.workflow_totals(bench.redis)] == ["plain"]
    assert counters.lately(bench.redis, bench.redis.time()[0], 9).count("failed") == 0


def queued_later(redis: Redis) -> str:
    (uid,) = cast(list[bytes], redis.zrange(store.leased_key(CALLBACK_QUEUE), 0, -1))
    return uid.decode()


def reap(bench: Bench) -> None:
    bench._reap(list=LIST, queue=CALLBACK_QUEUE, grace=10_000, retention=3_600_000, budget=5, error="{}", exc_string="")


def test_the_record_says_how_far_a_callback_is(bench: Bench) -> None:
    uid = bench.accept(TOLD)
    bench.run(SUCCEEDED)
    other = bench.send(LATER)
    (shown,) = bench.record(uid).as_json(operator=False)["callbacks"]
    assert shown.keys() == {"to", "status", "attempts", "next"}
    assert (shown["to"], shown["status"], shown["attempts"]) == ("ops", "retrying", 1)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", shown["next"])
    (more,) = bench.record(uid).as_json(operator=True)["callbacks"]
    assert (more["uid"], more["error"]) == (other, {"class": "ValueError", "message": "no stock"})
    assert bench.record(other).tells_of == uid
    assert "callbacks" not in bench.record(bench.accept()).as_json(operator=True)


def test_a_repeated_end_calls_back_once(bench: Bench) -> None:
    uid = bench.accept(TOLD)
    taken = bench.take()
    assert taken == (uid, taken[1] if taken else "")
    assert bench.end(*taken, SUCCEEDED) is True
    assert bench.end(*taken, SUCCEEDED) is False
    assert len(queued(bench.redis)) == 1


@pytest.mark.parametrize("broken", [LIST, CALLBACKS, store.waiting_key(CALLBACK_QUEUE)])
def test_an_end_is_recorded_though_its_callback_can_not_be_queued(bench: Bench, broken: str) -> None:
    bench.redis.set(broken, "not what it should be")
    uid = bench.accept(TOLD)
    bench.run(SUCCEEDED)
    assert bench.record(uid).status is Status.SUCCEEDED
    entry = json.loads(cast(list[bytes], bench.redis.lrange(store.POISON, 0, 0))[0])
    assert (entry["entry"], entry["reason"]) == (uid, "its callback can not be queued")


def test_a_redis_that_is_out_of_memory_records_ends_and_calls_back(bench: Bench) -> None:
    uid = bench.accept(TOLD)
    taken = bench.take()
    assert taken is not None
    bench.redis.config_set("maxmemory", 1)
    try:
        assert bench.end(*taken, FAILED)
    finally:
        bench.redis.config_set("maxmemory", 0)
    assert told(bench, uid) == {"ops": Status.QUEUED, "night": Status.QUEUED}


@pytest.mark.parametrize("meta", ['{"callbacks": 1}', '{"callbacks": {"ops": "failed"}}', '{"callbacks": {"x": [1]}}'])
def test_what_a_stranger_has_written_keeps_no_end_from_being_recorded(bench: Bench, meta: str) -> None:
    uid = bench.accept(TOLD)
    bench.redis.hset(store.JOB + uid, "meta", meta)
    bench.run(FAILED)
    assert bench.record(uid).status is Status.FAILED
    assert queued(bench.redis) == []


def test_one_that_has_ended_is_sent_again_by_another_execution(bench: Bench) -> None:
    uid = bench.accept(TOLD)
    bench.run(SUCCEEDED)
    first = bench.send(FAILED)
    second = callbacks.again(bench.redis, uid, "ops")
    assert second != first
    assert queued(bench.redis) == [second]
    assert callbacks.again(bench.redis, uid, "ops") == second, "it waits already"
    assert queued(bench.redis) == [second]
    assert told(bench, uid) == {"ops": Status.QUEUED}
    assert bench.redis.hget(store.JOB + second, "asked") == b"1", "an operator's is made though its host is left alone"
    data = RqJob.fetch(second, connection=bench.redis, serializer=JSONSerializer).args[1]
    assert (data["uid"], data["status"]) == (uid, "succeeded")


def test_one_that_is_retrying_is_sent_now(bench: Bench) -> None:
    uid = bench.accept(TOLD)
    bench.run(SUCCEEDED)
    first = bench.send(LATER)
    assert callbacks.again(bench.redis, uid, "ops") == first
    reap(bench)
    assert queued(bench.redis) == [first]


def test_one_that_was_not_to_be_told_of_this_end_can_be_sent_too(bench: Bench) -> None:
    uid = bench.accept(TOLD)
    bench.run(SUCCEEDED)
    assert set(told(bench, uid)) == {"ops"}
    callbacks.again(bench.redis, uid, "night")
    assert set(told(bench, uid)) == {"ops", "night"}


def test_what_can_not_be_sent_again_is_said(bench: Bench) -> None:
    uid = bench.accept(TOLD)
    with pytest.raises(ExecutionNotEnded):
        callbacks.again(bench.redis, uid, "ops")
    bench.run(SUCCEEDED)
    with pytest.raises(CallbackNotFound):
        callbacks.again(bench.redis, uid, "opps")
    with pytest.raises(ExecutionNotFound):
        callbacks.again(bench.redis, "1" * 25, "ops")


def test_callbacks_are_listed_by_name_status_and_time(bench: Bench) -> None:
    for result in (SUCCEEDED, FAILED, FAILED):
        bench.accept(TOLD)
        bench.run(result)
    gone = bench.send(SUCCEEDED)

    def listed(**options: Any) -> list[tuple[str, Status | None]]:
        return [(one.to, one.status) for one in callbacks.listed(bench.redis, limit=10, **options)]

    assert len(listed()) == 5
    assert listed(status=Status.SUCCEEDED) == [("ops", Status.SUCCEEDED)]
    assert listed(to="night") == [("night", Status.QUEUED)] * 2
    assert listed(since=bench.redis.time()[0] * 1000 + 60_000) == []
    assert len(callbacks.listed(bench.redis, limit=2)) == 2
    bench.redis.delete(store.JOB + gone)
    assert len(listed()) == 4


def test_its_record_goes_with_time_and_so_does_its_place_in_the_index(bench: Bench) -> None:
    uid = bench.accept(TOLD)
    bench.run(SUCCEEDED)
    other = bench.send(SUCCEEDED)
    assert 0 < bench.redis.ttl(store.JOB + other) <= 3600
    bench.redis.delete(store.JOB + other)
    bench.redis.zadd(CALLBACKS, {other: 1})
    store.Retention(bench.redis, callbacks=True).enforce(3600, None)
    assert bench.redis.zcard(CALLBACKS) == 0
    (left,) = bench.record(uid).callbacks
    assert (left.to, left.status) == ("ops", None)


def test_what_keep_removes_takes_its_ended_callbacks_with_it(bench: Bench) -> None:
    told = [bench.accept(TOLD) for _ in range(3)]
    for _ in told:
        bench.run(SUCCEEDED)
    ended = bench.send(FAILED)
    bench.redis.xadd(store.LOG + ended, {"m": "line"})
    waits = bench.send(LATER)
    stranger = bench.accept(api("mail"))
    bench.run(SUCCEEDED)
    (state,) = bench.record(told[1]).callbacks
    bench.redis.hset(store.JOB + told[1], "callbacks", json.dumps({"ops": state.uid, "night": stranger}))
    assert store.Retention(bench.redis).enforce(3600, 1) == 2
    assert list(bench.redis.scan_iter(f"*{ended}*")) == []
    for key in (CALLBACKS, f"rq:failed:{CALLBACK_QUEUE}"):
        assert ended.encode() not in cast(list[bytes], bench.redis.zrange(key, 0, -1))
    assert bench.record(waits).status is Status.RETRYING, "it is still to be sent"
    assert bench.record(stranger).status is Status.SUCCEEDED


def test_callbacks_that_are_not_sent_yet_keep_no_records(bench: Bench) -> None:
    for _ in range(6):
        bench.accept(TOLD)
        bench.run(SUCCEEDED)
    bench.send(LATER)
    assert store.Retention(bench.redis).enforce(3600, 2) == 4


def test_it_can_be_cancelled_as_any_execution(bench: Bench) -> None:
    uid = bench.accept(TOLD)
    bench.run(SUCCEEDED)
    bench.send(LATER)
    (state,) = bench.record(uid).callbacks
    assert acts.cancel(bench.redis, state.uid, "ada") is Status.CANCELLED
    assert told(bench, uid) == {"ops": Status.CANCELLED}
    assert bench.redis.zcard(store.leased_key(CALLBACK_QUEUE)) == 0
