"""The paths that are the same whatever the config says: executions, and the health of the service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from trigger.fields.base import Schema
from trigger.store import LIMIT, MAX_LIMIT, Status
from trigger.store.log_reading import MAX_LINES
from trigger.store.stored import WaitsFor
from trigger.store.timeline import What
from trigger.web.openapi.answers import UID, UID_EXAMPLE, all_of, content

TAG = "Executions and health"  # no module can be named so

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
_FLAG: Schema = {"type": "boolean"}


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
_LIMITED: Mapping[str, Schema] = {
    "waits_for": _or_null({"type": "string", "enum": [*get_args(WaitsFor), None]}),
    "merged": _WHOLE,
}
_SUMMARY = _object({**_HEAD, "workflow": _or_null(_TEXT), "debug": _FLAG, **_ORIGINS, **_LIMITED})
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
    {"truncated": _FLAG, "on_failure": _FLAG, "input": {}},
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
_CALLBACK = _object(
    {
        "to": _TEXT,
        "status": {"type": ["string", "null"], "enum": [*Status, None]},
        "attempts": _WHOLE,
        "next": _or_null(_MOMENT),
    },
    {"uid": UID, "error": _or_null(_ERROR)},
)
_RECORD = _object(
    {
        **_HEAD,
        "input": {},
        "output": {},
        "steps": {"type": "array", "items": _STEP},
        "timeline": {"type": "array", "items": _SPAN},
    },
    {
        "truncated": _FLAG,
        "debug": _FLAG,
        **_ORIGINS,
        **_LIMITED,
        "operator": _TEXT,
        "callbacks": {"type": "array", "items": _CALLBACK},
        "tells_of": UID,
    },
)
_LINE = _object({**dict.fromkeys(("id", "time", "stream", "level", "step", "text"), _TEXT), "attempt": _WHOLE})
_LINES: Schema = {"type": "array", "items": {"anyOf": [_LINE, _object({"cut": _WHOLE})]}}
_STATE: Mapping[str, Schema] = {
    "status": {"enum": ["ready", "not ready"]},
    "problems": {"type": "array", "items": _TEXT},
    "config": {"type": "object"},
    "redis": {"type": "object"},
    "workers": {"type": "object", "additionalProperties": _WHOLE},
    "queues": {"type": "object", "additionalProperties": {"type": "object"}},
}
_NOT_READY: Schema = {
    "type": "object",
    "properties": {"code": {"const": "serverError.notReady"}, "message": _TEXT},
}

_BEGAN, _STARTED, _ENDED = "2026-11-23T22:40:00.000Z", "2026-11-23T22:40:00.004Z", "2026-11-23T22:40:00.006Z"
_HEAD_EXAMPLE = {
    "uid": UID_EXAMPLE,
    "module": "iolinker",
    "method": "test",
    "workflow": "hello",
    "status": "succeeded",
    "created_at": _BEGAN,
    "started_at": _STARTED,
    "ended_at": _ENDED,
    "attempt": 1,
    "caller": None,
    "config_version": "3f2a9c01b7d4",
    "request_id": UID_EXAMPLE,
    "error": None,
}
_SUMMARY_EXAMPLE = {
    **_HEAD_EXAMPLE,
    "debug": False,
    **dict.fromkeys((*_ORIGINS, "waits_for")),
    "merged": 0,
}
_RECORD_EXAMPLE = {
    **_HEAD_EXAMPLE,
    "input": {"name": "Ada"},
    "output": {"greeting": "Hello, Ada"},
    "steps": [],
    "timeline": [
        {"what": "queued", "from": _BEGAN, "to": _STARTED, "ms": 4, "steps": []},
        {"what": "running", "from": _STARTED, "to": _ENDED, "ms": 2, "steps": []},
    ],
}
_LINE_EXAMPLE = {
    "id": "1774144000000-0",
    "time": "2026-11-23T22:40:00.005Z",
    "stream": "stdout",
    "level": "",
    "step": "",
    "attempt": 1,
    "text": "hello",
}
_EVENTS = f"""\
retry: 1000

id: 0-0/s1/
event: status
data: {{"uid":"{UID_EXAMPLE}","status":"succeeded","attempt":1}}
"""
_READY_EXAMPLE = {
    "status": "ready",
    "problems": [],
    "config": {"digest": "0123456789ab", "apis": 4},
    "redis": {"status": "ok", "durability": "always"},
    "workers": {"default": 2},
    "queues": {"default": {"waiting": 0, "running": 0, "oldest_waiting_s": 0.0, "oldest_without_owner_s": 0.0}},
}
_DOWN_EXAMPLE = {
    "error": {"code": "serverError.notReady", "message": "Redis can't be reached"},
    "status": "not ready",
    "problems": ["Redis can't be reached"],
    "config": {"digest": "0123456789ab", "apis": 4},
    "redis": {"status": "unreachable"},
    "workers": {},
    "queues": {},
}


def _operation(name: str, summary: str, responses: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {"operationId": name, "summary": summary, "tags": [TAG], "responses": dict(responses), **more}


def _answered(description: str, schema: Schema, example: Any, **more: Any) -> dict[str, Any]:
    return {"description": description, "content": content(schema, {"example": example}), **more}


def _query(name: str, description: str, schema: Schema, **more: Any) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": description, "schema": schema, **more}


def _filter(name: str, description: str, schema: Schema) -> dict[str, Any]:
    return _query(name, description, schema, allowEmptyValue=True)


def _up_to(maximum: int, default: int) -> Schema:
    return {"type": "integer", "minimum": 1, "maximum": maximum, "default": default}


_WORDS: Schema = {"type": "string", "pattern": "^([0-9]{1,9}[smhdw]|now|today|yesterday)$"}
_TIME: Schema = {"anyOf": [_MOMENT, {"type": "string", "format": "date"}, _WORDS]}
_POSITION: Schema = {"type": "string", "pattern": "^[0-9]{1,18}-[0-9]{1,18}$"}
_WAIT: Schema = {"type": "string", "pattern": r"^(?:[0-5]?[0-9](?:\.[0-9]{1,3})?|60(?:\.0{1,3})?)$"}
_LOG_HEADERS = {
    "Log-Next": {"required": True, "description": "Where to go on", "schema": _TEXT},
    "Log-Ended": {"required": True, "description": "Nothing comes after", "schema": {"enum": ["true", "false"]}},
}
_LOG = _answered(
    "Lines of it, in order",
    _object({"lines": _LINES, "next": _TEXT, "ended": _FLAG}),
    {"lines": [_LINE_EXAMPLE], "next": "1774144000000-0", "ended": True},
    headers=_LOG_HEADERS,
)
_LOG["content"] |= {name: {"schema": _TEXT} for name in ("text/plain", "application/x-ndjson", "application/jsonl")}
_UID_PARAMETER = {"name": "uid", "in": "path", "required": True, "schema": UID, "example": UID_EXAMPLE}
_EDITED: Schema = {"type": "object", "properties": {"input": {}}, "additionalProperties": False}

_OF_OPERATORS = ["400-http", "401-password", "403-origin", "404-execution", "429", "503"]
_STARTING = [*_OF_OPERATORS[1:], "400", "422"]

# The operations of each path.
PATHS: Mapping[str, Mapping[str, dict[str, Any]]] = {
    "/v1/executions": {
        "get": _operation(
            "executions",
            "The newest executions",
            {
                "200": _answered(
                    "Some of them, newest first",
                    _object({"executions": {"type": "array", "items": _SUMMARY}, "next": _or_null(_TEXT)}),
                    {"executions": [_SUMMARY_EXAMPLE], "next": None},
                ),
                **all_of(["400", "401-password", "429", "503"]),
            },
            description="For operators. What comes after them is asked for with `next` as the `cursor`.",
            security=OPERATOR,
            parameters=[
                _filter("module", "Only those of that module", _TEXT),
                _filter("method", "Only those of methods of that name", _TEXT),
                _filter("caller", "Only those of that caller", _TEXT),
                _filter("status", "Only those that are this now", {"type": "string", "enum": list(Status)}),
                _filter("since", "Accepted from then on: a time, the begin of a day, or 24h for that long ago", _TIME),
                _filter("until", "Accepted before then: a time, the begin of a day, or 24h for that long ago", _TIME),
                _filter("limit", "So many at once", _up_to(MAX_LIMIT, LIMIT)),
                _filter("cursor", "The `next` of an earlier answer", {**_TEXT, "pattern": "^A[A-Za-z0-9_-]{14}$"}),
            ],
        )
    },
    "/v1/executions/{uid}": {
        "get": _operation(
            "record",
            "The record of an execution",
            {
                "200": _answered("What can be read about it", _RECORD, _RECORD_EXAMPLE),
                **all_of(["400", "404-execution", "429", "503"]),
            },
            description="For whoever could have made the call, with the API's own credentials, and for operators.",
            security=READER,
            parameters=[_UID_PARAMETER, _query("wait", "Wait for so many seconds for the end", _WAIT)],
        )
    },
    "/v1/executions/{uid}/events": {
        "get": _operation(
            "events",
            "An execution as it goes on, as Server-Sent Events",
            {
                "200": {
                    "description": "Events `status`, `step`, `log` and at last `end`, whose data is JSON",
                    "content": {"text/event-stream": {"schema": _TEXT, "examples": {"end": {"value": _EVENTS}}}},
                },
                "204": {"description": "The client knows of the end, as its Last-Event-ID says"},
                **all_of(["400-http", "404-execution", "429", "503"]),
            },
            description="For those who may read the record. A stream ends after 5 minutes: go on with the id of its "
            "last event, as an EventSource does by itself.",
            security=READER,
            parameters=[
                _UID_PARAMETER,
                {
                    "name": "Last-Event-ID",
                    "in": "header",
                    "description": "The id of the last event that the client has got",
                    "schema": _TEXT,
                },
            ],
        )
    },
    "/v1/executions/{uid}/logs": {
        "get": _operation(
            "logs",
            "The log of an execution, also while it grows",
            {"200": _LOG, **all_of(["400", "404-execution", "429", "503"])},
            description="For those who may read the record. `Accept` chooses between JSON, JSON lines and text.",
            security=READER,
            parameters=[
                _UID_PARAMETER,
                _query("after", "Go on after an answer's `next`, or after the line with this id", _POSITION),
                _query("wait", "Where nothing is there yet, wait for so many seconds for a line or the end", _WAIT),
                _query("limit", "So many lines at once", _up_to(MAX_LINES, MAX_LINES)),
            ],
        )
    },
    "/v1/executions/{uid}/cancel": {
        "post": _operation(
            "cancel",
            "Cancel an execution",
            {
                "202": _answered(
                    "What it is now",
                    _object({"uid": UID, "status": {"enum": list(Status)}}),
                    {"uid": UID_EXAMPLE, "status": "cancelled"},
                ),
                **all_of([*_OF_OPERATORS, "409-cancel"]),
            },
            description="For operators. What has not begun never starts; what runs is told, and killed after a while.",
            security=OPERATOR,
            parameters=[_UID_PARAMETER],
        )
    },
    "/v1/executions/{uid}/rerun": {
        "post": _operation(
            "rerun",
            "Start an execution again",
            all_of(["202", *_STARTING, "408", "409-rerun", "413", "415"]),
            description="For operators. A new execution, with the same input or the one in the body, where a secret "
            "that is sent as `***` keeps its value.",
            security=OPERATOR,
            parameters=[_UID_PARAMETER, "key"],
            requestBody={
                "content": {"application/json": {"schema": _EDITED, "examples": {"edited": {"value": {"input": {}}}}}}
            },
        )
    },
    "/v1/executions/{uid}/resume": {
        "post": _operation(
            "resume",
            "Go on with an execution",
            all_of(["202", *_STARTING, "409-resume"]),
            description="For operators. A new execution of a workflow with steps that has failed or was cancelled: "
            "what is done is taken over.",
            security=OPERATOR,
            parameters=[_UID_PARAMETER, "key"],
        )
    },
    "/v1/executions/{uid}/callbacks/{name}/again": {
        "post": _operation(
            "callBackAgain",
            "Send a callback again",
            {
                "202": _answered("The execution that sends it", _object({"uid": UID}), {"uid": UID_EXAMPLE[:-1] + "3"}),
                **all_of([*_OF_OPERATORS, "409-callback"]),
            },
            description="For operators. Once more, with the same `webhook-id`; now, if it waits for its next attempt.",
            security=OPERATOR,
            parameters=[
                _UID_PARAMETER,
                {"name": "name", "in": "path", "required": True, "schema": _TEXT, "example": "ops"},
            ],
        )
    },
    "/healthz": {
        "get": _operation(
            "healthz",
            "Whether the process answers",
            {
                "200": _answered("It does", _object({"status": {"const": "alive"}}), {"status": "alive"}),
                **all_of(["400-http"]),
            },
            security=[],
        )
    },
    "/readyz": {
        "get": _operation(
            "readyz",
            "Whether calls can be taken",
            {
                "200": _answered("They can", _object(_STATE), _READY_EXAMPLE),
                "503": _answered("They can't", _object({"error": _NOT_READY, **_STATE}), _DOWN_EXAMPLE),
                **all_of(["400-http"]),
            },
            security=[],
        )
    },
}

# What a callback in the format of Standard Webhooks is sent.
_EVENT = _object(
    {
        "type": {"type": "string", "pattern": "^execution\\."},
        "timestamp": _MOMENT,
        "data": _object({"uid": UID, "module": _TEXT, "method": _TEXT, "workflow": _TEXT, "status": _TEXT}),
        "text": _TEXT,
    }
)
WEBHOOKS: Mapping[str, Any] = {
    "execution": {
        "post": {
            "summary": "How an execution has ended",
            "description": "Signed as Standard Webhooks has it (https://www.standardwebhooks.com). It may come again, "
            "with the same `webhook-id`.",
            "parameters": [
                {"name": name, "in": "header", "required": True, "description": about, "schema": _TEXT}
                for name, about in (
                    ("webhook-id", "The uid of the execution, a dot and its status"),
                    ("webhook-timestamp", "When it was sent, in seconds since 1970"),
                    ("webhook-signature", "`v1,` and a signature in base64, one for each secret"),
                )
            ],
            "requestBody": {"content": {"application/json": {"schema": _EVENT}}},
            "responses": {
                "2XX": {"description": "Taken"},
                "410": {"description": "Not to be sent again"},
                "default": {"description": "To be sent again later"},
            },
        }
    }
}
