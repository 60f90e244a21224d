"""Declared fields as JSON Schemas (draft 2020-12): what a call may send.

`in_json` says what JSON may hold, `in_text` what a query or a form may, where everything is text and an empty one of
another type than string counts as left out. A schema allows nothing that would be refused. It leaves out spellings that
nobody needs: a number as text in JSON, a date and time with a blank in it, an `enum`'s number with zeros in front.
"""

from __future__ import annotations

from collections.abc import Sequence

from trigger.fields.base import Schema
from trigger.fields.kinds import KINDS
from trigger.fields.model import MISSING, Field, Unknown
from trigger.fields.nested import closed


def in_json(field: Field) -> Schema:
    """Return the schema of what JSON may hold for a field."""
    kind = KINDS[field.type]
    schema = kind.choices_in_json(field) if _is_told(field) else kind.in_json(field, in_json)
    if field.nullable and not kind.takes_null:
        schema = _or_null(schema)
    return described(field, schema)


def in_text(field: Field) -> Schema | None:
    """Return the schema of what a query or a form may hold for a field, by a name that may come more than once for a
    list; None where text can't say it."""
    kind = KINDS[field.type]
    return kind.choices_in_text(field) if _is_told(field) else kind.in_text(field, in_text)


def described(field: Field, schema: Schema) -> Schema:
    """The schema with what it says for people: description and default."""
    notes = [field.description] if field.description else []
    if field.secret:
        schema["writeOnly"] = True
        if field.enum is not None:
            notes.append("One of a few values, which are not shown.")
    if field.pattern is not None and "pattern" not in schema:
        notes.append(f"Must match, as a whole, the regular expression (Python's): {field.pattern}")
    if notes:
        schema["description"] = "\n\n".join(notes)
    if field.default is not MISSING and not field.secret:
        schema["default"] = field.default
    return schema


def object_of(fields: Sequence[Field], unknown: Unknown) -> Schema:
    """Return the schema of what JSON may hold for an object of declared fields."""
    schema: Schema = {"type": "object", "properties": {field.name: in_json(field) for field in fields}}
    return closed(schema, fields, unknown)


def _is_told(field: Field) -> bool:
    """Whether its choices may be shown."""
    return field.enum is not None and not field.secret


def _or_null(schema: Schema) -> Schema:
    if "enum" in schema:
        return {**schema, "enum": [*schema["enum"], None]}
    if "anyOf" in schema:
        return {**schema, "anyOf": [*schema["anyOf"], {"type": "null"}]}
    return {**schema, "type": [schema["type"], "null"]}
