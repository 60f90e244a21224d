"""GET /v1/executions/<uid>/logs: an execution's log as JSON, JSON lines or text, also while it grows."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass

from flask import Response

from trigger.errors import InvalidParams
from trigger.inputs import parse_query
from trigger.inputs.forms import Form
from trigger.store.log_reading import MAX_LINES, START, follow, is_position, read
from trigger.web import waiting
from trigger.web.answers import answer, whole
from trigger.web.call import ReceivedCall
from trigger.web.executions import check_reader

_JSON, _TEXT = "application/json", "text/plain"
_FORMS = [_JSON, _TEXT, "text/plain; charset=utf-8", "application/x-ndjson", "application/jsonl"]

# How many unknown parameters are reported, and how many characters of the name of each.
MAX_REPORTED, MAX_NAME = 20, 64

_WHOLE = re.compile(r"[0-9]{1,4}")


@dataclass(frozen=True, slots=True)
class _Asked:
    after: str
    wait: float  # seconds
    limit: int


def logs(call: ReceivedCall, uid: str) -> Response:
    """GET /v1/executions/<uid>/logs"""
    check_reader(call, uid)
    asked = _asked(parse_query(call.query_string))
    service = call.service
    with service.breaker.reading("Logs"):
        page = read(service.redis, uid, asked.after, asked.limit)
        if page.is_empty and asked.wait and call.method == "GET":
            with waiting.watching(call, uid) as watch:
                page = follow(service.redis, uid, page.next, asked.limit, asked.wait, watch)
    headers = {"Log-Next": page.next, "Log-Ended": "true" if page.ended else "false"}
    form = call.accept_mimetypes.best_match(_FORMS, default=_JSON).partition(";")[0]
    if form == _JSON:
        return answer({"lines": page.as_json(), "next": page.next, "ended": page.ended}, headers=headers)
    lines = page.as_text() if form == _TEXT else [json.dumps(line, ensure_ascii=False) for line in page.as_json()]
    body = "".join(line + "\n" for line in lines).encode("utf-8", "replace")
    return whole(body, f"{form}; charset=utf-8" if form == _TEXT else form, headers=headers)


def _asked(query: Form) -> _Asked:
    """The query's parameters; every mistake in them is reported at once."""
    fields: dict[str, list[str]] = {}

    def checked(name: str, default: str, is_right: Callable[[str], bool], right: str) -> str:
        value = query.pop(name, default)
        if isinstance(value, str) and is_right(value):
            return value
        fields[name] = [right if isinstance(value, str) else "comes more than once"]
        return default

    after = checked("after", START, is_position, "must be the `next` of an answer before, or the id of a line")
    wait = checked("wait", "0", waiting.is_wait, waiting.NO_WAIT)
    limit = checked(
        "limit",
        f"{MAX_LINES}",
        lambda text: _WHOLE.fullmatch(text) is not None and 1 <= int(text) <= MAX_LINES,
        f"must be a whole number from 1 to {MAX_LINES}",
    )
    for name in list(query)[:MAX_REPORTED]:
        fields[name[:MAX_NAME]] = ["unknown parameter; there are after, wait and limit"]
    if fields:
        raise InvalidParams("The parameters are invalid", details={"fields": fields})
    return _Asked(after, float(wait), int(limit))
