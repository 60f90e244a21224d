"""The steps of a record: in the order of the plan, with what has become of each while it runs and after."""

from __future__ import annotations

import json
from typing import Any

import pytest
from redis import Redis

from tests.store.conftest import FAILED, LATER, STOPPED, SUCCEEDED, Bench
from trigger import store
from trigger.store import Record

PLAN = {
    "steps": ["quote", "order", "close"],
    "on_failure": ["alert"],
    "kinds": {"quote": "python", "order": "http", "close": "run", "alert": "run"},
}
AT = "2026-01-31T12:00:0{}.000Z"
DONE = {
    "status": "succeeded",
    "attempts": 1,
    "started_at": AT.format(1),
    "ended_at": AT.format(2),
    "output": {"total": 3},
    "error": None,
}
RUNNING = {"status": "running", "attempts": 1, "started_at": AT.format(2)}
BAD = {
    "status": "failed",
    "attempts": 3,
    "started_at": AT.format(2),
    "ended_at": AT.format(4),
    "error": {"class": "E", "message": "no"},
    "traceback": "Traceback …",
}


def shown(record: Record) -> list[tuple[str, str, str | None]]:
    return [(step.name, step.status, step.because) for step in record.steps]


def test_a_step_is_shown_with_all_that_is_known_of_it(bench: Bench) -> None:
    uid = bench.accept()
    bench.run(FAILED)
    bench.steps(uid, PLAN, {"quote": DONE, "order": BAD})
    steps = bench.record(uid).as_json(operator=True)["steps"]
    assert steps[0] == {
        "name": "quote",
        "kind": "python",
        "status": "succeeded",
        "attempts": 1,
        "started_at": AT.format(1),
        "ended_at": AT.format(2),
        "output": {"total": 3},
        "error": None,
        "because": None,
    }
    assert steps[1]["error"] == {"class": "E", "message": "no", "traceback": "Traceback …"}
    assert steps[3].items() >= {"name": "alert", "on_failure": True}.items()
    assert bench.record(uid).as_json(operator=False)["steps"][1]["error"] == {"class": "E", "message": "no"}


def test_while_it_runs_what_has_not_begun_waits(bench: Bench) -> None:
    uid = bench.accept()
    bench.steps(uid, PLAN, {"quote": DONE})
    taken = bench.take()
    bench.steps(uid, None, {"order": RUNNING})
    waits = [("close", "waiting", None), ("alert", "waiting", None)]
    assert shown(bench.record(uid)) == [("quote", "succeeded", None), ("order", "running", None), *waits]
    assert taken
    bench.release(*taken)
    assert shown(bench.record(uid)) == [("quote", "succeeded", None), ("order", "waiting", None), *waits]


def test_a_step_that_waits_for_its_next_attempt_says_so(bench: Bench) -> None:
    uid = bench.accept()
    bench.steps(uid, PLAN, {"order": {**BAD, "status": "retrying"}})
    bench.run(LATER)
    assert shown(bench.record(uid))[1] == ("order", "retrying", None)


@pytest.mark.parametrize(
    ("end", "states", "expected"),
    [
        (
            FAILED,
            {"quote": {**BAD, "ended_at": AT.format(3)}, "order": BAD, "alert": DONE},
            [
                ("quote", "failed", None),
                ("order", "failed", None),
                ("close", "skipped", "order failed"),
                ("alert", "succeeded", None),
            ],
        ),
        (
            FAILED,  # killed at its timeout
            {"quote": DONE, "order": RUNNING},
            [
                ("quote", "succeeded", None),
                ("order", "failed", None),
                ("close", "skipped", "the execution ended before"),
                ("alert", "skipped", "the execution ended before"),
            ],
        ),
        (
            STOPPED,
            {"quote": DONE, "order": RUNNING},
            [
                ("quote", "succeeded", None),
                ("order", "cancelled", "the execution was cancelled"),
                ("close", "skipped", "the execution was cancelled"),
                ("alert", "skipped", "the execution was cancelled"),
            ],
        ),
        (
            SUCCEEDED,
            {"quote": DONE, "order": {**DONE, "status": "skipped", "because": "its `when` was false"}, "close": DONE},
            [
                ("quote", "succeeded", None),
                ("order", "skipped", "its `when` was false"),
                ("close", "succeeded", None),
                ("alert", "skipped", "the workflow has not failed"),
            ],
        ),
    ],
)
def test_in_the_end_no_step_waits_or_runs(bench: Bench, end: Any, states: Any, expected: Any) -> None:
    uid = bench.accept()
    bench.run(end)
    bench.steps(uid, PLAN, states)
    assert shown(bench.record(uid)) == expected


def test_a_step_that_was_cut_off_ended_when_the_execution_did_and_for_its_reason(bench: Bench) -> None:
    uid = bench.accept()
    bench.run(FAILED)
    bench.steps(uid, PLAN, {"order": RUNNING})
    record = bench.record(uid)
    assert record.steps[1].ended_at == record.ended_at
    assert record.steps[1].error == record.error


def test_a_step_that_was_done_before_the_execution_was_resumed_says_so(bench: Bench) -> None:
    uid = bench.accept()
    bench.redis.hset(f"rq:job:{uid}", "meta", json.dumps({"resumed_from": "1" * 25}))
    bench.steps(uid, PLAN, {"quote": DONE, "order": {**DONE, "ended_at": "9999-01-01T00:00:00.000Z"}})
    assert [step.because for step in bench.record(uid).steps][:2] == [store.steps.REUSED, None]


def test_secrets_of_the_input_and_of_the_config_are_masked_in_steps(bench: Bench, redis: Redis) -> None:
    uid = bench.accept(value={"card": "4111111111111111", "pin": 987654, "no": 5}, secrets=[["card"], ["pin"]])
    leaks = {"card": ["my 4111111111111111", 987654, 5, True, None], "4111111111111111": {"x": "k-e-y-1"}}
    error = {"class": "E", "message": "card 4111111111111111"}
    bench.steps(
        uid, PLAN, {"quote": {**DONE, "output": leaks}, "order": {**BAD, "error": error, "traceback": "987654"}}
    )
    record = store.read(redis, uid, ("k-e-y-1",))
    assert record
    assert record.steps[0].output == {"card": ["my ***", "***", 5, True, None], "***": {"x": "***"}}
    assert (record.steps[1].error, record.steps[1].traceback) == ({"class": "E", "message": "card ***"}, "***")


def test_an_output_that_is_too_deep_to_be_masked_is_masked_as_a_whole(bench: Bench, redis: Redis) -> None:
    uid = bench.accept(value={"card": "4111111111111111"}, secrets=[["card"]])
    deep = '{"status": "succeeded", "output": ' + "[" * 700 + '"4111111111111111"' + "]" * 700 + "}"
    bench.steps(uid, PLAN, {})
    redis.hset(store.STEPS + uid, "quote", deep)
    assert "4111111111111111" not in str(bench.record(uid).steps[0].output)


@pytest.mark.parametrize("plan", ["", "{", "[]", '{"steps": 3, "kinds": []}', '{"steps": [1, null]}', "\xff"])
def test_a_plan_that_can_not_be_read_leaves_a_record_without_steps(bench: Bench, redis: Redis, plan: str) -> None:
    uid = bench.accept()
    redis.hset(store.STEPS + uid, mapping={"": plan.encode("latin-1"), "quote": "{"})
    assert bench.record(uid).steps == ()


def test_a_state_that_can_not_be_read_counts_as_not_begun(bench: Bench, redis: Redis) -> None:
    uid = bench.accept()
    bench.steps(uid, PLAN, {"order": {"status": "succeeded", "attempts": "x", "error": "text", "traceback": 3}})
    redis.hset(store.STEPS + uid, "quote", "[" * 5000)
    assert [step.status for step in bench.record(uid).steps] == ["waiting", "succeeded", "waiting", "waiting"]
