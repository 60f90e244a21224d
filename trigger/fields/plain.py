"""The kinds of fields whose values are numbers, true or false, or anything."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from marshmallow import ValidationError, validate

from trigger.fields.base import Kind, Schema, in_range
from trigger.fields.model import Field
from trigger.strict_json import MAX_INTEGER, MIN_INTEGER

_INTEGER = re.compile(r"-?[0-9]{1,19}")
_NUMBER = re.compile(r"-?[0-9]{1,100}(?:\.[0-9]{1,100})?(?:[eE][-+]?[0-9]{1,5})?")


class Anything(Kind):
    """Any JSON value, as it is."""

    keys = frozenset({"enum"})
    takes_null = True

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Any:
        return value

    @classmethod
    def in_json(cls, field: Field, inner: Callable[[Field], Schema]) -> Schema:
        return {}

    @classmethod
    def in_text(cls, field: Field, inner: Callable[[Field], Schema | None]) -> Schema | None:
        return {"type": "string"}

    @classmethod
    def choices_in_json(cls, field: Field) -> Schema:
        return {"enum": [*(field.enum or ()), None]}

    @classmethod
    def choices_in_text(cls, field: Field) -> Schema | None:
        texts = [choice for choice in field.enum or () if isinstance(choice, str)]
        return {"type": "string", "enum": texts} if texts else None


class Number(Kind):
    """A finite number, or its text; a whole one stays an int, so that no digit is lost."""

    keys = frozenset({"min", "max", "enum"})
    in_config: tuple[type, ...] = (int, float)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> float:
        if isinstance(value, str) and _NUMBER.fullmatch(value):
            value = int(value) if value.lstrip("-").isdigit() else float(value)
        if isinstance(value, int) and not isinstance(value, bool):
            return _bounded(value)
        if not isinstance(value, float) or not math.isfinite(value):
            raise ValidationError("must be a number")
        return value

    @classmethod
    def bounds(cls, field: Field) -> validate.Range:
        if not all(bound is None or isinstance(bound, int | float) for bound in (field.min, field.max)):
            raise ValueError("min and max must be numbers")
        return in_range(field.min, field.max, str)

    @classmethod
    def in_json(cls, field: Field, inner: Callable[[Field], Schema]) -> Schema:
        return cls.in_text(field, inner)

    @classmethod
    def in_text(cls, field: Field, inner: Callable[[Field], Schema | None]) -> Schema:
        bounds = {"minimum": field.min, "maximum": field.max}
        return {"type": "number", **{key: bound for key, bound in bounds.items() if bound is not None}}

    @classmethod
    def choices_in_text(cls, field: Field) -> Schema | None:
        return {"type": field.type, "enum": list(field.enum or ())}


class Integer(Number):
    """A whole number from MIN_INTEGER to MAX_INTEGER, or the decimal digits of one."""

    in_config = (int,)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> int:
        if isinstance(value, str) and _INTEGER.fullmatch(value):
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValidationError("must be a whole number")
        return _bounded(value)

    @classmethod
    def clashes(cls, field: Field) -> Iterator[tuple[str, str]]:
        yield from super().clashes(field)
        for key in ("min", "max"):
            if isinstance(getattr(field, key), float):
                yield key, "must be a whole number, for the type is integer"

    @classmethod
    def in_text(cls, field: Field, inner: Callable[[Field], Schema | None]) -> Schema:
        return {"minimum": MIN_INTEGER, "maximum": MAX_INTEGER, **super().in_text(field, inner), "type": "integer"}


class Boolean(Kind):
    """true or false, or one of the texts true, false, 1 and 0."""

    in_config = (bool,)
    texts = {"true": True, "1": True, "false": False, "0": False}  # noqa: RUF012 - never changed

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> bool:
        if isinstance(value, str):
            value = self.texts.get(value)
        if not isinstance(value, bool):
            raise ValidationError("must be true or false")
        return value

    @classmethod
    def in_json(cls, field: Field, inner: Callable[[Field], Schema]) -> Schema:
        return {"anyOf": [{"type": "boolean"}, {"enum": list(cls.texts)}]}

    @classmethod
    def in_text(cls, field: Field, inner: Callable[[Field], Schema | None]) -> Schema | None:
        return {"anyOf": [{"type": "boolean"}, {"type": "string", "enum": ["0", "1"]}]}


def _bounded(number: int) -> int:
    if not MIN_INTEGER <= number <= MAX_INTEGER:
        raise ValidationError(f"must be between {MIN_INTEGER} and {MAX_INTEGER}")
    return number
