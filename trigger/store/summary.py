"""What a list shows of an execution."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trigger.store.keys import known_uid, split_api
from trigger.store.status import FINAL, OF_RQ, Status
from trigger.store.times import rq_time
from trigger.store.tracing import request_id

# The fields of RQ's job hash that a summary is made from.
FIELDS = ("status", "description", "meta", "created_at", "started_at", "ended_at", "attempt", "error")

MESSAGE = 500  # characters of an error's message that are shown


@dataclass(frozen=True, slots=True)
class Summary:
    """What a list shows of an execution: its record without what may be large."""

    uid: str
    module: str
    method: str
    workflow: str | None
    status: Status
    created_at: str | None
    started_at: str | None
    ended_at: str | None
    attempt: int
    caller: str | None
    config_version: str | None
    request_id: str
    error: dict[str, Any] | None
    debug: bool
    rerun_of: str | None
    resumed_from: str | None

    def as_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


def of_rows(rows: Sequence[Sequence[Any]]) -> list[Summary]:
    """The summaries of rows of a uid and the values of FIELDS each; those that can't be read are left out."""
    return [summary for row in rows if (summary := _summary(*row))]


def _summary(uid: bytes, *values: bytes | None) -> Summary | None:
    fields = dict(zip(FIELDS, values, strict=True))
    try:
        module, method = split_api(fields["description"] or b"")
        meta = json.loads(fields["meta"] or b"")
        status = OF_RQ[(fields["status"] or b"").decode()]
        error = json.loads(fields["error"]) if fields["error"] and status is not Status.SUCCEEDED else None
        if error is not None:
            error = {"class": str(error["class"]), "message": str(error["message"])[:MESSAGE]}
        return Summary(
            uid=uid.decode(),
            module=module,
            method=method,
            workflow=_text(meta.get("workflow")),
            status=status,
            created_at=rq_time(fields["created_at"]),
            started_at=rq_time(fields["started_at"]),
            ended_at=rq_time(fields["ended_at"]) if status in FINAL else None,
            attempt=int(fields["attempt"] or 0),
            caller=_text(meta.get("caller")),
            config_version=_text(meta.get("config")),
            request_id=request_id(meta, uid.decode()),
            error=error,
            debug=bool(meta.get("debug")),
            rerun_of=known_uid(meta.get("rerun_of")),
            resumed_from=known_uid(meta.get("resumed_from")),
        )
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        return None


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
