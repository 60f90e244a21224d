"""The declared input of an API as the rows of a table: nested fields come after their own, one level deeper."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from trigger.console.shown import cut, plural
from trigger.fields.model import MISSING, Field
from trigger.inputs.masking import MASK

MAX_ROWS = 100
MAX_VALUE = 80  # characters of a default or of one value of an enum
MAX_ENUM = 20  # values of an enum that are shown

# What an item of a list is called where its own declaration has a row.
ITEM = "each item"


@dataclass(frozen=True, slots=True)
class Row:
    """A field. `path` tells it from others, `depth` says how many are around it; `rules` are what a value must keep."""

    path: str
    name: str
    depth: int
    type: str
    required: bool
    default: str
    rules: tuple[str, ...]
    description: str
    secret: bool


def rows(fields: Sequence[Field], path: str = "", depth: int = 0, secret: bool = False) -> Iterator[Row]:
    """The rows of some fields and of those inside them; what is inside of a secret one is secret too."""
    for field in fields:
        yield from _rows(field, field.name, f"{path}.{field.name}" if path else field.name, depth, secret)


def _rows(field: Field, name: str, path: str, depth: int, secret: bool) -> Iterator[Row]:
    secret = secret or field.secret
    yield Row(
        path=path,
        name=name,
        depth=depth,
        type=_type(field),
        required=field.required,
        default="" if field.default is MISSING else MASK if secret else _json(field.default),
        rules=tuple(_rules(field, secret)),
        description=field.description,
        secret=secret,
    )
    yield from rows(field.fields, path, depth + 1, secret)
    item = field.of
    if item is not None and (item.fields or item.of or item.description or item.secret or any(_rules(item, True))):
        yield from _rows(item, ITEM, f"{path}.*", depth + 1, secret)


def _type(field: Field) -> str:
    return f"list of {_type(field.of)}" if field.of is not None else field.type


def _rules(field: Field, secret: bool) -> Iterator[str]:
    if field.enum is not None:
        yield f"one of {plural(len(field.enum), 'value')}" if secret else f"one of {_enum(field.enum)}"
    if field.min is not None or field.max is not None:
        yield _between(field.min, field.max)
    unit = "item" if field.type == "list" else "character"
    if field.max_length is not None:
        yield _between(field.min_length, plural(field.max_length, unit))
    elif field.min_length is not None:
        yield f"at least {plural(field.min_length, unit)}"
    if field.pattern is not None:
        yield f"matches {field.pattern}"
    if field.nullable:
        yield "or null"
    if field.fields and field.unknown != "reject":
        yield UNKNOWN[field.unknown]


# What is done with fields that are not declared.
UNKNOWN = {
    "reject": "Unknown fields are rejected",
    "drop": "Unknown fields are dropped",
    "keep": "Unknown fields are kept",
}


def _between(low: Any, high: Any) -> str:
    if low is None:
        return f"at most {high}"
    return f"at least {low}" if high is None else f"{low} to {high}"


def _enum(values: Sequence[Any]) -> str:
    shown = ", ".join(map(_json, values[:MAX_ENUM]))
    return f"{shown} and {len(values) - MAX_ENUM} more" if len(values) > MAX_ENUM else shown


def _json(value: Any) -> str:
    return cut(json.dumps(value, ensure_ascii=False), MAX_VALUE)
