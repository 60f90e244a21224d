"""marshmallow fields that read JSON values and form text alike, strictly, and whose messages never repeat a value.

They are used without a marshmallow Schema: that takes field names as Python attributes, so that a name with a dot
makes nested objects and a field called "Meta" is lost; and it reports each of 100,000 unknown names.
"""

from __future__ import annotations

import datetime as dt
import math
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from marshmallow import ValidationError, fields, missing, validate

from trigger.fields.model import MAX_INTEGER, MIN_INTEGER, Unknown

MAX_REPORTED = 20  # mistakes reported of one object's unknown fields, or of one list's items
MAX_ITEMS = 10_000  # of a list that declares no max_length
MAX_NAME = 64  # characters of an unknown name that are repeated

# The longest text each kind may be when its field declares no max_length; it is checked before the regular expression.
MAX_PATTERN_TEXT = 1_000
MAX_EMAIL = 254  # RFC 5321, section 4.5.3.1.3, less the angle brackets
MAX_URL = 2_048

MAX_PATTERN_TIME = 0.05  # seconds that one text may take

_INTEGER = re.compile(r"-?[0-9]{1,19}")
_NUMBER = re.compile(r"-?[0-9]{1,100}(?:\.[0-9]{1,100})?(?:[eE][-+]?[0-9]{1,5})?")
_UUID = re.compile(r"[0-9a-f]{8}(-?)[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{12}", re.IGNORECASE | re.ASCII)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]"
_DATETIME = re.compile(rf"{_DATE.pattern}[Tt ]{_TIME}:[0-5][0-9](?:\.[0-9]{{1,9}})?(?P<offset>[Zz]|[-+]{_TIME})?")
_is_url = validate.URL(schemes={"http", "https"}, require_tld=False, error="must be an http or https URL")
_is_email = validate.Email(error="must be an e-mail address")


def _compiled(pattern: str) -> Any:
    """A regular expression that can be given up on: the `regex` package's, as `re` knows no time limit.

    It is imported here because most configs declare no pattern.
    """
    import regex

    try:
        return regex.compile(pattern)
    except regex.error as error:
        raise ValueError(f"the pattern is not a regular expression: {error}") from None


def _matches(pattern: Any, text: str) -> bool:
    try:
        return pattern.fullmatch(text, timeout=MAX_PATTERN_TIME) is not None
    except TimeoutError:
        raise ValidationError("took too long to be matched against the pattern") from None


class _Field(fields.Field[Any]):
    default_error_messages = {"required": "is required", "null": "must not be null"}  # noqa: RUF012 - as marshmallow


class Anything(_Field):
    """Any JSON value, as it is."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Any:
        return value


class Text(_Field):
    """A string between two lengths in characters, and matching `pattern` as a whole."""

    kind = "a string"
    cap: int | None = None

    def __init__(
        self, *, min_length: int | None = None, max_length: int | None = None, pattern: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        cap = MAX_PATTERN_TEXT if pattern is not None and self.cap is None else self.cap
        self.min_length = min_length or 0
        self.max_length = cap if max_length is None else max_length
        self.pattern = None if pattern is None else _compiled(pattern)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Any:
        if not isinstance(value, str):
            raise ValidationError(f"must be {self.kind}")
        if len(value) < self.min_length:
            raise ValidationError(
                f"must be at least {self.min_length:,} characters long" if self.min_length > 1 else "must not be empty"
            )
        if self.max_length is not None and len(value) > self.max_length:
            raise ValidationError(f"must be at most {self.max_length:,} {_plural('character', self.max_length)} long")
        # Only now: the time a regular expression takes may grow steeply with the length of the text.
        if self.pattern is not None and not _matches(self.pattern, value):
            raise ValidationError(f"must match the pattern {self.pattern.pattern}")
        return self.read(value)

    def read(self, text: str) -> Any:
        """What `text` stands for; raises ValidationError."""
        return text


class Email(Text):
    kind = "an e-mail address"
    cap = MAX_EMAIL

    def read(self, text: str) -> str:
        return _is_email(text)


class Url(Text):
    """A URL with the scheme http or https; its host may be one name, as in a network of one's own."""

    kind = "an http or https URL"
    cap = MAX_URL

    def read(self, text: str) -> str:
        return _is_url(text)


class Uuid(Text):
    """A UUID of 32 hexadecimal digits with or without its hyphens; the result has them, in lower case."""

    kind = "a UUID such as 123e4567-e89b-12d3-a456-426614174000"

    def read(self, text: str) -> str:
        if not _UUID.fullmatch(text):
            raise ValidationError(f"must be {self.kind}")
        return str(uuid.UUID(text))


class Date(Text):
    """A full-date of RFC 3339, section 5.6; a dt.date until post_load makes it the text again."""

    kind = "a date such as 2026-01-31"

    def read(self, text: str) -> dt.date:
        # The pattern first: fromisoformat also takes weeks, and dates without hyphens.
        if _DATE.fullmatch(text):
            try:
                return dt.date.fromisoformat(text)
            except ValueError:
                raise ValidationError("must be a date that the calendar has") from None
        raise ValidationError(f"must be {self.kind}")


class DateTime(Text):
    """A date-time of RFC 3339, section 5.6; a dt.datetime until post_load makes it text again, its offset kept.

    One without an offset is refused: it would mean another moment on another machine. So is a leap second, which
    Python has no time for. Digits after the microseconds are dropped.
    """

    kind = "a date and time such as 2026-01-31T12:00:00Z"

    def read(self, text: str) -> dt.datetime:
        found = _DATETIME.fullmatch(text)
        if found is None:
            raise ValidationError(f"must be {self.kind}")
        if found["offset"] is None:
            raise ValidationError("must end with its offset from UTC, such as Z or +02:00")
        try:
            return dt.datetime.fromisoformat(text.upper())
        except ValueError:
            raise ValidationError("must be a date that the calendar has") from None


class Integer(_Field):
    """A whole number from MIN_INTEGER to MAX_INTEGER, or the decimal digits of one."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> int:
        if isinstance(value, str) and _INTEGER.fullmatch(value):
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValidationError("must be a whole number")
        return _bounded(value)


class Number(_Field):
    """A finite number, or its text; a whole one stays an int, so that no digit is lost."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> float:
        if isinstance(value, str) and _NUMBER.fullmatch(value):
            value = int(value) if value.lstrip("-").isdigit() else float(value)
        if isinstance(value, int) and not isinstance(value, bool):
            return _bounded(value)
        if not isinstance(value, float) or not math.isfinite(value):
            raise ValidationError("must be a number")
        return value


class Boolean(_Field):
    """true or false, or one of the texts true, false, 1 and 0."""

    texts = {"true": True, "1": True, "false": False, "0": False}  # noqa: RUF012 - never changed

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> bool:
        if isinstance(value, str):
            value = self.texts.get(value)
        if not isinstance(value, bool):
            raise ValidationError("must be true or false")
        return value


class Items(_Field):
    """A list of `item`s, between two lengths (MAX_ITEMS at most if not said); one too long isn't looked into.

    A million items would keep a web process busy for a second.
    """

    def __init__(
        self, item: fields.Field[Any], *, min_length: int | None = None, max_length: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.item = item
        self.min_length = min_length or 0
        self.max_length = MAX_ITEMS if max_length is None else max_length

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> list[Any]:
        if not isinstance(value, list):
            raise ValidationError("must be a list")
        if len(value) < self.min_length:
            raise ValidationError(f"must have at least {self.min_length:,} {_plural('item', self.min_length)}")
        if len(value) > self.max_length:
            raise ValidationError(f"must have at most {self.max_length:,} {_plural('item', self.max_length)}")
        made: list[Any] = []
        mistakes: dict[str, Any] = {}
        for index, item in enumerate(value):
            try:
                made.append(self.item.deserialize(item))
            except ValidationError as error:
                mistakes[str(index)] = error.messages
                if len(mistakes) == MAX_REPORTED:
                    break
        if mistakes:
            raise ValidationError(mistakes)
        return made


class Object(_Field):
    """An object of declared `members`; `unknown` says what becomes of others."""

    def __init__(self, members: Mapping[str, fields.Field[Any]], unknown: Unknown, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.members = members
        self.unknown = unknown

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise ValidationError("must be an object")
        made: dict[str, Any] = {}
        mistakes: dict[str, Any] = {}
        for name, member in self.members.items():
            try:
                result = member.deserialize(value.get(name, missing), name, value)
            except ValidationError as error:
                mistakes[name] = error.messages
            else:
                if result is not missing:
                    made[name] = result
        if self.unknown != "drop":
            others = [name for name in value if name not in self.members]
            if self.unknown == "keep":
                made.update((name, value[name]) for name in others)
            elif others:
                mistakes.update(self._unknown_fields(others))
        if mistakes:
            raise ValidationError(mistakes)
        return made

    def _unknown_fields(self, names: Sequence[str]) -> dict[str, list[str]]:
        mistakes: dict[str, list[str]] = {}
        for name in names[:MAX_REPORTED]:
            if len(name) > MAX_NAME:
                mistakes[name[:MAX_NAME] + "…"] = ["unknown field"]
            elif near := get_close_matches(name, self.members, n=1):
                mistakes[name] = [f"unknown field; did you mean {near[0]}?"]
            elif len(self.members) <= MAX_REPORTED:
                mistakes[name] = ["unknown field; known are " + ", ".join(sorted(self.members))]
            else:
                mistakes[name] = ["unknown field"]
        if len(names) > MAX_REPORTED:
            mistakes["…"] = [f"and {len(names) - MAX_REPORTED:,} more unknown fields"]
        return mistakes


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


def in_range(low: Any, high: Any, show: Callable[[Any], str]) -> validate.Range:
    """A validator for values between `low` and `high`, both included; None for no bound. `show` writes a bound."""
    if low is None:
        message = f"must be at most {show(high)}"
    elif high is None:
        message = f"must be at least {show(low)}"
    else:
        message = f"must be between {show(low)} and {show(high)}"
    return validate.Range(min=low, max=high, error=message)


def _bounded(number: int) -> int:
    if not MIN_INTEGER <= number <= MAX_INTEGER:
        raise ValidationError(f"must be between {MIN_INTEGER} and {MAX_INTEGER}")
    return number


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"
