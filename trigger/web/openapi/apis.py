"""The operations of one API: an operation for each verb, as the config declares it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from trigger.config.model import Api, Config, NoAuth, PasswordAuth, TokenAuth, Verb
from trigger.config.secret import Secret
from trigger.fields.base import Schema
from trigger.fields.describing import described, in_text, object_of
from trigger.fields.model import MISSING, Field, Input
from trigger.fields.nested import closed
from trigger.inputs.masking import MIN_SECRET_LENGTH, Hide, mask
from trigger.inputs.shape import secrets_of_debug
from trigger.web.openapi.answers import all_of
from trigger.web.openapi.operations import OPERATOR

_ANY_JSON = "The input: any JSON value. Query parameters are merged under an object."
_ANY_QUERY = "The input: any parameters, whose values are texts, or lists of texts where a name comes more than once"
_MERGED = "The input. Query parameters count for what the body does not have."
_UNSAYABLE = "Can't be called by GET: {} can't be said in a query."

_SECURITY: Mapping[type, list[dict[str, list[str]]]] = {
    NoAuth: [],
    TokenAuth: [{"token": []}, {"bearer": []}],
    PasswordAuth: [{"user": [], "password": []}, OPERATOR[0]],
}
_UNAUTHORIZED: Mapping[type, list[str]] = {NoAuth: [], TokenAuth: ["401-token"], PasswordAuth: ["401-password"]}
_ALWAYS = ["202", "400", "403", "404", "413", "422", "429", "503"]
_WITH_BODY = ["408", "415"]


def operations(api: Api, config: Config) -> dict[str, Any]:
    """The operation of each of the API's verbs, in lower case."""
    example = _example(api, config)
    return {verb.lower(): _operation(api, verb, example) for verb in api.verbs}


def path(api: Api, config: Config) -> str:
    """Where the API is called."""
    return f"{config.server.prefix}/{api.module}/{api.method}/async"


def _operation(api: Api, verb: Verb, example: Any) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": f"{verb.lower()}/{api.module}/{api.method}",
        "summary": api.description.partition("\n")[0] or f"{api.module}/{api.method}",
        "tags": [api.module],
        "security": _SECURITY[type(api.auth)],
        "responses": all_of([*_ALWAYS, *_UNAUTHORIZED[type(api.auth)], *(_WITH_BODY if verb == "POST" else ())]),
        "parameters": ["key"],
    }
    notes = [api.description] if "\n" in api.description else []
    declared = api.input if api.input is not None and api.input.fields else None
    if verb == "POST":
        operation["requestBody"] = _body(declared, example)
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


def _body(declared: Input | None, example: Any) -> dict[str, Any]:
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
    return Hide(known)(mask(api.debug, secrets_of_debug(api)))


def _texts(secrets: Collection[Secret]) -> set[str]:
    texts = {secret.reveal() for secret in secrets if not secret.hashed}
    return {text for text in texts if len(text) >= MIN_SECRET_LENGTH}
