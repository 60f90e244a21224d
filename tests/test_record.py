"""The record of an execution, as it is read from RQ's own keys."""

from __future__ import annotations

from typing import Any

from redis import Redis

from trigger import executions


def test_what_is_not_an_execution_of_ours_has_no_record(redis: Redis) -> None:
    stored: dict[str, dict[Any, Any]] = {
        "1" * 25: {"status": "queued"},
        "2" * 25: {"status": "queued", "data": b"not zlib", "meta": "{}"},
        "3" * 25: {"status": "no such status", "data": b"", "meta": b"\x80\x04pickle"},
    }
    for uid, fields in stored.items():
        redis.hset(f"rq:job:{uid}", mapping=fields)
        assert executions.read(redis, uid) is None


def test_an_unknown_uid_has_no_record(redis: Redis) -> None:
    assert executions.read(redis, executions.new_uid()) is None


def test_a_uid_is_25_decimal_digits_and_nothing_else() -> None:
    assert executions.is_uid(executions.new_uid())
    for text in ("", "1" * 24, "1" * 26, "1" * 24 + "a", "٣" * 25, "1" * 25 + "\n", "../" + "1" * 22):
        assert not executions.is_uid(text)
