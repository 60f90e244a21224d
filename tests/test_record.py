"""The record of an execution, as it is read from RQ's own keys."""

from __future__ import annotations

import base64
import json
import os
import pickle
import zlib
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from trigger import store
from trigger.store import log_reading


def test_what_is_not_an_execution_of_ours_has_no_record(redis: Redis) -> None:
    stored: dict[str, dict[Any, Any]] = {
        "1" * 25: {"status": "queued"},
        "2" * 25: {"status": "queued", "data": b"not zlib", "meta": "{}"},
        "3" * 25: {"status": "no such status", "data": b"", "meta": b"\x80\x04pickle"},
    }
    for uid, fields in stored.items():
        redis.hset(f"rq:job:{uid}", mapping=fields)
        assert store.read(redis, uid) is None


def test_an_unknown_uid_has_no_record(redis: Redis) -> None:
    assert store.read(redis, store.new_uid()) is None


def test_a_uid_is_25_decimal_digits_and_nothing_else() -> None:
    assert store.is_uid(store.new_uid())
    for text in ("", "1" * 24, "1" * 26, "1" * 24 + "a", "٣" * 25, "1" * 25 + "\n", "../" + "1" * 22):
        assert not store.is_uid(text)


# --- what is stored is not what we write ---


class Planted:
    """What runs a command when it is unpickled."""

    def __init__(self, evidence: Path) -> None:
        self.evidence = evidence

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.evidence}",)


@pytest.fixture
def stored(redis: Redis) -> str:
    """The uid of an execution that has succeeded, with a step and a line of its log."""
    uid = store.new_uid()
    redis.hset(
        store.JOB + uid,
        mapping={
            "status": "finished",
            "description": "shop/order",
            "meta": json.dumps({"caller": "ci", "workflow": "order"}),
            "data": zlib.compress(json.dumps(["x", None, ["order", {"card": "4111222233334444"}], {}]).encode()),
            "created_at": "2026-01-31T12:00:00.000000Z",
            "started_at": "2026-01-31T12:00:01.000000Z",
            "ended_at": "2026-01-31T12:00:02.000000Z",
            "attempt": "1",
        },
    )
    step = {"status": "succeeded", "started_at": "2026-01-31T12:00:01.000Z", "ended_at": "2026-01-31T12:00:02.000Z"}
    redis.hset(store.STEPS + uid, mapping={"": json.dumps({"steps": ["quote"]}), "quote": json.dumps(step)})
    redis.xadd(store.LOG + uid, {"s": "o", "m": "a line"})
    return uid


BROKEN: list[bytes] = [
    b"",
    b"\xff\x00",
    b"null",
    b"[]",
    b"[[1], 2]",
    b'"text"',
    b"7",
    b"-1",
    b"{}",
    b'{"error": 1, "status": 2, "steps": 3, "secrets": 4, "caller": {}, "resumed_from": [], "rerun_of": "x"}',
    b'{"started_at": 1, "ended_at": [], "status": "failed", "error": "x", "output": {}, "attempts": "a"}',
    b'{"started_at": "2026-02-31T12:00:00.000Z", "ended_at": "now", "status": ["running"], "traceback": 1}',
    b'{"secrets": [["card"], 1]}',
    b"2026-13-31T12:00:00.000000Z",
    b"[" * 100_000,
    base64.b64encode(b"not JSON"),
    base64.b64encode(b"[" * 100_000),
]


@pytest.mark.parametrize("status", ["started", "scheduled", "finished", "failed", "canceled"])
@pytest.mark.parametrize("value", BROKEN, ids=lambda value: repr(value[:40]))
def test_a_field_that_is_broken_breaks_no_reader(stored: str, redis: Redis, status: str, value: bytes) -> None:
    redis.hset(store.JOB + stored, "status", status)
    whole: dict[Any, Any] = redis.hgetall(store.JOB + stored)
    for name in (*whole, "error", "runs", "log"):
        redis.hset(store.JOB + stored, name, value)
        record = store.read(redis, stored)
        if record is not None:
            assert json.dumps(record.as_json(operator=True))
        store.page(redis, store.Query())
        log_reading.read(redis, stored)
        redis.delete(store.JOB + stored)
        redis.hset(store.JOB + stored, mapping=whole)
    for name in ("return_value", "exc_string"):
        redis.xadd(store.RESULTS + stored, {name: value})
        assert store.read(redis, stored)
    for name in ("", "quote"):
        redis.hset(store.STEPS + stored, name, value)
        record = store.read(redis, stored)
        assert record is not None
        assert json.dumps(record.as_json(operator=True))
    redis.xadd(store.LOG + stored, dict.fromkeys("slpam", value))
    assert len(log_reading.read(redis, stored).lines) == 2


def test_an_output_that_is_no_json_is_said_to_be_unreadable(stored: str, redis: Redis) -> None:
    redis.xadd(store.RESULTS + stored, {"return_value": base64.b64encode(b"\x80\x04.")})
    record = store.read(redis, stored)
    assert record is not None
    assert record.output == {"unreadable": True}


def test_an_input_whose_secrets_are_unknown_is_not_shown(stored: str, redis: Redis) -> None:
    redis.hset(store.JOB + stored, "meta", '{"secrets": [["card"], 1]}')
    redis.hset(store.STEPS + stored, "quote", '{"output": "paid with 4111222233334444"}')
    record = store.read(redis, stored)
    assert record is not None
    assert record.input == "***"
    assert record.steps[0].output == "paid with ***"


def test_what_is_pickled_is_never_unpickled(stored: str, redis: Redis, tmp_path: Path) -> None:
    evidence = tmp_path / "ran"
    planted = pickle.dumps(Planted(evidence))
    redis.xadd(store.RESULTS + stored, {"return_value": base64.b64encode(planted)})
    redis.hset(store.STEPS + stored, "quote", planted)
    assert store.read(redis, stored)
    for name in ("meta", "data", "error", "runs"):
        redis.hset(store.JOB + stored, name, zlib.compress(planted) if name == "data" else planted)
        store.read(redis, stored)
        store.page(redis, store.Query())
    assert not evidence.exists()
    pickle.loads(planted)
    assert evidence.exists()  # it would have worked
