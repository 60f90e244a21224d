"""An execution as lists show it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trigger.store.status import Status
from trigger.store.stored import LISTED, Stored, WaitsFor
from trigger.store.times import shown_rq

_TIMES = ("created_at", "started_at", "ended_at")
MESSAGE = 500  # characters of an error's message that are shown


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts that lists and records share. Times are RFC 3339 in UTC; None where not reached yet."""

    uid: str
    module: str
    method: str
    workflow: str
    status: Status
    created_at: str | None
    started_at: str | None
    ended_at: str | None
    attempt: int
    caller: str | None
    config_version: str | None  # of the config that accepted it; None for one that an earlier release has accepted
    request_id: str  # of the request that started it: the proxy's, else the uid
    error: Mapping[str, Any] | None
    debug: bool
    rerun_of: str | None  # the uid of the execution that this one repeats
    resumed_from: str | None  # the uid of the execution that this one goes on with
    waits_for: WaitsFor | None  # what keeps a queued one out of its queue
    merged: int  # how many further calls have become part of it


@dataclass(frozen=True, slots=True)
class Summary(Facts):
    """An execution as a list shows it: its record without what may be large."""

    def as_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in Facts.__slots__} | {"workflow": self.workflow or None}


def of_rows(rows: Sequence[Sequence[Any]]) -> list[Summary]:
    """The summaries of rows of a uid and the values of the fields LISTED; those that can't be read are left out."""
    found = (Stored.from_hash(uid.decode(), LISTED, values) for uid, *values in rows)
    return [_summary(execution) for execution in found if execution.is_ours]


def _summary(execution: Stored) -> Summary:
    error = execution.error
    if error is not None:
        error = {"class": str(error.get("class", "")), "message": str(error.get("message", ""))[:MESSAGE]}
    return Summary(**facts(execution) | {"error": error})


def facts(execution: Stored) -> dict[str, Any]:
    """The Facts of an execution, by name."""
    found = {name: getattr(execution, name) for name in Facts.__slots__}
    for name in _TIMES:
        if found[name]:
            found[name] = shown_rq(found[name])
    found["config_version"] = found["config_version"] or None
    return found
