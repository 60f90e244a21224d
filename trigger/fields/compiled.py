"""Declared fields compiled to what reads a caller's values.

Raises ValueError, naming the field, for a declaration that contradicts itself: a default, a choice or a bound that its
own field would refuse, or a pattern that is no regular expression.
"""

from __future__ import annotations

import copy
import datetime as dt
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from marshmallow import ValidationError
from marshmallow import fields as marshmallow_fields

from trigger.fields import kinds
from trigger.fields.model import MISSING, Field, FieldType

_TEXTS: Mapping[FieldType, type[kinds.Text]] = {
    "string": kinds.Text,
    "email": kinds.Email,
    "url": kinds.Url,
    "uuid": kinds.Uuid,
    "date": kinds.Date,
    "datetime": kinds.DateTime,
}
_PLAIN: Mapping[FieldType, type[marshmallow_fields.Field[Any]]] = {
    "integer": kinds.Integer,
    "number": kinds.Number,
    "boolean": kinds.Boolean,
    "any": kinds.Anything,
}

# The types that a value of each kind may have in the config, where no text stands for anything else.
_IN_CONFIG: Mapping[str, tuple[type, ...]] = {
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "object": (dict,),
    "list": (list,),
    **dict.fromkeys(_TEXTS, (str,)),
}


def read_own(field: Field, value: Any) -> Any:
    """What `value`, which the config itself gives, is as one of `field`; raises ValueError that says why it is none."""
    if value is None:
        if field.nullable or field.type == "any":
            return None
        raise ValueError("must not be null, for it is not nullable")
    expected = _IN_CONFIG.get(field.type)
    if expected and (not isinstance(value, expected) or (isinstance(value, bool) and bool not in expected)):
        raise ValueError(f"must be {'an' if field.type[0] in 'aeio' else 'a'} {field.type}")
    return _read(field, value)


def _read(field: Field, value: Any) -> Any:
    try:
        return compiled(replace(field, default=MISSING, required=False)).deserialize(value)
    except ValidationError as error:
        path, messages = next(iter(by_path(error.messages, "").items()))
        raise ValueError(": ".join(part for part in (path, messages[0]) if part)) from None


def least_length(field: Field) -> int | None:
    """The fewest characters or items of a field's value, None for no bound.

    What is required must say something; `min_length: 0` allows "".
    """
    if field.type == "string" and field.required and field.min_length is None and field.enum is None:
        return 1
    return field.min_length


def compiled_members(declared: tuple[Field, ...]) -> dict[str, marshmallow_fields.Field[Any]]:
    members = {}
    for field in declared:
        try:
            members[field.name] = compiled(field)
        except ValueError as error:
            raise ValueError(f"{field.name}: {error}") from error
    return members


def compiled(field: Field) -> marshmallow_fields.Field[Any]:
    """The marshmallow field for a declared one; post_load runs after the bounds were checked."""
    options: dict[str, Any] = {"allow_none": field.nullable, "post_load": []}
    if field.min is not None or field.max is not None:
        options["validate"] = _range(field)
    if field.type in ("date", "datetime"):
        options["post_load"].append(dt.date.isoformat if field.type == "date" else dt.datetime.isoformat)
    if field.enum is not None:
        bare = replace(field, enum=None, required=False)
        choices = [_read_own(bare, "enum", choice) for choice in field.enum if choice is not None]
        options["post_load"].append(kinds.OneOf(choices, shown=not field.secret))
    if field.default is not MISSING:
        options["load_default"] = _default(field)
    elif field.required:
        options["required"] = True
    return _make(field, options)


def _make(field: Field, options: dict[str, Any]) -> marshmallow_fields.Field[Any]:
    lengths = {"min_length": least_length(field), "max_length": field.max_length}
    if field.type in _TEXTS:
        return _TEXTS[field.type](pattern=field.pattern, **lengths, **options)
    if field.type == "list":
        return kinds.Items(compiled(field.of) if field.of else kinds.Anything(allow_none=True), **lengths, **options)
    if field.type == "object":
        # Without declared members an object may have any.
        unknown = field.unknown if field.fields else "keep"
        return kinds.Object(compiled_members(field.fields), unknown, **options)
    if field.type == "any":
        options["allow_none"] = True
    return _PLAIN[field.type](**options)


def _range(field: Field) -> Any:
    """The validator for min and max, which of a date or datetime are texts (or what YAML makes of them)."""
    bounds: list[Any] = [field.min, field.max]
    if field.type in ("integer", "number"):
        if not all(bound is None or isinstance(bound, int | float) for bound in bounds):
            raise ValueError("min and max must be numbers")
        return kinds.in_range(field.min, field.max, str)
    if field.type not in ("date", "datetime"):
        raise ValueError("min and max are for numbers, dates and times; lengths have min_length and max_length")
    reader = _TEXTS[field.type]()
    texts = [bound.isoformat() if isinstance(bound, dt.date) else bound for bound in bounds]
    try:
        low, high = (None if text is None else reader.deserialize(text) for text in texts)
    except ValidationError as error:
        raise ValueError(f"min and max {error.messages[0]}") from None
    return kinds.in_range(low, high, lambda bound: str(bound.isoformat()))


def _default(field: Field) -> Any:
    """What to pass as load_default: the default as a caller's value would be read, copied where it could be changed."""
    if field.default is None:
        return None
    value = _read_own(field, "default", field.default)
    return partial(copy.deepcopy, value) if isinstance(value, dict | list) else value


def _read_own(field: Field, key: str, value: Any) -> Any:
    """What stands under `key` in the declaration, as a caller's value would be read."""
    try:
        return _read(field, value)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from None


def by_path(messages: Any, path: str) -> dict[str, list[str]]:
    """marshmallow's tree of messages as one level: dotted path to messages."""
    if isinstance(messages, list):
        return {path: messages}
    flat: dict[str, list[str]] = {}
    for name, inner in messages.items():
        for inner_path, found in by_path(inner, f"{path}.{name}" if path else name).items():
            flat.setdefault(inner_path, []).extend(found)
    return flat
