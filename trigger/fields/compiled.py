"""Declared fields compiled to what reads a caller's values.

Raises ValueError, naming the field, for a declaration that contradicts itself: a default, a choice or a bound that its
own field would refuse, or a pattern that is no regular expression.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from marshmallow import ValidationError

from trigger.fields.base import Kind
from trigger.fields.kinds import KINDS
from trigger.fields.model import MISSING, Field
from trigger.fields.nested import members_of


def read_own(field: Field, value: Any) -> Any:
    """Read `value`, which the config itself gives, as one of `field`; raises ValueError that says why it is none."""
    if value is None:
        if field.nullable or KINDS[field.type].takes_null:
            return None
        raise ValueError("must not be null, for it is not nullable")
    expected = KINDS[field.type].in_config
    if expected and (not isinstance(value, expected) or (isinstance(value, bool) and bool not in expected)):
        raise ValueError(f"must be {'an' if field.type[0] in 'aeio' else 'a'} {field.type}")
    return _read(field, value)


def _read(field: Field, value: Any) -> Any:
    try:
        return compiled(replace(field, default=MISSING, required=False)).deserialize(value)
    except ValidationError as error:
        path, messages = next(iter(by_path(error.messages, "").items()))
        raise ValueError(": ".join(part for part in (path, messages[0]) if part)) from None


def compiled_members(declared: Sequence[Field]) -> dict[str, Kind]:
    """Return what reads each of some declared fields, by name."""
    return members_of(declared, compiled)


def compiled(field: Field) -> Kind:
    """Return what reads a declared field."""
    kind = KINDS[field.type]
    options: dict[str, Any] = {"allow_none": field.nullable or kind.takes_null, "post_load": list(kind.after)}
    if field.min is not None or field.max is not None:
        options["validate"] = kind.bounds(field)
    if field.enum is not None:
        bare = replace(field, enum=None, required=False)
        choices = [_read_own(bare, "enum", choice) for choice in field.enum if choice is not None]
        options["post_load"].append(OneOf(choices, shown=not field.secret))
    if field.default is not MISSING:
        options["load_default"] = _default(field)
    elif field.required:
        options["required"] = True
    return kind.of(field, options, compiled)


def _default(field: Field) -> Any:
    """Return the load_default: the default as a caller's value would be read, copied where it could be changed."""
    if field.default is None:
        return None
    value = _read_own(field, "default", field.default)
    return partial(copy.deepcopy, value) if isinstance(value, dict | list) else value


def _read_own(field: Field, key: str, value: Any) -> Any:
    """Read the value of `key` in the declaration, as a caller's value would be read."""
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


class OneOf:
    """Refuses what is not exactly one of `choices`."""

    def __init__(self, choices: Sequence[Any], *, shown: bool) -> None:
        self.choices = choices
        self.message = (
            "must be one of " + ", ".join(str(choice) for choice in choices)
            if shown
            else "must be one of the declared values"
        )

    def __call__(self, value: Any) -> Any:
        for choice in self.choices:
            if same(choice, value):
                return value
        raise ValidationError(self.message)


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal as JSON: true is not 1 there, as it is to Python's ==."""
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)
