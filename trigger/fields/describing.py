"""Declared fields as JSON Schemas (draft 2020-12): what a call may send.

`in_json` says what JSON may hold, `in_text` what a query or a form may, where everything is text and an empty one of
another type than string counts as left out. A schema allows nothing that would be refused. It leaves out spellings that
nobody needs: a number as text in JSON, a date and time with a blank in it, an `enum`'s number with zeros in front.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from trigger.fields.compiled import least_length
from trigger.fields.kinds import MAX_EMAIL, MAX_ITEMS, MAX_PATTERN_TEXT, MAX_URL, Boolean
from trigger.fields.model import MAX_INTEGER, MIN_INTEGER, MISSING, NUMBERS, Field, FieldType, Unknown
from trigger.fields.patterns import portable

Schema = dict[str, Any]

# http and https URLs, as trigger.fields.kinds takes them, without those that name a user.
_LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = rf"(?:{_LABEL}|(?:{_LABEL}\.)+[A-Za-z0-9]{{2,}}|[0-9]{{1,3}}(?:\.[0-9]{{1,3}}){{3}})"
_URL = rf"^[hH][tT][tT][pP][sS]?://{_HOST}(?::[0-9]+)?(?:/|[/?#][^\s]+)?$"


def in_json(field: Field) -> Schema:
    """What JSON may hold for a field."""
    schema = _choices(field) if _is_told(field) else _IN_JSON[field.type](field)
    if field.nullable and field.type != "any":
        schema = _or_null(schema)
    return described(field, schema)


def in_text(field: Field) -> Schema | None:
    """What a query or a form may hold for a field, by a name that may come more than once for a list; None where text
    can't say it."""
    if field.type == "object":
        return None
    if field.type == "list":
        return _list_in_text(field)
    if field.type == "any" and _is_told(field):
        texts = [choice for choice in field.enum or () if isinstance(choice, str)]
        return {"type": "string", "enum": texts} if texts else None
    if _is_told(field):
        return {"type": field.type if field.type in NUMBERS else "string", "enum": list(field.enum or ())}
    return _IN_TEXT[field.type](field)


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
    """What JSON may hold for an object of declared fields."""
    schema: Schema = {"type": "object", "properties": {field.name: in_json(field) for field in fields}}
    return closed(schema, fields, unknown)


def closed(schema: Schema, fields: Sequence[Field], unknown: Unknown) -> Schema:
    """The schema of an object with the names that are required, and whether there may be others."""
    if required := [field.name for field in fields if field.required]:
        schema["required"] = required
    if unknown == "reject":
        schema["additionalProperties"] = False
    return schema


def _is_told(field: Field) -> bool:
    """Whether its choices may be shown."""
    return field.enum is not None and not field.secret


def _choices(field: Field) -> Schema:
    choices = list(field.enum or ())
    if field.type == "any":
        choices.append(None)
    return {"enum": choices}


def _or_null(schema: Schema) -> Schema:
    if "enum" in schema:
        return {**schema, "enum": [*schema["enum"], None]}
    if "anyOf" in schema:
        return {**schema, "anyOf": [*schema["anyOf"], {"type": "null"}]}
    return {**schema, "type": [schema["type"], "null"]}


def _text(field: Field, cap: int | None = None, **more: Any) -> Schema:
    schema: Schema = {"type": "string", **more}
    if least := least_length(field):
        schema["minLength"] = least
    most = cap if field.max_length is None else field.max_length
    if most is not None:
        schema["maxLength"] = most
    return schema


def _string(field: Field) -> Schema:
    if field.pattern is None:
        return _text(field)
    expression = portable(field.pattern)
    return _text(field, MAX_PATTERN_TEXT, **({"pattern": expression} if expression else {}))


def _email(field: Field) -> Schema:
    return _text(field, MAX_EMAIL, format="email")


def _url(field: Field) -> Schema:
    return _text(field, MAX_URL, pattern=_URL)  # the format "uri" would refuse what is not ASCII


def _uuid(field: Field) -> Schema:
    return {"anyOf": [{"type": "string", "format": "uuid"}, {"type": "string", "pattern": "^[0-9A-Fa-f]{32}$"}]}


def _date(field: Field) -> Schema:
    return {"type": "string", "format": "date"}


def _datetime(field: Field) -> Schema:
    return {"type": "string", "format": "date-time"}


def _integer(field: Field) -> Schema:
    return {
        "type": "integer",
        "minimum": MIN_INTEGER if field.min is None else field.min,
        "maximum": MAX_INTEGER if field.max is None else field.max,
    }


def _number(field: Field) -> Schema:
    schema: Schema = {"type": "number"}
    if field.min is not None:
        schema["minimum"] = field.min
    if field.max is not None:
        schema["maximum"] = field.max
    return schema


def _boolean(field: Field) -> Schema:
    return {"anyOf": [{"type": "boolean"}, {"type": "string", "enum": ["0", "1"]}]}


def _boolean_in_json(field: Field) -> Schema:
    return {"anyOf": [{"type": "boolean"}, {"enum": list(Boolean.texts)}]}


def _object(field: Field) -> Schema:
    return object_of(field.fields, field.unknown) if field.fields else {"type": "object"}


def _list(field: Field) -> Schema:
    return _items(field, in_json(field.of) if field.of is not None else {}, MAX_ITEMS)


def _items(field: Field, item: Schema, cap: int | None) -> Schema:
    schema: Schema = {"type": "array", "items": item}
    if least := least_length(field):
        schema["minItems"] = least
    most = cap if field.max_length is None else field.max_length
    if most is not None:
        schema["maxItems"] = most
    return schema


def _list_in_text(field: Field) -> Schema | None:
    """An empty list can't be told from none, and a single empty text counts as none: neither will do where the field is
    required."""
    item: Schema | None = {"type": "string"} if field.of is None else in_text(field.of)
    if item is None or item.get("type") == "array":
        return None
    if not field.required:
        return _items(field, item, None)
    if item.get("type") == "string" and "enum" not in item:
        item = {**item, "minLength": max(1, item.get("minLength", 0))}
    schema = _items(field, item, None)
    return {**schema, "minItems": max(1, schema.get("minItems", 0))}


def _anything(field: Field) -> Schema:
    return {}


def _any_text(field: Field) -> Schema:
    return {"type": "string"}


_TEXTS: Mapping[FieldType, Callable[[Field], Schema]] = {
    "string": _string,
    "email": _email,
    "url": _url,
    "uuid": _uuid,
    "date": _date,
    "datetime": _datetime,
}
_IN_JSON: Mapping[FieldType, Callable[[Field], Schema]] = {
    **_TEXTS,
    "integer": _integer,
    "number": _number,
    "boolean": _boolean_in_json,
    "object": _object,
    "list": _list,
    "any": _anything,
}
_IN_TEXT: Mapping[FieldType, Callable[[Field], Schema]] = {
    **_TEXTS,
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
    "any": _any_text,
}
