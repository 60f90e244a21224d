"""Pieces of the JSON Schema for editors. Each takes a reference such as ${NAME} in the place of a value."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

# An editor takes `token: 123456` for a number; to the config it is text.
TEXT: Schema = {"type": ["string", "number", "boolean"]}
REFERENCE: Schema = {"type": "string", "pattern": r"\$\{"}
SIZE: Schema = {"type": ["string", "integer"], "pattern": r"^[0-9]+ ?(B|kB|MB|GB|KiB|MiB|GiB)?$|\$\{"}
DURATION: Schema = {"type": "string", "pattern": r"^[0-9]+ ?[smhdw]$|\$\{"}


def mapping(properties: Schema, required: list[str]) -> Schema:
    """A mapping with these keys and no others."""
    schema: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return schema | {"required": required} if required else schema


def names(name: str, value: Schema) -> Schema:
    """A mapping of names, that match a regular expression, to values."""
    return {"type": "object", "propertyNames": pattern(name), "additionalProperties": value}


def items(value: Schema, at_least: int = 1) -> Schema:
    """A list."""
    return {"type": "array", "items": value, "minItems": at_least}


def optional(schema: Schema) -> Schema:
    """What may stand there empty."""
    return {**schema, "type": [schema["type"], "null"]}


def pattern(expression: str) -> Schema:
    """A text that matches a regular expression as a whole."""
    return {"type": "string", "pattern": f"^({expression})$"}


def python() -> Schema:
    """A callable."""
    return {"type": "string", "pattern": r"^[^:]+:[^:]+$", "examples": ["examples.hello:greet"]}


def boolean() -> Schema:
    """true or false."""
    return {"anyOf": [{"type": "boolean"}, REFERENCE]}


def integer(low: int, high: int, **more: Any) -> Schema:
    """A whole number from `low` to `high`."""
    return {"anyOf": [{"type": "integer", "minimum": low, "maximum": high}, REFERENCE], **more}
