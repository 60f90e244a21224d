"""The paths that are the same whatever the config says: executions, and the health of the service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from trigger.fields.base import Schema
from trigger.store import LIMIT, MAX_LIMIT, Status
from trigger.store.log_reading import MAX_LINES
from trigger.store.timeline import What
from trigger.web.openapi.answers import UID, UID_EXAMPLE, all_of, content

# Where an API's declared authentication is not what counts: an operator's, or what could have made the call.
OPERATOR: list[dict[str, list[str]]] = [{"basic": []}, {"user": [], "password": []}]
READER = [{}, {"token": []}, {"bearer": []}, *OPERATOR]

KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "Makes it safe to repeat a call whose answer was lost: the same key is answered the first uid again",
    # From 1 to 255 printable characters, which may be quoted; blanks at its ends a header can't have.
    "schema": {"type": "string", "pattern": '^(?:"[ -~]{1,255}"|(?!".*"$)[!-~](?:[ -~]{0,253}[!-~])?)$'},
}

_TEXT: Schema = {"type": "string"}
_WHOLE: Schema = {"type": "integer", "minimum": 0}
_MOMENT: Schema = {"type": "string", "format": "date-time"}
TAG = "Executions and health"  # no module can be named so


def paths() -> Mapping[str, Mapping[str, Any]]:
    """The operations of each path."""
    one = "/v1/executions/{uid}"
    return {
        "/v1/executions": {"get": _list()},
        one: {"get": _record()},
        f"{one}/logs": {"get": _logs()},
        f"{one}/cancel": {"post": _cancel()},
        f"{one}/rerun": {"post": _rerun()},
        f"{one}/resume": {"post": _resume()},
        "/healthz": {"get": _healthz()},
        "/readyz": {"get": _readyz()},
    }


def _operation(name: str, summary: str, responses: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {"operationId": name, "summary": summary, "tags": [TAG], "responses": dict(responses), **more}


def _answered(description: str, schema: Schema, example: Any, **more: Any) -> dict[str, Any]:
    return {"description": description, "content": content(schema, {"example": example}), **more}


_UID_PARAMETER = {"name": "uid", "in": "path", "required": True, "schema": UID, "example": UID_EXAMPLE}


def _query(name: str, description: str, schema: Schema) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": description, "schema": schema}


def _list() -> dict[str, Any]:
    words: Schema = {"type": "string", "pattern": "^([0-9]{1,9}[smhdw]|now|today|yesterday)$"}
    moment: Schema = {"anyOf": [_MOMENT, {"type": "string", "format": "date"}, words]}
    filters = [
        _query("module", "Only those of that module", _TEXT),
        _query("method", "Only those of methods of that name", _TEXT),
        _query("caller", "Only those of that caller", _TEXT),
        _query("status", "Only those that are this now", {"type": "string", "enum": list(Status)}),
        _query("since", "Accepted from then on: a time, the begin of a day, or 24h for that long ago", moment),
        _query("until", "Accepted before then: a time, the begin of a day, or 24h for that long ago", moment),
        _query("limit", "So many at once", {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": LIMIT}),
        _query("cursor", "The `next` of an earlier answer", {"type": "string", "pattern": "^A[A-Za-z0-9_-]{14}$"}),
    ]
    schema = _object({"executions": {"type": "array", "items": _SUMMARY}, "next": _or_null(_TEXT)})
    return _operation(
        "executions",
        "The newest executions",
        {
            "200": _answered("Some of them, newest first", schema, {"executions": [_summary_example()], "next": None}),
            **all_of(["400", "401-password", "429", "503"]),
        },
        description="For operators. What comes after them is asked for with `next` as the `cursor`.",
        security=OPERATOR,
        parameters=[{**parameter, "allowEmptyValue": True} for parameter in filters],
    )


def _record() -> dict[str, Any]:
    return _operation(
        "record",
        "The record of an execution",
        {
            "200": _answered("What can be read about it", _RECORD, _record_example()),
            **all_of(["400-http", "404-execution", "429", "503"]),
        },
        description="For whoever could have made the call, with the API's own credentials, and for operators.",
        security=READER,
        parameters=[_UID_PARAMETER],
    )


def _logs() -> dict[str, Any]:
    line = _object({**dict.fromkeys(("id", "time", "stream", "level", "step", "text"), _TEXT), "attempt": _WHOLE})
    cut = _object({"cut": _WHOLE})
    page = _object(
        {"lines": {"type": "array", "items": {"anyOf": [line, cut]}}, "next": _TEXT, "ended": {"type": "boolean"}}
    )
    example = {
        "lines": [
            {
                "id": "1774144000000-0",
                "time": "2026-11-23T22:40:00.005Z",
                "stream": "stdout",
                "level": "",
                "step": "",
                "attempt": 1,
                "text": "hello",
            }
        ],
        "next": "1774144000000-0",
        "ended": True,
    }
    headers = {
        "Log-Next": {"required": True, "description": "Where to go on", "schema": _TEXT},
        "Log-Ended": {"required": True, "description": "Nothing comes after", "schema": {"enum": ["true", "false"]}},
    }
    read = _answered("Lines of it, in order", page, example, headers=headers)
    read["content"] |= {name: {"schema": _TEXT} for name in ("text/plain", "application/x-ndjson", "application/jsonl")}
    return _operation(
        "logs",
        "The log of an execution, also while it grows",
        {"200": read, **all_of(["400", "404-execution", "429", "503"])},
        description="For those who may read the record. `Accept` chooses between JSON, JSON lines and text.",
        security=READER,
        parameters=[
            _UID_PARAMETER,
            _query("after", "Go on after an answer's `next`, or after the line with this id", {
                "type": "string", "pattern": "^[0-9]{1,18}-[0-9]{1,18}$",
            }),
            _query("wait", "Where nothing is there yet, wait for so many seconds for a line or the end", {
                "type": "string", "pattern": r"^(?:0?[0-9](?:\.[0-9]{1,3})?|10(?:\.0{1,3})?)$",
            }),
            _query("limit", "So many lines at once", {
                "type": "integer", "minimum": 1, "maximum": MAX_LINES, "default": MAX_LINES,
            }),
        ],
    )  # fmt: skip


_OF_OPERATORS = ["400-http", "401-password", "403-origin", "404-execution", "429", "503"]
_STARTING = [*_OF_OPERATORS[1:], "400", "422"]


def _cancel() -> dict[str, Any]:
    schema = _object({"uid": UID, "status": {"enum": list(Status)}})
    return _operation(
        "cancel",
        "Cancel an execution",
        {
            "202": _answered("What it is now", schema, {"uid": UID_EXAMPLE, "status": "cancelled"}),
            **all_of([*_OF_OPERATORS, "409-cancel"]),
        },
        description="For operators. What has not begun never starts; what runs is told, and killed after a while.",
        security=OPERATOR,
        parameters=[_UID_PARAMETER],
    )


def _rerun() -> dict[str, Any]:
    schema = {"type": "object", "properties": {"input": {}}, "additionalProperties": False}
    return _operation(
        "rerun",
        "Start an execution again",
        all_of(["202", *_STARTING, "408", "409-rerun", "413", "415"]),
        description="For operators. A new execution, with the same input or the one in the body, where a secret that "
        "is sent as `***` keeps its value.",
        security=OPERATOR,
        parameters=[_UID_PARAMETER, "key"],
        requestBody={
            "content": {"application/json": {"schema": schema, "examples": {"edited": {"value": {"input": {}}}}}}
        },
    )


def _resume() -> dict[str, Any]:
    return _operation(
        "resume",
        "Go on with an execution",
        all_of(["202", *_STARTING, "409-resume"]),
        description="For operators. A new execution of a workflow with steps that has failed or was cancelled: what is "
        "done is taken over.",
        security=OPERATOR,
        parameters=[_UID_PARAMETER, "key"],
    )


def _healthz() -> dict[str, Any]:
    schema = _object({"status": {"const": "alive"}})
    return _operation(
        "healthz",
        "Whether the process answers",
        {"200": _answered("It does", schema, {"status": "alive"}), **all_of(["400-http"])},
        security=[],
    )


def _readyz() -> dict[str, Any]:
    problem: Schema = {"type": "object", "properties": {"code": {"const": "serverError.notReady"}, "message": _TEXT}}
    state: dict[str, Schema] = {
        "status": {"enum": ["ready", "not ready"]},
        "problems": {"type": "array", "items": _TEXT},
        "config": {"type": "object"},
        "redis": {"type": "object"},
        "workers": {"type": "object", "additionalProperties": _WHOLE},
        "queues": {"type": "object", "additionalProperties": {"type": "object"}},
    }
    ready: dict[str, Any] = {
        "status": "ready",
        "problems": [],
        "config": {"digest": "0123456789ab", "apis": 4},
        "redis": {"status": "ok", "durability": "always"},
        "workers": {"default": 2},
        "queues": {"default": {"waiting": 0, "running": 0, "oldest_waiting_s": 0.0, "oldest_without_owner_s": 0.0}},
    }
    message = "Redis can't be reached"
    down = {
        "error": {"code": "serverError.notReady", "message": message},
        "status": "not ready",
        "problems": [message],
        "config": {"digest": "0123456789ab", "apis": 4},
        "redis": {"status": "unreachable"},
        "workers": {},
        "queues": {},
    }
    return _operation(
        "readyz",
        "Whether calls can be taken",
        {
            "200": _answered("They can", _object(state), ready),
            "503": _answered("They can't", _object({"error": problem, **state}), down),
            **all_of(["400-http"]),
        },
        security=[],
    )


def _object(properties: Mapping[str, Schema], optional: Mapping[str, Schema] | None = None) -> Schema:
    """An object that has all of the properties, and may have the optional and others."""
    return {"type": "object", "properties": {**properties, **(optional or {})}, "required": list(properties)}


def _or_null(schema: Schema) -> Schema:
    return {**schema, "type": [schema["type"], "null"]}


_ERROR = _object({"class": _TEXT, "message": _TEXT}, {"traceback": _TEXT})
_TIMES: Mapping[str, Schema] = {name: _or_null(_MOMENT) for name in ("started_at", "ended_at")}
_HEAD: Mapping[str, Schema] = {
    "uid": UID,
    "module": _TEXT,
    "method": _TEXT,
    "workflow": _TEXT,
    "status": {"type": "string", "enum": list(Status)},
    "created_at": _or_null(_MOMENT),
    **_TIMES,
    "attempt": _WHOLE,
    "caller": _or_null(_TEXT),
    "config_version": _or_null(_TEXT),
    "request_id": _TEXT,
    "error": _or_null(_ERROR),
}
_ORIGINS: Mapping[str, Schema] = {name: _or_null(UID) for name in ("rerun_of", "resumed_from")}
_SUMMARY = _object({**_HEAD, "workflow": _or_null(_TEXT), "debug": {"type": "boolean"}, **_ORIGINS})
_STEP = _object(
    {
        "name": _TEXT,
        "kind": _or_null(_TEXT),
        "status": _TEXT,
        "attempts": _WHOLE,
        **_TIMES,
        "output": {},
        "error": _or_null(_ERROR),
        "because": _or_null(_TEXT),
    },
    {"truncated": {"type": "boolean"}, "on_failure": {"type": "boolean"}, "input": {}},
)
_SPAN = _object(
    {
        "what": {"enum": list(get_args(What))},
        "from": _MOMENT,
        "to": _or_null(_MOMENT),
        "ms": _or_null(_WHOLE),
        "steps": {"type": "array", "items": _TEXT},
    }
)
_RECORD = _object(
    {
        **_HEAD,
        "input": {},
        "output": {},
        "steps": {"type": "array", "items": _STEP},
        "timeline": {"type": "array", "items": _SPAN},
    },
    {"truncated": {"type": "boolean"}, "debug": {"type": "boolean"}, **_ORIGINS, "operator": _TEXT},
)


def _head_example() -> dict[str, Any]:
    return {
        "uid": UID_EXAMPLE,
        "module": "iolinker",
        "method": "test",
        "workflow": "hello",
        "status": "succeeded",
        "created_at": "2026-11-23T22:40:00.000Z",
        "started_at": "2026-11-23T22:40:00.004Z",
        "ended_at": "2026-11-23T22:40:00.006Z",
        "attempt": 1,
        "caller": None,
        "config_version": "3f2a9c01b7d4",
        "request_id": UID_EXAMPLE,
        "error": None,
    }


def _summary_example() -> dict[str, Any]:
    return {**_head_example(), "debug": False, "rerun_of": None, "resumed_from": None}


def _record_example() -> dict[str, Any]:
    began, started, ended = "2026-11-23T22:40:00.000Z", "2026-11-23T22:40:00.004Z", "2026-11-23T22:40:00.006Z"
    return {
        **_head_example(),
        "input": {"name": "Ada"},
        "output": {"greeting": "Hello, Ada"},
        "steps": [],
        "timeline": [
            {"what": "queued", "from": began, "to": started, "ms": 4, "steps": []},
            {"what": "running", "from": started, "to": ended, "ms": 2, "steps": []},
        ],
    }
