"""The marshmallow pieces that the config's schemas are made of: strict, and helpful where they refuse."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, cast

from marshmallow import RAISE, Schema, ValidationError, fields, missing

from trigger.config.document import UNKNOWN
from trigger.config.forms import TEXT, Form, Named, accepts, form_of, items
from trigger.config.hints import Hints, hint

_UNKNOWN_KEY = "unknown key"
_MAPPING = "must be a mapping of keys to values"
MAX_CANDIDATES = 1000


def nearest(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate most like `word`, if any is like it. Looks at the first thousand: difflib is slow."""
    return _nearest(word, tuple(sorted(candidates)[:MAX_CANDIDATES])) if len(word) <= 100 else None


@functools.lru_cache(maxsize=1024)
def _nearest(word: str, candidates: tuple[str, ...]) -> str | None:
    lower = {candidate.lower(): candidate for candidate in candidates}
    found = difflib.get_close_matches(word.lower(), lower, n=1)
    return lower[found[0]] if found else None


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """ "; did you mean 'verbs'?", or nothing when no candidate is near."""
    found = nearest(word, candidates)
    return f"; did you mean {found!r}?" if found else ""


class Value(fields.Field[Any]):
    """The base of every field: a null is no value, and a reference that failed has been reported already.

    `form` is its JSON Schema for editors, to which marshmallow's `metadata` adds what it says for people.
    """

    form: Form = {}  # noqa: RUF012  # never changed

    default_error_messages = {  # noqa: RUF012  # marshmallow declares it without ClassVar
        "required": "is missing",
        "null": "has no value: write one or take the key away; a text that begins with # & * or ! must be quoted",
    }

    def __init__(self, convert: Callable[[Any], Any], form: Form = None, **options: Any) -> None:
        """`convert` makes the value of what the document holds; it raises ValidationError, or ValueError with text.

        `form` replaces the one that `convert` carries.
        """
        super().__init__(**options)
        self.convert = convert
        self.form = form_of(convert, self.form) if form is None else form

    def deserialize(
        self, value: Any, attr: str | None = None, data: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> Any:
        """As Field.deserialize; what is there goes to `convert` at once, which leaves nothing to validate."""
        if value is UNKNOWN:
            raise ValidationError([])
        if value is None or value is missing:
            return super().deserialize(value, attr, data, **kwargs)
        return self._deserialize(value, attr, data)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Any:
        try:
            return self.convert(value)
        except ValidationError as error:
            raise ValidationError(error.messages, valid_data=self._left(error.valid_data)) from None
        except ValueError as error:
            raise ValidationError(str(error)) from None

    def _left(self, valid: Any) -> Any:
        """Return the valid part of a value with mistakes: nothing, as half of it would not be of the field's type."""
        return None


class Partial(Value):
    """A mapping or a list as the document has it: what is valid of it stays beside the mistakes, for rules.py."""

    def _left(self, valid: Any) -> Any:
        return valid


class Scalar(Value):
    """A value that is one text, a number or the like; `convert` gets its characters."""

    form = TEXT

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Any:
        if not isinstance(value, str):
            raise ValidationError(f"must be one value, not a {'mapping' if isinstance(value, dict) else 'list'}")
        return super()._deserialize(value, attr, data, **kwargs)


class Strict(Schema):
    """A mapping with fixed keys; `hints` are what hints.py has of the words that others use for them.

    `rules` are further keywords of its JSON Schema, for what keys mean together.
    """

    error_messages = {"unknown": _UNKNOWN_KEY, "type": _MAPPING}  # noqa: RUF012  # marshmallow declares it without ClassVar

    class Meta:
        unknown = RAISE

    @classmethod
    def from_dict(cls, fields: dict[str, Any], *, name: str = "GeneratedSchema") -> type[Strict]:
        return cast(type[Strict], super().from_dict(fields, name=name))

    def __init__(self, hints: Hints = MappingProxyType({}), rules: Mapping[str, Form] = MappingProxyType({})) -> None:
        super().__init__()
        self.rules = rules
        self._hints = hints
        self._required = frozenset(key for key, field in self.fields.items() if field.required)

    def load(self, data: Any, **options: Any) -> Any:
        """As Schema.load. A partial load passes over missing keys, which at 10,000 APIs halves the time: it may do so
        whenever all that is required is there."""
        complete = isinstance(data, dict) and data.keys() >= self._required
        return super().load(data, partial=complete, **options)

    def handle_error(self, error: ValidationError, data: Any, *, many: bool, **kwargs: Any) -> None:
        messages = error.messages
        if not isinstance(messages, dict):
            return
        for key, found in messages.items():
            if found == [_UNKNOWN_KEY]:
                messages[key] = [unknown_key(key, self.load_fields, self._hints)]


def unknown_key(key: str, known: Iterable[str], hints: Hints) -> str:
    """Return the message for an unknown key; the key itself stands before it."""
    meant = hint(key, hints)
    if meant:
        return meant
    names = list(known)
    near = did_you_mean(key, names) or f"; known are {', '.join(names)}"
    return f"is not a key that is known here{near}"


class Section(Partial):
    """A mapping with a schema of its own, which stands under `name` among the definitions of the editors' schema."""

    def __init__(self, schema: Strict, name: str | None = None, **options: Any) -> None:
        super().__init__(schema.load, Named(name, schema) if name else schema, **options)


def each(field: Value, name: Callable[[str], str | None], at_least: int = 0) -> Callable[[Any], dict[str, Any]]:
    """Return what reads a mapping of names to values: `field` makes each, `name` says what is wrong with its name."""
    form = {"type": "object", "additionalProperties": field}
    if form_of(name):
        form["propertyNames"] = form_of(name)
    if at_least:
        form["minProperties"] = at_least

    @accepts(form)
    def convert(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise ValidationError(f"{_MAPPING}, not a {'list' if isinstance(value, list) else 'single value'}")
        result: dict[str, Any] = {}
        wrong: dict[str, Any] = {}
        for key, item in value.items():
            try:
                result[key] = field.deserialize(item)
            except ValidationError as error:
                wrong[key] = error.messages
                if isinstance(error.valid_data, dict):
                    result[key] = error.valid_data
            misnamed = name(key)
            if misnamed:
                found = wrong.setdefault(key, {})
                wrong[key] = {"_schema": [misnamed], **found} if isinstance(found, dict) else [misnamed, *found]
        if len(value) < at_least:
            raise ValidationError("is empty: it needs at least one entry")
        if wrong:
            raise ValidationError(wrong, valid_data=result)
        return result

    return convert


def many(field: Value, said: str, at_least: int = 1) -> Callable[[Any], list[Any]]:
    """Return what reads a list: `field` makes each item; `said` ends the sentence "must be …".

    The items that are valid, or what is valid of them, are kept at their places beside the mistakes; None for others.
    """

    @accepts(items(field, at_least))
    def convert(value: Any) -> list[Any]:
        if not isinstance(value, list) or len(value) < at_least:
            raise ValidationError(f"must be {said}")
        result: list[Any] = []
        wrong: dict[int, Any] = {}
        for index, item in enumerate(value):
            try:
                result.append(field.deserialize(item))
            except ValidationError as error:
                wrong[index] = error.messages
                result.append(error.valid_data)
        if wrong:
            raise ValidationError(wrong, valid_data=result)
        return result

    return convert


def by_key(error: ValidationError) -> dict[str, Any]:
    """Return the mistakes by key; those of the whole stand under "_schema"."""
    return dict(error.messages) if isinstance(error.messages, dict) else {"_schema": error.messages}


def loaded(load: Callable[[Any], Any], value: Any) -> tuple[Any, dict[str, Any]]:
    """Return the valid part of what `load` makes of a value, and the mistakes by key, to which more may be added."""
    try:
        return load(value), {}
    except ValidationError as error:
        return error.valid_data, by_key(error)


def checked(given: Any, wrong: dict[str, Any]) -> Any:
    """Return `given`; raise a ValidationError that keeps it if something is `wrong`."""
    if wrong:
        raise ValidationError(wrong, valid_data=given)
    return given
