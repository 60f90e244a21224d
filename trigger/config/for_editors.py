"""The JSON Schema of config.yaml, for editors that complete and check while one types.

It says what a file may look like; what keys mean together (a workflow that exists, min below max) only `check` finds.
"""

from __future__ import annotations

from typing import Any

from trigger.config.declarations import FITS, TYPES, UNKNOWNS
from trigger.config.schemas import NAME, QUEUE, VERBS

Schema = dict[str, Any]

# An editor takes `token: 123456` for a number; to the config it is text.
_TEXT: Schema = {"type": ["string", "number", "boolean"]}
_REFERENCE: Schema = {"type": "string", "pattern": r"\$\{"}
_SECRET: Schema = {**_TEXT, "description": "The secret, its hash, or a reference such as ${NAME} or ${file:PATH}"}
_SIZE: Schema = {"type": ["string", "integer"], "pattern": r"^[0-9]+ ?(B|kB|MB|GB|KiB|MiB|GiB)?$|\$\{"}
_DURATION: Schema = {"type": "string", "pattern": r"^[0-9]+ ?[smhdw]$|\$\{"}


def json_schema() -> Schema:
    """The JSON Schema (draft 2020-12, https://json-schema.org/draft/2020-12) of config.yaml."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Trigger's config.yaml",
        **_object(
            {
                "server": _optional(_server()),
                "redis": {"type": ["string", "null"], "description": "URL of a Redis; empty: a private one"},
                "retention": {**_DURATION, "default": "7d"},
                "idempotency": {**_DURATION, "default": "24h"},
                "crashes": _integer(1, 1000, default=5),
                "stop_grace": {**_DURATION, "default": "25s"},
                "operators": {"type": ["object", "null"], "additionalProperties": _SECRET},
                "workflows": _optional(_names(NAME, {"$ref": "#/$defs/workflow"})),
                "modules": _optional(_names(NAME, {"$ref": "#/$defs/module"})),
            },
            required=["modules"],
        ),
        "$defs": {
            "workflow": {
                "oneOf": [
                    _python(),
                    _object(
                        {
                            "python": _python(),
                            "description": _TEXT,
                            "timeout": _DURATION,
                            "queue": _pattern(QUEUE),
                            "retry": _retry(),
                        },
                        required=["python"],
                    ),
                ]
            },
            "module": _object(
                {"description": _TEXT, "methods": _optional(_names(NAME, {"$ref": "#/$defs/api"}))}, required=[]
            ),
            "api": _api(),
            "auth": _auth(),
            "fields": {"type": "object", "additionalProperties": {"$ref": "#/$defs/field"}},
            "field": _field(),
        },
    }


def _retry() -> Schema:
    backoff = {"oneOf": [_DURATION, {"type": "array", "items": _DURATION, "minItems": 1}]}
    return _object({"attempts": _integer(2, 100), "backoff": backoff}, required=["attempts"])


def _server() -> Schema:
    return _object(
        {
            "prefix": {"type": "string", "pattern": r"^(/[A-Za-z0-9._~-]+)+$|\$\{", "default": "/v1/api"},
            "max_body": {**_SIZE, "default": "1 MiB"},
            "proxies": _integer(0, 16, default=0),
            "hosts": {"type": "array", "items": {"type": "string"}},
            "backlog": _integer(1, 10_000_000, default=100_000),
            "auth_failures": _integer(1, 1_000_000, default=30),
        },
        required=[],
    )


def _api() -> Schema:
    return _object(
        {
            "description": _TEXT,
            "enabled": {**_boolean(), "default": False},
            "verbs": {"type": "array", "items": {"enum": list(VERBS)}, "minItems": 1, "uniqueItems": True},
            "auth": {"$ref": "#/$defs/auth"},
            "workflow": {"type": "string", "minLength": 1},
            "input": _object(
                {"fields": {"$ref": "#/$defs/fields"}, "unknown": {"enum": list(UNKNOWNS)}}, required=["fields"]
            ),
            "debug": {"description": "A simulated request's input"},
        },
        required=["auth", "workflow"],
    )


def _auth() -> Schema:
    secrets = {"type": "object", "minProperties": 1, "additionalProperties": _SECRET}
    return {
        "oneOf": [
            _object({"mode": {"const": "none"}}, required=["mode"]),
            _object({"mode": {"const": "token"}, "token": _SECRET}, required=["mode", "token"]),
            _object({"mode": {"const": "token"}, "tokens": secrets}, required=["mode", "tokens"]),
            _object({"mode": {"const": "password"}, "users": secrets}, required=["mode", "users"]),
        ]
    }


def _field() -> Schema:
    length = _integer(0, 2**31 - 1)
    schema = _object(
        {
            "type": {"enum": list(TYPES)},
            "required": {**_boolean(), "default": False},
            "default": {},
            "enum": {"type": "array", "minItems": 1},
            "min": {"type": ["number", "string"]},
            "max": {"type": ["number", "string"]},
            "min_length": length,
            "max_length": length,
            "pattern": _TEXT,
            "nullable": {**_boolean(), "default": False},
            "description": _TEXT,
            "secret": {**_boolean(), "default": False},
            "fields": {"$ref": "#/$defs/fields"},
            "unknown": {"enum": list(UNKNOWNS)},
            "of": {"$ref": "#/$defs/field"},
        },
        required=["type"],
    )
    schema["dependentSchemas"] = {
        key: {"properties": {"type": {"enum": sorted(types)}}} for key, types in sorted(FITS.items())
    }
    return schema


def _object(properties: Schema, required: list[str]) -> Schema:
    schema: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return schema | {"required": required} if required else schema


def _names(pattern: str, value: Schema) -> Schema:
    return {"type": "object", "propertyNames": _pattern(pattern), "additionalProperties": value}


def _optional(schema: Schema) -> Schema:
    return {**schema, "type": [schema["type"], "null"]}


def _pattern(pattern: str) -> Schema:
    return {"type": "string", "pattern": f"^({pattern})$"}


def _python() -> Schema:
    return {"type": "string", "pattern": r"^[^:]+:[^:]+$", "examples": ["examples.hello:greet"]}


def _boolean() -> Schema:
    return {"anyOf": [{"type": "boolean"}, _REFERENCE]}


def _integer(low: int, high: int, **more: Any) -> Schema:
    return {"anyOf": [{"type": "integer", "minimum": low, "maximum": high}, _REFERENCE], **more}
