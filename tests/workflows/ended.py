"""The record of an execution that has ended."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from trigger.store import Record, Status

UID = "1974144000000123456789012"

_FAILED = Record(
    uid=UID,
    module="shop",
    method="restock",
    workflow="restock",
    status=Status.FAILED,
    created_at="2026-11-27T10:00:00.000Z",
    started_at="2026-11-27T10:00:00.500Z",
    ended_at="2026-11-27T10:00:01.000Z",
    attempt=2,
    caller="ci",
    config_version="0123456789ab",
    request_id=UID,
    error={"class": "ValueError", "message": "no stock"},
    debug=False,
    rerun_of=None,
    resumed_from=None,
    waits_for=None,
    merged=0,
    input={"sku": "A1"},
    output=None,
    traceback="Traceback: of operators only",
    operator=None,
    steps=(),
    timeline=(),
)


def ended(**other: Any) -> Record:
    """One that has failed, but for what is other."""
    return replace(_FAILED, **other)
