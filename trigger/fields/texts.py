"""The kinds of fields whose values are texts."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Self

from marshmallow import ValidationError, validate

from trigger.fields.base import Kind, Schema, in_range, plural, within
from trigger.fields.model import Field
from trigger.fields.patterns import portable

# The longest text each kind may be when its field declares no max_length; it is checked before the regular expression.
MAX_PATTERN_TEXT = 1_000
MAX_EMAIL = 254  # RFC 5321, section 4.5.3.1.3, less the angle brackets
MAX_URL = 2_048

MAX_PATTERN_TIME = 0.05  # seconds that one text may take

_UUID = re.compile(r"[0-9a-f]{8}(-?)[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{12}", re.IGNORECASE | re.ASCII)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]"
_DATETIME = re.compile(rf"{_DATE.pattern}[Tt ]{_TIME}:[0-5][0-9](?:\.[0-9]{{1,9}})?(?P<offset>[Zz]|[-+]{_TIME})?")
# http and https URLs as Url takes them, without those that name a user.
_LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = rf"(?:{_LABEL}|(?:{_LABEL}\.)+[A-Za-z0-9]{{2,}}|[0-9]{{1,3}}(?:\.[0-9]{{1,3}}){{3}})"
_URL = rf"^[hH][tT][tT][pP][sS]?://{_HOST}(?::[0-9]+)?(?:/|[/?#][^\s]+)?$"
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


class Text(Kind):
    """The base of what is a string between two lengths in characters."""

    keys = frozenset({"enum"})
    in_config = (str,)
    kind = "a string"
    cap: int | None = None
    schema: Schema = {}  # noqa: RUF012 - never changed

    @classmethod
    def of(cls, field: Field, options: dict[str, Any], inner: Callable[[Field], Kind]) -> Self:
        lengths = {"min_length": cls.least_length(field), "max_length": field.max_length}
        return cls(pattern=field.pattern, **lengths, **options)

    @classmethod
    def in_json(cls, field: Field, inner: Callable[[Field], Schema]) -> Schema:
        return {"type": "string", **cls.schema, **within("Length", cls.least_length(field), field.max_length, cls.cap)}

    @classmethod
    def in_text(cls, field: Field, inner: Callable[[Field], Schema | None]) -> Schema | None:
        return cls.in_json(field, lambda _: {})

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
            raise ValidationError(f"must be at most {self.max_length:,} {plural('character', self.max_length)} long")
        # Only now: the time a regular expression takes may grow steeply with the length of the text.
        if self.pattern is not None and not _matches(self.pattern, value):
            raise ValidationError(f"must match the pattern {self.pattern.pattern}")
        return self.read(value)

    def read(self, text: str) -> Any:
        """Return the value that `text` stands for; raises ValidationError."""
        return text


class String(Text):
    """A string, matching `pattern` as a whole."""

    keys = frozenset({"min_length", "max_length", "pattern", "enum"})

    @classmethod
    def least_length(cls, field: Field) -> int | None:
        """As Kind.least_length. What is required must say something; `min_length: 0` allows ""."""
        return 1 if field.required and field.min_length is None and field.enum is None else field.min_length

    @classmethod
    def in_json(cls, field: Field, inner: Callable[[Field], Schema]) -> Schema:
        expression = None if field.pattern is None else portable(field.pattern)
        cap = None if field.pattern is None else MAX_PATTERN_TEXT
        lengths = within("Length", cls.least_length(field), field.max_length, cap)
        return {"type": "string", **({"pattern": expression} if expression else {}), **lengths}


class Email(Text):
    keys = frozenset({"min_length", "max_length", "enum"})
    schema = {"format": "email"}  # noqa: RUF012 - never changed
    kind = "an e-mail address"
    cap = MAX_EMAIL

    def read(self, text: str) -> str:
        return _is_email(text)


class Url(Text):
    """A URL with the scheme http or https; its host may be one name, as in a network of one's own."""

    keys = frozenset({"min_length", "max_length", "enum"})
    schema = {"pattern": _URL}  # noqa: RUF012 - never changed; the format "uri" would refuse what is not ASCII
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

    @classmethod
    def in_json(cls, field: Field, inner: Callable[[Field], Schema]) -> Schema:
        return {"anyOf": [{"type": "string", "format": "uuid"}, {"type": "string", "pattern": "^[0-9A-Fa-f]{32}$"}]}


class _Moment(Text):
    @classmethod
    def bounds(cls, field: Field) -> validate.Range:
        """The bounds are texts, or what YAML makes of them."""
        texts = [bound.isoformat() if isinstance(bound, dt.date) else bound for bound in (field.min, field.max)]
        try:
            low, high = (None if text is None else cls().deserialize(text) for text in texts)
        except ValidationError as error:
            raise ValueError(f"min and max {error.messages[0]}") from None
        return in_range(low, high, lambda bound: str(bound.isoformat()))

    @classmethod
    def in_json(cls, field: Field, inner: Callable[[Field], Schema]) -> Schema:
        return {"type": "string", **cls.schema}


class Date(_Moment):
    """A full-date of RFC 3339, section 5.6; a dt.date until `after` makes it the text again."""

    schema = {"format": "date"}  # noqa: RUF012 - never changed
    after = (dt.date.isoformat,)

    kind = "a date such as 2026-01-31"

    def read(self, text: str) -> dt.date:
        # The pattern first: fromisoformat also takes weeks, and dates without hyphens.
        if _DATE.fullmatch(text):
            try:
                return dt.date.fromisoformat(text)
            except ValueError:
                raise ValidationError("must be a date that the calendar has") from None
        raise ValidationError(f"must be {self.kind}")


class DateTime(_Moment):
    """A date-time of RFC 3339, section 5.6; a dt.datetime until `after` makes it text again, its offset kept.

    One without an offset is refused: it would mean another moment on another machine. So is a leap second, which
    Python has no time for. Digits after the microseconds are dropped.
    """

    schema = {"format": "date-time"}  # noqa: RUF012 - never changed
    after = (dt.datetime.isoformat,)
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
