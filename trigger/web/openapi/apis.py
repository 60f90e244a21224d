"""The operations of one API: an operation for each verb, as the config declares it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from trigger.config.model import Api, BodyKind, Config, NoAuth, PasswordAuth, SignatureAuth, TokenAuth, Verb
from trigger.config.secret import Secret
from trigger.fields.base import Schema
from trigger.fields.describing import described, in_text, object_of
from trigger.fields.model import MISSING, Field, Input
from trigger.fields.nested import closed
from trigger.inputs.masking import MIN_SECRET_LENGTH, Hide, mask
from trigger.inputs.shape import secrets_of_debug
from trigger.signatures.schemes import IN_BODY
from trigger.web.curl import content_type
from trigger.web.openapi.answers import accepted, all_of, waited
from trigger.web.openapi.operations import KEY, OPERATOR

_ANY_JSON = "The input: any JSON value. Query parameters are merged under an object."
_ANY_QUERY = "The input: any parameters, whose values are texts, or lists of texts where a name comes more than once"
_MERGED = "The input. Query parameters count for what the body does not have."
_DELIVERY = "The delivery's own id: with one that came before, the call is answered the first uid again"
_UNSAYABLE = "Can't be called by GET: {} can't be said in a query."

_UNAUTHORIZED: Mapping[type, list[str]] = {
    NoAuth: [],
    TokenAuth: ["401-token"],
    PasswordAuth: ["401-password"],
    SignatureAuth: ["401-signature"],
}
# What a body of another kind than JSON or a form is said to be.
_KINDS: Mapping[BodyKind, tuple[str, Schema]] = {
    "text": ("The input: a text", {"type": "string"}),
    "lines": ("The input: JSON, a value in each line", {"type": "string"}),
    "xml": ("The input: XML, which is read as an object", {}),
    "raw": ("The input: any bytes", {}),
}
_PATH_TOKEN = {
    "name": "token",
    "in": "path",
    "required": True,
    "description": "The token. It is a secret: the whole URL is",
    "schema": {"type": "string"},
}
_SYNC = "/sync"  # at the end of the id of an operation that waits
_PREFER = {
    "name": "Prefer",
    "in": "header",
    "description": "`wait=3` waits for at most so many seconds, `respond-async` for none (RFC 7240)",
    "schema": {"type": "string", "examples": ["wait=3", "respond-async"]},
}
_NOT_IN_NAMES = re.compile(r"[^a-z0-9.-]")  # of components (OpenAPI 3.1, section 4.8.7)
_ALWAYS = ["400", "403", "404", "413", "422", "429", "503"]
_WITH_BODY = ["408", "415"]


def paths(api: Api, config: Config) -> Iterator[tuple[str, dict[str, Any]]]:
    """Where the API is called, and at each path the operation of each of its verbs, in lower case."""
    example = _example(api, config)
    refusals = ["429-limited"] if api.has_refusing_limit else []
    if config.server.networks_of(api):
        refusals.append("403-address")
    end = "/{token}" if api.token_in_path else ""
    for waits in (False, True) if api.sync is not None else (False,):
        found = {verb.lower(): _operation(api, verb, example, refusals, waits=waits) for verb in api.verbs}
        if api.answer.head is not None:
            found["head"] = _head(api, api.answer.head, waits=waits)
        yield f"{config.server.prefix}/{api.module}/{api.method}/{'sync' if waits else 'async'}{end}", found


def _head(api: Api, status: int, *, waits: bool) -> dict[str, Any]:
    return {
        "operationId": f"head/{api.module}/{api.method}{_SYNC if waits else ''}",
        "summary": f"Whether {api.module}/{api.method} is there",
        "tags": [api.module],
        "security": [],
        "responses": {**all_of(["400-http", "403", "404"]), str(status): {"description": "It is; nothing is started"}},
        "parameters": [_PATH_TOKEN] if api.token_in_path else [],
    }


def own_headers(api: Api) -> Sequence[str]:
    """The headers that the API's sender has its credential in, if they are its own."""
    match api.auth:
        case SignatureAuth(scheme):
            return scheme.headers
        case TokenAuth(header=header) if header.lower() not in ("", "token"):
            return [header]
        case _:
            return []


def scheme_of(header: str) -> str:
    """The name of the security scheme that a header of a sender's own is."""
    return "header-" + _NOT_IN_NAMES.sub(lambda match: f"_{ord(match[0]):x}", header.lower())


def _security(api: Api) -> list[dict[str, list[str]]]:
    own: dict[str, list[str]] = {scheme_of(header): [] for header in own_headers(api)}  # together they are one way
    match api.auth:
        case SignatureAuth():
            return [own]
        case TokenAuth() if not api.token_in_path:
            return [*([own] if own else ()), {"token": []}, {"bearer": []}]
        case PasswordAuth():
            return [{"user": [], "password": []}, OPERATOR[0]]
        case _:
            return []


def _operation(api: Api, verb: Verb, example: Any, refusals: Sequence[str], *, waits: bool) -> dict[str, Any]:
    summary = api.description.partition("\n")[0] or f"{api.module}/{api.method}"
    answered = accepted(api)
    own = str(api.answer.status)
    operation: dict[str, Any] = {
        "operationId": f"{verb.lower()}/{api.module}/{api.method}{_SYNC if waits else ''}",
        "summary": f"{summary} (waits for the end)" if waits else summary,
        "tags": [api.module],
        "security": _security(api),
        "responses": {
            **all_of([*_ALWAYS, *refusals, *_UNAUTHORIZED[type(api.auth)], *(_WITH_BODY if verb != "GET" else ())]),
            **(waited(api, answered) if waits else {own: answered}),
        },
        "parameters": [
            *([_PATH_TOKEN] if api.token_in_path else ()),
            "key",
            *([_PREFER] if waits else ()),
            *_deliveries(api),
        ],
    }
    notes = [api.description] if "\n" in api.description else []
    if waits:
        notes.append(f"Waits up to {api.sync:.0f} s for the end; then it is answered as by `async`.")
    if api.answer.handshake:
        notes.append(f"Answers the handshake of {api.answer.handshake}, which starts nothing.")
    declared = api.input if api.input is not None and api.input.fields else None
    if verb != "GET":
        operation["requestBody"] = _body(api, declared, example)
    elif declared is None:
        operation["parameters"].append(_any_query())
    else:
        sayable, unsayable = _query(declared, example)
        operation["parameters"] += sayable
        if unsayable:
            notes.append(_UNSAYABLE.format(", ".join(unsayable)))
    if notes:
        operation["description"] = "\n\n".join(notes)
    return operation


def _deliveries(api: Api) -> Iterator[dict[str, Any]]:
    """The headers that a delivery's own id may be in, besides those that are signed."""
    if isinstance(api.auth, SignatureAuth) and api.auth.once is not None:
        told = {*api.auth.scheme.headers, KEY["name"]}
        for name in api.auth.scheme.ids:
            if not name.startswith(IN_BODY) and name not in told:
                yield {"name": name, "in": "header", "description": _DELIVERY, "schema": {"type": "string"}}


def _any_query() -> dict[str, Any]:
    """Describe parameters of any name: OpenAPI has an object for them, whose properties are a parameter each."""
    schema: Schema = {"type": "object"}
    return {"name": "input", "in": "query", "description": _ANY_QUERY, "schema": schema}


def _query(declared: Input, example: Any) -> tuple[list[dict[str, Any]], list[str]]:
    """The parameters, and the names of the required fields that can't be one."""
    parameters: list[dict[str, Any]] = []
    unsayable: list[str] = []
    for field in declared.fields:
        schema = in_text(field)
        if schema is None:
            unsayable += [field.name] if field.required else []
            continue
        parameters.append(_parameter(field, schema, example))
    return parameters, unsayable


def _parameter(field: Field, schema: Schema, example: Any) -> dict[str, Any]:
    schema = described(field, schema)
    parameter: dict[str, Any] = {"name": field.name, "in": "query", "schema": schema}
    if "description" in schema:
        parameter["description"] = schema.pop("description")
    if field.required:
        parameter["required"] = True
    elif field.type not in ("string", "any", "list"):
        parameter["allowEmptyValue"] = True
    if isinstance(example, dict) and isinstance(value := example.get(field.name), str | int | float | list):
        parameter["example"] = value
    return parameter


def _body(api: Api, declared: Input | None, example: Any) -> dict[str, Any]:
    if (kind := _KINDS.get(api.body)) is not None:
        about, schema = kind
        return {"description": about, "content": {content_type(api): {"schema": schema}}}
    content: dict[str, Any] = {}
    forms: Schema | None
    if declared is None:
        body: dict[str, Any] = {"description": _ANY_JSON, "content": content}
        content["application/json"] = {"schema": {}}
        forms = {"type": "object", "additionalProperties": {"type": "string"}}
    else:
        body = {"description": _MERGED, "content": content}
        if any(field.required for field in declared.fields):
            body["required"] = True
        content["application/json"] = {"schema": object_of(declared.fields, declared.unknown)}
        forms = _form(declared)
    if forms is not None:
        content["application/x-www-form-urlencoded"] = {"schema": forms}
        content["multipart/form-data"] = {"schema": {**forms, "propertyNames": {"minLength": 1}}}
    if example is not MISSING:
        content["application/json"]["examples"] = {"debug": {"value": example}}
    if api.body == "json":
        body["content"] = {"application/json": content["application/json"]}
    elif api.body == "form":
        body["content"] = {name: content[name] for name in content if name != "application/json"}
        body["description"] += " A form with the one field `payload` stands for the JSON in it."
    return body


def _form(declared: Input) -> Schema | None:
    """Return the schema of a form; None where something that is required can't be said in one."""
    properties: dict[str, Schema] = {}
    for field in declared.fields:
        schema = in_text(field)
        if schema is not None:
            properties[field.name] = described(field, schema)
        elif field.required:
            return None
    return closed({"type": "object", "properties": properties}, declared.fields, declared.unknown)


def _example(api: Api, config: Config) -> Any:
    """The API's debug data without what is secret, MISSING where it has none.

    That is what fields declared secret hold, what came from outside the config, and any credential of the config that
    may open the API.
    """
    if api.debug is MISSING:
        return MISSING
    known = {*config.masked, *_texts(config.operators.values())}
    if isinstance(api.auth, TokenAuth):
        known |= _texts(api.auth.tokens.values())
    elif isinstance(api.auth, PasswordAuth):
        known |= _texts(api.auth.users.values())
    elif isinstance(api.auth, SignatureAuth):
        known |= _texts(api.auth.secrets.values())
    return Hide(known)(mask(api.debug, secrets_of_debug(api)))


def _texts(secrets: Collection[Secret]) -> set[str]:
    texts = {secret.reveal() for secret in secrets if not secret.hashed}
    return {text for text in texts if len(text) >= MIN_SECRET_LENGTH}
