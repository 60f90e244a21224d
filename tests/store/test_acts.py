"""Cancelling, rerunning and resuming: what is in Redis afterwards, and what is refused."""

from __future__ import annotations

import json
import random
import threading
from dataclasses import replace
from typing import Any

import pytest
from redis import Redis
from rq.job import Job as RqJob
from rq.registry import CanceledJobRegistry, FailedJobRegistry, ScheduledJobRegistry
from rq.serializers import JSONSerializer

from tests.store.conftest import FAILED, LATER, PLAIN, STEPPED, STOPPED, SUCCEEDED, Bench, api, config, step
from trigger import store
from trigger.config.model import Api, Config
from trigger.errors import (
    ApiNotAvailable,
    ExecutionEnded,
    ExecutionNotEnded,
    ExecutionNotFound,
    InvalidParams,
    NotResumable,
    WorkflowChanged,
)
from trigger.fields.model import Field, Input
from trigger.inputs import Shape
from trigger.store import Status, acts
from trigger.store.outcome import Outcome

CANCELLED = {"class": "Cancelled", "message": "Cancelled by ada"}


def cancel(bench: Bench, uid: str) -> Status:
    return acts.cancel(bench.redis, uid, "ada")


def registry(kind: Any, redis: Redis) -> list[str]:
    ids: list[str] = kind("default", connection=redis, serializer=JSONSerializer).get_job_ids(cleanup=False)
    return ids


def assert_cancelled(bench: Bench, uid: str) -> None:
    """It is final, as the record, RQ, the ledger and the indexes have it, and nothing runs or waits."""
    record = bench.record(uid)
    assert (record.status, record.error) == (Status.CANCELLED, CANCELLED)
    assert record.created_at
    assert record.ended_at
    assert record.created_at <= record.ended_at
    job = RqJob.fetch(uid, connection=bench.redis, serializer=JSONSerializer)
    assert job.is_canceled or job.is_stopped
    assert job.ended_at
    assert bench.redis.zcard(store.waiting_key("default")) == 0
    assert bench.redis.zcard(store.leased_key("default")) == 0
    assert bench.redis.zscore(store.FAILED_INDEX, uid) == store.accepted_ms(uid)
    assert 3500 < bench.redis.ttl(f"rq:job:{uid}") <= 3600
    assert bench.take() is None
    assert bench.redis.llen(store.POISON) == 0


# --- cancel ---


def test_a_queued_execution_that_is_cancelled_never_starts(bench: Bench, redis: Redis) -> None:
    uid = bench.accept()
    assert cancel(bench, uid) is Status.CANCELLED
    assert redis.llen("rq:queue:default") == 0
    assert_cancelled(bench, uid)
    assert bench.record(uid).started_at is None
    assert registry(CanceledJobRegistry, redis) == [uid]


def test_from_a_long_queue_it_is_dropped_when_its_turn_comes(
    bench: Bench, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acts, "SHORT_LIST", 1)
    first, second, third = bench.accept(), bench.accept(), bench.accept()
    cancel(bench, first)
    cancel(bench, second)
    redis.delete(f"rq:job:{second}")  # its record has been kept long enough meanwhile
    assert redis.llen("rq:queue:default") == 3
    taken = bench.take()
    assert taken is not None
    assert taken[0] == third
    assert redis.llen(store.POISON) == 0
    assert not redis.exists(store.DROPPED + "default")
    bench.end(*taken, SUCCEEDED)
    assert_cancelled(bench, first)


def test_an_execution_that_waits_for_its_next_attempt_is_cancelled_at_once(bench: Bench, redis: Redis) -> None:
    uid = bench.accept()
    bench.run(LATER)
    bench.steps(uid, None, {"a": {"status": "retrying"}})
    assert cancel(bench, uid) is Status.CANCELLED
    assert registry(ScheduledJobRegistry, redis) == []
    bench.reap()
    assert_cancelled(bench, uid)
    assert redis.ttl(store.STEPS + uid) > 3500


def test_a_running_execution_is_told_through_its_worker_as_rq_does(bench: Bench, redis: Redis) -> None:
    uid = bench.accept()
    bench.take()
    channel = redis.pubsub(ignore_subscribe_messages=True)
    channel.subscribe("rq:pubsub:" + "w" * 32)
    channel.get_message(timeout=5)
    assert cancel(bench, uid) is Status.RUNNING
    assert cancel(bench, uid) is Status.RUNNING
    message = channel.get_message(timeout=5)
    assert message
    assert json.loads(message["data"]) == {"command": "stop-job", "job_id": uid}
    assert bench.record(uid).status is Status.RUNNING
    channel.close()


@pytest.mark.parametrize(
    ("end", "status"),
    [
        (SUCCEEDED, Status.SUCCEEDED),
        (FAILED, Status.FAILED),
        (LATER, Status.CANCELLED),
        (STOPPED, Status.CANCELLED),
    ],
)
def test_a_run_that_ends_by_itself_before_it_is_told_has_its_own_end_but_no_further_attempt(
    bench: Bench, redis: Redis, end: Outcome, status: Status
) -> None:
    uid = bench.accept()
    taken = bench.take()
    assert taken
    cancel(bench, uid)
    assert bench.end(*taken, end)
    assert bench.record(uid).status is status
    if status is Status.CANCELLED:
        assert_cancelled(bench, uid)
        assert registry(FailedJobRegistry, redis) == [uid]
    assert not bench.end(*taken, SUCCEEDED)
    assert bench.record(uid).status is status


@pytest.mark.parametrize("why", ["crash", "stop", "reaped"])
def test_a_run_that_is_interrupted_while_it_is_being_cancelled_does_not_run_again(bench: Bench, why: str) -> None:
    uid = bench.accept()
    taken = bench.take()
    assert taken
    cancel(bench, uid)
    if why == "reaped":
        assert bench.reap()[:3] == [[], [], []]
    else:
        assert bench.release(*taken, why) == "cancelled"
    assert_cancelled(bench, uid)
    assert not bench.end(*taken, SUCCEEDED)
    assert bench.record(uid).status is Status.CANCELLED


def test_cancelling_again_is_answered_alike_and_changes_nothing(bench: Bench, redis: Redis) -> None:
    uid = bench.accept()
    cancel(bench, uid)
    before = redis.hgetall(f"rq:job:{uid}"), redis.zrange("rq:canceled:default", 0, -1, withscores=True)
    assert acts.cancel(redis, uid, "somebody else") is Status.CANCELLED
    assert (redis.hgetall(f"rq:job:{uid}"), redis.zrange("rq:canceled:default", 0, -1, withscores=True)) == before


@pytest.mark.parametrize("end", [SUCCEEDED, FAILED])
def test_what_has_ended_can_not_be_cancelled(bench: Bench, redis: Redis, end: Outcome) -> None:
    bench.accept()
    uid = bench.run(end)
    before = redis.hgetall(f"rq:job:{uid}")
    with pytest.raises(ExecutionEnded):
        cancel(bench, uid)
    assert redis.hgetall(f"rq:job:{uid}") == before


def test_what_is_not_there_can_not_be_cancelled(bench: Bench, redis: Redis) -> None:
    redis.hset("rq:job:" + "1" * 25, mapping={"status": "nonsense"})
    for uid in (store.new_uid(), "1" * 25):
        with pytest.raises(ExecutionNotFound):
            cancel(bench, uid)
    assert redis.dbsize() == 1


def test_cancelling_at_any_moment_of_a_run_gives_one_end(bench: Bench, redis: Redis) -> None:
    """Two at a time act on each execution; whatever comes first, what is final stays as it is."""
    chosen = random.Random(3)
    seen = set()
    for _ in range(150):
        uid = bench.accept()
        end = chosen.choice([SUCCEEDED, FAILED, LATER])
        ended: list[bool] = []

        def work(end: Outcome = end, ended: list[bool] = ended) -> None:
            taken = bench.take()
            if taken:
                ended.append(bench.end(*taken, end))

        worker = threading.Thread(target=work)
        worker.start()
        try:
            answer: Status | None = cancel(bench, uid)
        except ExecutionEnded:
            answer = None
        worker.join()
        if answer is None:
            assert bench.record(uid).status is (Status.SUCCEEDED if end is SUCCEEDED else Status.FAILED)
        elif answer is Status.CANCELLED:
            assert bench.record(uid).status is Status.CANCELLED
        else:
            cancelled = end is LATER
            assert (bench.record(uid).status is Status.CANCELLED) == cancelled
        final = bench.record(uid)
        assert final.status in store.FINAL
        bench.reap()
        assert bench.take() is None
        assert bench.record(uid) == final
        seen.add((answer, final.status))
    assert len(seen) > 2


# --- rerun ---

CARD = Input(
    (
        Field("sku", "string", required=True),
        Field("card", "string", secret=True, min_length=8),
        Field("cards", "list", of=Field("", "string", secret=True)),
    )
)
ORDER = {"sku": "A1", "card": "4111111111111111"}


def parts(bench: Bench, in_force: Config) -> acts.Parts:
    return acts.Parts(bench.redis, bench.submitter, in_force, lambda api: Shape(api.input))


def ordered(bench: Bench, of: Api, **options: Any) -> str:
    """A failed execution."""
    bench.accept(of, ORDER, secrets=[["card"]], **options)
    return bench.run(FAILED)


def test_a_rerun_is_a_new_execution_with_the_same_input_that_names_its_origin(bench: Bench) -> None:
    of = api(input=CARD)
    uid = ordered(bench, of)
    new = acts.rerun(parts(bench, config(of)), uid).uid
    assert new != uid
    record = bench.record(new)
    assert (record.rerun_of, record.caller, record.status) == (uid, "ci", Status.QUEUED)
    assert record.input == {"sku": "A1", "card": "***"}
    origin = store.origin(bench.redis, new)
    assert origin
    assert origin.input == ORDER
    assert bench.record(uid).status is Status.FAILED


def test_a_rerun_may_have_another_input_which_is_checked_as_a_calls_is(bench: Bench) -> None:
    of = api(input=CARD)
    uid = ordered(bench, of)
    new = acts.rerun(parts(bench, config(of)), uid, edited={"sku": "B2"}).uid
    assert bench.record(new).input == {"sku": "B2"}
    mistakes: list[Any] = [{"sku": ""}, {"sku": "B2", "skuu": 1}, [], None]
    for wrong in mistakes:
        with pytest.raises(InvalidParams):
            acts.rerun(parts(bench, config(of)), uid, edited=wrong)


def test_a_secret_that_is_still_masked_in_the_edited_input_keeps_its_value(bench: Bench) -> None:
    of = api(input=CARD)
    uid = ordered(bench, of)
    new = acts.rerun(parts(bench, config(of)), uid, edited={"sku": "B2", "card": "***"}).uid
    origin = store.origin(bench.redis, new)
    assert origin
    assert origin.input == {**ORDER, "sku": "B2"}
    assert bench.record(new).input == {"sku": "B2", "card": "***"}
    with pytest.raises(InvalidParams) as refused:
        acts.rerun(parts(bench, config(of)), uid, edited={"sku": "B2", "cards": ["4222", "***"]})
    assert refused.value.details
    assert list(refused.value.details["fields"]) == ["cards.1"]


def test_what_was_secret_stays_so_in_a_rerun_and_what_has_become_so_is(bench: Bench) -> None:
    before = api()
    bench.accept(before, ORDER, secrets=[["sku"]])
    uid = bench.run(SUCCEEDED)
    new = acts.rerun(parts(bench, config(api(input=CARD))), uid).uid
    assert bench.record(new).input == {"sku": "***", "card": "***"}


def test_a_repeated_rerun_with_the_same_key_starts_one(bench: Bench) -> None:
    of = api()
    uid = ordered(bench, of, key="k")
    first = acts.rerun(parts(bench, config(of)), uid, key="k")
    again = acts.rerun(parts(bench, config(of)), uid, key="k")
    assert first.uid != uid
    assert (again.uid, again.replayed) == (first.uid, True)
    assert acts.rerun(parts(bench, config(of)), first.uid, key="k").uid not in (uid, first.uid)


@pytest.mark.parametrize("act", [acts.rerun, acts.resume])
def test_an_api_that_is_gone_or_not_enabled_starts_nothing(bench: Bench, redis: Redis, act: Any) -> None:
    of = api(workflow=STEPPED)
    uid = ordered(bench, of)
    known = redis.zcard(store.INDEX)
    for in_force in (config(), config(replace(of, enabled=False))):
        with pytest.raises(ApiNotAvailable) as refused:
            act(parts(bench, in_force), uid)
        assert "shop/restock" in refused.value.message
    assert redis.zcard(store.INDEX) == known


@pytest.mark.parametrize("act", [acts.rerun, acts.resume])
@pytest.mark.parametrize("result", [SUCCEEDED, FAILED])
def test_a_callback_is_sent_again_and_not_started_anew(bench: Bench, act: Any, result: Outcome) -> None:
    of = api(callbacks={"ops": ("succeeded",)})
    uid = bench.accept(of)
    bench.run(SUCCEEDED)
    with pytest.raises(ApiNotAvailable) as refused:
        act(parts(bench, config(of)), bench.send(result))
    assert f"the callback ops of the execution {uid}" in refused.value.message
    assert f"`trigger callbacks again {uid} --to ops`" in refused.value.message


@pytest.mark.parametrize("act", [acts.rerun, acts.resume])
def test_what_debug_has_started_may_go_on_while_the_api_is_not_enabled(bench: Bench, act: Any) -> None:
    of = replace(api(workflow=STEPPED), enabled=False)
    uid = ordered(bench, of, debug=True)
    assert bench.record(act(parts(bench, config(of)), uid).uid).debug


@pytest.mark.parametrize("act", [acts.rerun, acts.resume])
def test_what_is_not_there_can_not_be_started_anew(bench: Bench, redis: Redis, act: Any) -> None:
    with pytest.raises(ExecutionNotFound):
        act(parts(bench, config(api())), store.new_uid())
    assert redis.dbsize() == 0


# --- resume ---

PLAN = {
    "steps": ["quote", "order", "tell", "close"],
    "on_failure": ["alert"],
    "kinds": dict.fromkeys(["quote", "order", "tell", "close", "alert"], "python"),
}
DONE = {"status": "succeeded", "digest": "d1", "attempts": 1, "output": {"total": 3}}
BAD = {"status": "failed", "digest": "d1", "attempts": 2, "error": {"class": "E", "message": "no"}}


def stopped_at_order(bench: Bench, of: Api, end: Outcome = FAILED, **states: Any) -> str:
    """An execution that has ended in its second step."""
    bench.accept(of, ORDER, secrets=[["card"]])
    uid = bench.run(end)
    bench.steps(uid, PLAN, {"quote": DONE, "order": BAD, "alert": DONE, **states})
    bench.redis.expire(store.STEPS + uid, 3600)
    return uid


@pytest.mark.parametrize("end", [FAILED, STOPPED])
def test_a_resumed_execution_takes_over_what_is_done_and_nothing_else(bench: Bench, redis: Redis, end: Outcome) -> None:
    of = api(workflow=STEPPED)
    uid = stopped_at_order(bench, of, end, tell=BAD, close={"status": "running", "digest": "d1"})
    new = acts.resume(parts(bench, config(of)), uid).uid
    record = bench.record(new)
    assert (record.resumed_from, record.status) == (uid, Status.QUEUED)
    assert record.input == {"sku": "A1", "card": "***"}
    states = store.states_of(redis, new)
    assert states == {"quote": DONE, "tell": BAD}  # tell may fail
    assert redis.ttl(store.STEPS + new) == -1
    assert [(shown.name, shown.status) for shown in record.steps] == [
        ("quote", "succeeded"),
        ("order", "waiting"),
        ("tell", "failed"),
        ("close", "waiting"),
        ("alert", "waiting"),
    ]
    assert store.states_of(redis, uid).keys() == {"quote", "order", "tell", "close", "alert"}


def test_one_that_was_cancelled_before_it_began_is_resumed_from_the_start(bench: Bench, redis: Redis) -> None:
    of = api(workflow=STEPPED)
    uid = bench.accept(of)
    cancel(bench, uid)
    new = acts.resume(parts(bench, config(of)), uid).uid
    assert store.states_of(redis, new) == {}
    assert {shown.status for shown in bench.record(new).steps} == {"waiting"}


def test_steps_that_are_not_done_may_have_been_changed_taken_out_or_put_in(bench: Bench) -> None:
    of = api(workflow=STEPPED)
    uid = stopped_at_order(bench, of)
    mended = replace(STEPPED, steps=(step("quote"), step("check"), step("order", digest="d2")))
    new = acts.resume(parts(bench, config(api(workflow=mended))), uid).uid
    assert [(s.name, s.status) for s in bench.record(new).steps] == [
        ("quote", "succeeded"),
        ("check", "waiting"),
        ("order", "waiting"),
        ("alert", "waiting"),
    ]


@pytest.mark.parametrize("steps", [(step("quote", digest="d2"), step("order")), (step("order"),)])
def test_a_finished_step_that_was_changed_is_named(bench: Bench, redis: Redis, steps: Any) -> None:
    of = api(workflow=STEPPED)
    uid = stopped_at_order(bench, of)
    known = redis.zcard(store.INDEX)
    with pytest.raises(WorkflowChanged) as refused:
        acts.resume(parts(bench, config(api(workflow=replace(STEPPED, steps=steps)))), uid)
    assert refused.value.details == {"step": "quote"}
    assert "quote" in refused.value.message
    assert (refused.value.status, refused.value.code) == (409, "requestError.workflowChanged")
    assert redis.zcard(store.INDEX) == known


def test_another_workflow_can_not_go_on_with_it(bench: Bench) -> None:
    uid = stopped_at_order(bench, api(workflow=STEPPED))
    with pytest.raises(WorkflowChanged):
        acts.resume(parts(bench, config(api(workflow=replace(STEPPED, name="other")))), uid)


def test_a_workflow_without_steps_is_rerun_and_not_resumed(bench: Bench) -> None:
    of = api(workflow=PLAIN)
    with pytest.raises(NotResumable) as refused:
        acts.resume(parts(bench, config(of)), ordered(bench, of))
    assert "rerun" in refused.value.message


def test_only_what_has_failed_or_was_cancelled_is_resumed(bench: Bench) -> None:
    of = api(workflow=STEPPED)
    uid = bench.accept(of)
    with pytest.raises(ExecutionNotEnded):
        acts.resume(parts(bench, config(of)), uid)
    bench.run(SUCCEEDED)
    with pytest.raises(ExecutionEnded):
        acts.resume(parts(bench, config(of)), uid)


def test_what_it_would_take_over_may_be_gone_in_the_last_moment(
    bench: Bench, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = api(workflow=STEPPED)
    uid = stopped_at_order(bench, of)
    real = store.states_of

    def gone_after(redis: Redis, uid: str) -> Any:
        states = real(redis, uid)
        redis.delete(store.STEPS + uid)
        return states

    monkeypatch.setattr(store, "states_of", gone_after)
    with pytest.raises(ExecutionNotFound):
        acts.resume(parts(bench, config(of)), uid)
    assert redis.llen("rq:queue:default") == 0
