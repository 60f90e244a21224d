"""The answers, each described once: the responses that operations refer to by name, each with an example.

The names are those of COMPONENTS' keys: a status, and a word where the same status says different things.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from trigger import errors
from trigger.config.model import Api
from trigger.fields.base import Schema
from trigger.web.auth import BASIC, BEARER

UID = {"type": "string", "pattern": "^[0-9]{25}$"}
UID_EXAMPLE = "1974144000000123456789012"

# The errors that have details where any of a response has.
_DETAILED = (errors.InvalidParams, errors.WorkflowChanged, errors.ExecutionFailed, errors.TooManyRequests)

_JSON = "application/json"
_TEXT: Schema = {"type": "string"}
_BY_FIELD: Schema = {"type": "object", "additionalProperties": {"type": "array", "items": _TEXT}}


def content(schema: Schema, examples: Mapping[str, Any], media_type: str = _JSON) -> dict[str, Any]:
    """The content of an answer {"response": …}; `schema` and the examples are of what it holds."""
    return {
        media_type: {
            "schema": {"type": "object", "properties": {"response": schema}, "required": ["response"]},
            "examples": {name: {"value": {"response": value}} for name, value in examples.items()},
        }
    }


def _refusal(
    description: str,
    *said: tuple[type[errors.RequestError], str],
    details: Mapping[str, Any] | None = None,
    headers: Mapping[str, Any] | None = None,
    beside: Mapping[str, tuple[Schema, Any]] | None = None,
) -> dict[str, Any]:
    """A response with an error; `said` are the kinds there are, each with an example of its message. `beside` has what
    stands beside the error, each with an example."""
    error: Schema = {
        "type": "object",
        "properties": {"code": {"enum": list(dict.fromkeys(kind.code for kind, _ in said))}, "message": _TEXT},
        "required": ["code", "message"],
    }
    if details:
        policies = {"enum": ["rate", "concurrency", "backlog"]}
        shapes = {"fields": _BY_FIELD, "step": _TEXT, "class": _TEXT, "policy": policies}
        error["properties"]["details"] = {"type": "object", "properties": {name: shapes[name] for name in details}}
    examples: dict[str, Any] = {}
    for kind, message in said:
        more = {"details": dict(details)} if details and kind in _DETAILED else {}
        examples[kind.__name__] = {"error": {"code": kind.code, "message": message, **more}}
    schema: Schema = {"type": "object", "properties": {"error": error}, "required": ["error"]}
    for name, (shape, example) in (beside or {}).items():
        schema["properties"][name] = shape
        schema["required"].append(name)
        for shown in examples.values():
            shown[name] = example
    response: dict[str, Any] = {"description": description, "content": content(schema, examples)}
    if headers:
        response["headers"] = dict(headers)
    return response


def _header(description: str, example: str, **schema: Any) -> dict[str, Any]:
    return {"description": description, "required": True, "schema": {"type": "string", **schema}, "example": example}


_RETRY = {"Retry-After": _header("Seconds to wait", "10", pattern="^[0-9]+$")}
# As in draft-ietf-httpapi-ratelimit-headers.
_RATE = {
    "RateLimit": _header("How many calls are left, and for how many seconds that counts", '"order";r=99;t=1'),
    "RateLimit-Policy": _header("How many calls the API takes in how many seconds", '"order";q=100;w=60'),
}
_MERGED = {
    "Execution-Merged": _header("The call has become part of an execution that waits for its burst to end", "true")
}
_ALLOW = {"Allow": _header("The verbs there are", "GET, POST")}


def _challenge(header: Mapping[str, str]) -> dict[str, Any]:
    return {"WWW-Authenticate": _header("How to say who you are", header["WWW-Authenticate"])}


_INVALID = {"fields": {"name": ["unknown field; did you mean nickname?"]}}
_LONG = "There are too many headers, or one of them is too long"
_BROKEN = "What was sent breaks HTTP's rules, or its Host is not served here"
_RESUMED = "The workflow hello has no steps to go on from; rerun the execution"

_ACCEPTED = {
    "Location": _header("Where the execution's record is", f"/v1/executions/{UID_EXAMPLE}"),
    "Idempotency-Replayed": {
        **_header("It was accepted by an earlier call with this Idempotency-Key", "true"),
        "required": False,
    },
}
_APPLIED = {
    "Preference-Applied": {**_header("What of the header Prefer was followed", "wait=3"), "required": False},
}

COMPONENTS: Mapping[str, Mapping[str, Any]] = {
    "202": {
        "description": "Accepted: the workflow will run, and the record of the execution can be read",
        "headers": _ACCEPTED,
        "content": content(
            {"type": "object", "properties": {"uid": UID}, "required": ["uid"]}, {"accepted": {"uid": UID_EXAMPLE}}
        ),
        "links": {"record": {"operationId": "record", "parameters": {"uid": "$response.body#/response/uid"}}},
    },
    "400": _refusal(
        "The input can't be read, or is invalid: `details.fields` has each mistake by field",
        (errors.InvalidParams, "The input is invalid"),
        (errors.BadRequest, "This host is not served here"),
        details=_INVALID,
    ),
    "400-http": _refusal(_BROKEN, (errors.BadRequest, "This host is not served here")),
    "401-token": _refusal(
        "There is no token, or it is wrong",
        (errors.CredentialMissing, "Token is required"),
        (errors.Unauthorized, "Token is invalid"),
        headers=_challenge(BEARER),
    ),
    "401-signature": _refusal(
        "There is no signature, or it is wrong, or its time is too far away",
        (errors.CredentialMissing, "Signature is required"),
        (errors.Unauthorized, "Signature is invalid"),
    ),
    "401-password": _refusal(
        "There is no user or no password, or one is wrong",
        (errors.CredentialMissing, "User/Password is required"),
        (errors.Unauthorized, "User/Password is invalid"),
        headers=_challenge(BASIC),
    ),
    "403": _refusal(
        "The API is not enabled any more, or the call comes from another site's page",
        (errors.ApiNotEnabled, "API is not enabled"),
        (errors.BadRequest, "Another site's page may not do this"),
    ),
    "403-address": _refusal(
        "The API is not enabled any more, or not open to this address, or the call comes from another site's page",
        (errors.ApiNotEnabled, "API is not enabled"),
        (errors.AddressNotAllowed, "This API is not open to your address"),
        (errors.BadRequest, "Another site's page may not do this"),
    ),
    "403-origin": _refusal(
        "The request comes from another site's page", (errors.BadRequest, "Another site's page may not do this")
    ),
    "404": _refusal("There is no such API any more", (errors.ApiNotFound, "There is no such API")),
    "404-execution": _refusal(
        "There is no such execution, or it is not yours to read, or has no such callback",
        (errors.ExecutionNotFound, "There is no such execution, or it is not yours to read"),
        (errors.CallbackNotFound, "The execution has no callback of that name"),
        (errors.PathNotFound, "There is nothing at this path"),
    ),
    "405": _refusal(
        "The verb is not accepted", (errors.MethodNotAllowed, "The API accepts GET and POST"), headers=_ALLOW
    ),
    "408": _refusal("The body did not arrive in time", (errors.BadRequest, "The body did not arrive in time")),
    "409-callback": _refusal(
        "It has not ended",
        (errors.ExecutionNotEnded, "The execution has not ended: there is nothing to tell yet"),
    ),
    "409-cancel": _refusal(
        "It has ended",
        (errors.ExecutionEnded, "The execution has succeeded already: there is nothing to cancel"),
    ),
    "409-rerun": _refusal(
        "Its API is gone from the config, or not enabled; or it is a callback",
        (errors.ApiNotAvailable, "The API shop/order is not enabled"),
    ),
    "409-resume": _refusal(
        "It can't be gone on with",
        (errors.ExecutionEnded, "The execution has succeeded: nothing is left to do; rerun it to do all of it again"),
        (errors.ExecutionNotEnded, "The execution is running: only one that has ended can be resumed"),
        (errors.ApiNotAvailable, "The API shop/order is not enabled"),
        (errors.NotResumable, _RESUMED),
        (errors.WorkflowChanged, "The API starts the workflow hello now, the execution was one of bye; rerun it"),
        details={"step": "quote"},
    ),
    "413": _refusal("The body is too large", (errors.BodyTooLarge, "The body may have at most 1048576 bytes")),
    "414": _refusal("The path and the query are too long", (errors.BadRequest, "The request line is too long")),
    "415": _refusal(
        "The Content-Type or -Encoding is not supported",
        (errors.UnsupportedMediaType, "The charset is not supported: send the body in UTF-8"),
    ),
    "422": _refusal(
        "The Idempotency-Key was used with another input",
        (errors.IdempotencyMismatch, "The Idempotency-Key was used with another input"),
    ),
    "424": _refusal(
        "The execution has failed, or was cancelled: by an operator, or by a newer call where the API's `concurrency` "
        "says `full: newest`",
        (errors.ExecutionFailed, "no stock"),
        (errors.ExecutionCancelled, "Cancelled by admin"),
        details={"class": "ValueError", "step": "quote"},
        headers={**_ACCEPTED, **_APPLIED},
        beside={"uid": (UID, UID_EXAMPLE)},
    ),
    "429": _refusal(
        "Too many executions wait, or too many wrong credentials came from this address",
        (errors.TooManyRequests, "Too many executions are waiting; try again later"),
        details={"policy": "backlog"},
        headers=_RETRY,
    ),
    "429-limited": _refusal(
        "The API is called too often, or too many executions of it are under way, or wait; or too many wrong "
        "credentials came from this address",
        (errors.TooManyRequests, "This API is called too often; try again in 12 s"),
        details={"policy": "rate"},
        headers={**_RETRY, **{name: {**header, "required": False} for name, header in _RATE.items()}},
    ),
    "431": _refusal("The headers are too large", (errors.BadRequest, _LONG)),
    "500": _refusal(
        "Our own fault",
        (errors.InternalError, "Something went wrong here; the log has it under 0123456789ab"),
    ),
    "503": _refusal(
        "Redis can't take the call, or its answer was lost",
        (errors.QueueUnavailable, "The queue can't take the call now; try again"),
        headers=_RETRY,
    ),
}


def _limits(api: Api) -> dict[str, Any]:
    """The headers that an API's limits add to the answers to accepted calls; a replay's has none of them."""
    return _optional({**(_RATE if api.rate else {}), **(_MERGED if api.debounce else {})})


def accepted(api: Api) -> str | dict[str, Any]:
    """The answer to an accepted call: a component's name, or what is not that of every API."""
    usual = COMPONENTS["202"]
    more = _limits(api)
    headers = {**usual["headers"], **more}
    if api.when is not None:
        headers = _optional(headers)  # what is ignored has none
    if not api.answer.has_body:
        return {"description": usual["description"], "headers": headers}
    if api.when is None and not more:
        return "202"
    if api.when is None:
        return {**usual, "headers": headers}
    started = {"type": "object", "properties": {"uid": UID}, "required": ["uid"]}
    ignored = {"type": "object", "properties": {"ignored": {"const": True}}, "required": ["ignored"]}
    return {
        "description": f"{usual['description']}; or ignored: it starts nothing",
        "headers": headers,
        "content": content(
            {"oneOf": [started, ignored]}, {"accepted": {"uid": UID_EXAMPLE}, "ignored": {"ignored": True}}
        ),
    }


def waited(api: Api, accepted: str | dict[str, Any]) -> dict[str, str | dict[str, Any]]:
    """Return the answers to a call that waits for the end, by status. `accepted` is given where it has not ended in
    time."""
    own, more = str(api.answer.status), _limits(api)
    usual = COMPONENTS["424"]
    failed: str | dict[str, Any] = {**usual, "headers": {**usual["headers"], **more}} if more else "424"
    schema: Schema = {
        "type": "object",
        "properties": {"code": {"const": 0}, "data": {}, "msg": {"const": ""}, "uid": UID},
        "required": ["code", "data", "msg", "uid"],
    }
    examples: dict[str, Any] = {
        "succeeded": {"code": 0, "data": {"greeting": "Hello, Ada"}, "msg": "", "uid": UID_EXAMPLE}
    }
    about = "The execution has succeeded: `data` is its output"
    headers = {**_ACCEPTED, **_APPLIED, **more}
    if own != "200":
        done = {"description": about, "headers": headers, "content": content(schema, examples)}
        return {"200": done, own: accepted, "424": failed}
    about += "; or it is accepted and has not ended in time"
    headers = _optional(headers)
    if api.answer.has_body:
        started = {"type": "object", "properties": {"uid": UID, "ignored": {"const": True}}}
        schema = {"anyOf": [schema, started]}
        examples["accepted"] = {"uid": UID_EXAMPLE}
    return {
        "200": {"description": about, "headers": headers, "content": content(schema, examples)},
        "424": failed,
    }


def _optional(headers: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {name: {**header, "required": False} for name, header in headers.items()}


def all_of(names: Collection[str]) -> dict[str, str]:
    """The components of these names by their status, and those that any request may get."""
    return {name[:3]: name for name in sorted({*names, "405", "414", "431", "500"})}
