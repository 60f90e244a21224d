"""The JSON Schema of config.yaml, for editors that complete and check while one types.

It says what a file may look like; what keys mean together (a workflow that exists, min below max) only `check` finds.
"""

from __future__ import annotations

from trigger.config.declarations import FITS, TYPES, UNKNOWNS
from trigger.config.names import NAME
from trigger.config.scalars import MAX_WORKERS
from trigger.config.schema_parts import DURATION, SIZE, TEXT, Schema, boolean, integer, mapping, names, optional
from trigger.config.schemas import AUDIENCES, VERBS
from trigger.config.steps_for_editors import definitions

_SECRET: Schema = {**TEXT, "description": "The secret, its hash, or a reference such as ${NAME} or ${file:PATH}"}


def json_schema() -> Schema:
    """The JSON Schema (draft 2020-12, https://json-schema.org/draft/2020-12) of config.yaml."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Trigger's config.yaml",
        **mapping(
            {
                "server": optional(_server()),
                "redis": {"type": ["string", "null"], "description": "URL of a Redis; empty: a private one"},
                "retention": {**DURATION, "default": "7d"},
                "workers": {"anyOf": [integer(1, MAX_WORKERS), {"const": "auto"}], "default": 2},
                "idempotency": {**DURATION, "default": "24h"},
                "crashes": integer(1, 1000, default=5),
                "stop_grace": {**DURATION, "default": "25s"},
                "cancel_grace": {**DURATION, "default": "10s"},
                "logs": {**SIZE, "default": "1 MiB"},
                "keep": integer(1, 10_000_000),
                "docs": {"enum": list(AUDIENCES), "default": "operators"},
                "metrics": {"enum": list(AUDIENCES), "default": "operators"},
                "operators": {"type": ["object", "null"], "additionalProperties": _SECRET},
                "workflows": optional(names(NAME, {"$ref": "#/$defs/workflow"})),
                "modules": optional(names(NAME, {"$ref": "#/$defs/module"})),
            },
            required=["modules"],
        ),
        "patternProperties": {"^x-": {"description": "Anything: for anchors (&NAME) that are used elsewhere (*NAME)"}},
        "$defs": {
            **definitions(),
            "module": mapping(
                {"description": TEXT, "methods": optional(names(NAME, {"$ref": "#/$defs/api"}))}, required=[]
            ),
            "api": _api(),
            "auth": _auth(),
            "fields": {"type": "object", "additionalProperties": {"$ref": "#/$defs/field"}},
            "field": _field(),
        },
    }


def _server() -> Schema:
    return mapping(
        {
            "prefix": {"type": "string", "pattern": r"^(/[A-Za-z0-9._~-]+)+$|\$\{", "default": "/v1/api"},
            "max_body": {**SIZE, "default": "1 MiB"},
            "proxies": integer(0, 16, default=0),
            "hosts": {"type": "array", "items": {"type": "string"}},
            "backlog": integer(1, 10_000_000, default=100_000),
            "auth_failures": integer(1, 1_000_000, default=30),
        },
        required=[],
    )


def _api() -> Schema:
    return mapping(
        {
            "description": TEXT,
            "enabled": {**boolean(), "default": False},
            "verbs": {"type": "array", "items": {"enum": list(VERBS)}, "minItems": 1, "uniqueItems": True},
            "auth": {"$ref": "#/$defs/auth"},
            "workflow": {"type": "string", "minLength": 1},
            "input": mapping(
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
            mapping({"mode": {"const": "none"}}, required=["mode"]),
            mapping({"mode": {"const": "token"}, "token": _SECRET}, required=["mode", "token"]),
            mapping({"mode": {"const": "token"}, "tokens": secrets}, required=["mode", "tokens"]),
            mapping({"mode": {"const": "password"}, "users": secrets}, required=["mode", "users"]),
        ]
    }


def _field() -> Schema:
    length = integer(0, 2**31 - 1)
    schema = mapping(
        {
            "type": {"enum": list(TYPES)},
            "required": {**boolean(), "default": False},
            "default": {},
            "enum": {"type": "array", "minItems": 1},
            "min": {"type": ["number", "string"]},
            "max": {"type": ["number", "string"]},
            "min_length": length,
            "max_length": length,
            "pattern": TEXT,
            "nullable": {**boolean(), "default": False},
            "description": TEXT,
            "secret": {**boolean(), "default": False},
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
