"""The base of the kinds of fields: how one is declared, how it reads a value, and how it is described.

Kinds are marshmallow fields that read JSON values and form text alike, strictly, and whose messages never repeat a
value. They are used without a marshmallow Schema: that takes field names as Python attributes, so that a name with a
dot makes nested objects and a field called "Meta" is lost; and it reports each of 100,000 unknown names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self

from marshmallow import fields, validate

from trigger.fields.model import Field

Schema = dict[str, Any]


class Kind(fields.Field[Any]):
    """The base of all kinds. Where a kind holds others, `inner` does to a field inside what is done to this one."""

    default_error_messages = {"required": "is required", "null": "must not be null"}  # noqa: RUF012 - as marshmallow

    keys: frozenset[str] = frozenset()  # of a declaration that only some kinds have, and this one has
    in_config: tuple[type, ...] = ()  # types that a value may have in the config, where no text stands for others
    takes_null = False  # whatever `nullable` says
    after: tuple[Callable[[Any], Any], ...] = ()  # what is done to a value after its bounds were checked

    @classmethod
    def of(cls, field: Field, options: dict[str, Any], inner: Callable[[Field], Kind]) -> Self:
        """Return what reads a declared field; `options` are marshmallow's."""
        return cls(**options)

    @classmethod
    def bounds(cls, field: Field) -> validate.Range:
        """Return the validator for min and max; ValueError when they don't fit."""
        raise ValueError("min and max are for numbers, dates and times; lengths have min_length and max_length")

    @classmethod
    def least_length(cls, field: Field) -> int | None:
        """Return the fewest characters or items of a value, None for no bound."""
        return field.min_length

    @classmethod
    def implied(cls, declaration: Mapping[str, Any]) -> dict[str, Any]:
        """Return the keys that follow from those given."""
        return {}

    @classmethod
    def clashes(cls, field: Field) -> Iterator[tuple[str, str]]:
        """Yield each bound that doesn't go with another or with the kind, and why."""
        for low, high in (("min", "max"), ("min_length", "max_length")):
            least, most = getattr(field, low), getattr(field, high)
            if least is not None and most is not None and least > most:
                yield low, f"must not be larger than {high}: {least} is larger than {most}"

    @classmethod
    def in_json(cls, field: Field, inner: Callable[[Field], Schema]) -> Schema:
        """Return the JSON Schema of what JSON may hold, where a number may also come as its text."""
        raise NotImplementedError

    @classmethod
    def in_text(cls, field: Field, inner: Callable[[Field], Schema | None]) -> Schema | None:
        """Return the JSON Schema of what a query or a form may hold; None where text can't say it."""
        raise NotImplementedError

    @classmethod
    def choices_in_json(cls, field: Field) -> Schema:
        """Return the JSON Schema of a declared enum."""
        return {"enum": list(field.enum or ())}

    @classmethod
    def choices_in_text(cls, field: Field) -> Schema | None:
        """Return the JSON Schema of a declared enum in a query or a form; None where text can't say it."""
        return {"type": "string", "enum": list(field.enum or ())}


def in_range(low: Any, high: Any, show: Callable[[Any], str]) -> validate.Range:
    """A validator for values between `low` and `high`, both included; None for no bound. `show` writes a bound."""
    if low is None:
        message = f"must be at most {show(high)}"
    elif high is None:
        message = f"must be at least {show(low)}"
    else:
        message = f"must be between {show(low)} and {show(high)}"
    return validate.Range(min=low, max=high, error=message)


def within(what: str, least: int | None, most: int | None, cap: int | None) -> Schema:
    """The bounds of a length; `cap` where none is declared."""
    most = cap if most is None else most
    return {**({f"min{what}": least} if least else {}), **({f"max{what}": most} if most is not None else {})}


def plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"
