"""Declared input fields: each declaration checked as a whole, so that no API can fail for its own declaration later."""

from __future__ import annotations

import datetime
import itertools
import re
import uuid
import warnings
from collections.abc import Callable, Mapping
from typing import Any, get_args

from marshmallow import ValidationError, validate

from trigger.config import hints
from trigger.config.document import UNKNOWN
from trigger.config.model import MISSING, Field, FieldType, Unknown
from trigger.config.parts import Scalar, Strict, Value, by_key, did_you_mean, each
from trigger.config.references import Replaced
from trigger.config.scalars import boolean, free, integer, number, shown
from trigger.config.step_rules import texts

TYPES: tuple[str, ...] = get_args(FieldType)
UNKNOWNS: tuple[str, ...] = get_args(Unknown)
MAX_LENGTH = 2**31 - 1
MAX_PATTERN = 1000  # characters

TEXTS = frozenset({"string", "date", "datetime", "email", "url", "uuid"})
NUMBERS = frozenset({"integer", "number"})
# Which types a key of a declaration makes sense for; keys that are not here fit all.
FITS = {
    "min": NUMBERS,
    "max": NUMBERS,
    "min_length": frozenset({"string", "email", "url", "list"}),
    "max_length": frozenset({"string", "email", "url", "list"}),
    "pattern": frozenset({"string"}),
    "enum": TEXTS | NUMBERS | {"any"},
    "fields": frozenset({"object"}),
    "unknown": frozenset({"object"}),
    "of": frozenset({"list"}),
}
# The JSON types that a value of each type may have in the config.
_PYTHON: Mapping[str, tuple[type, ...]] = {
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "object": (dict,),
    "list": (list,),
    **dict.fromkeys(TEXTS, (str,)),
}
_FORMS = {
    "date": "a date such as 2026-01-31",
    "datetime": "a date and time such as 2026-01-31T12:30:00Z",
    "email": "an e-mail address",
    "url": "a URL such as https://example.org/",
    "uuid": "a UUID",
}
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_DATETIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?([Zz]|[+-]\d\d:\d\d)?", re.ASCII)
# What matches input, the `regex` package, reads more than `re` into other braces, fuzzy matching, and
# into "[:" in a class.
_BRACES_MEANT = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|(?<=.)\{(?:[0-9]+(?:,[0-9]*)?|,[0-9]+)\}", re.DOTALL)
_FIELD_NAME = re.compile(r"[^\W_]?[\w-]{1,63}")


def field_name(name: str) -> str | None:
    """What is wrong with a field's name, if anything."""
    if _FIELD_NAME.fullmatch(name):
        return None
    return "a field's name has letters, digits, '_' and '-', at most 64 of them"


def choice(options: tuple[str, ...], *, show: bool = True) -> Callable[[str], str]:
    """Reads one of a few words; `show`: whether a message may repeat another word."""

    def convert(text: str) -> str:
        if text in options:
            return str(text)
        word = shown(text) if show else "this"
        found = "" if word == "this" else f", not {word}"
        raise ValueError(f"must be {', '.join(options[:-1])} or {options[-1]}{found}{did_you_mean(text, options)}")

    return convert


def pattern(text: str) -> str:
    """A regular expression, in Python's own syntax."""
    if len(text) > MAX_PATTERN:
        raise ValueError(f"must have at most {MAX_PATTERN} characters")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # of what is going to mean something else in `re`
            re.compile(text)
    except (re.error, OverflowError, RecursionError, Warning) as error:
        # The error may quote a piece of the pattern.
        reason = "" if isinstance(text, Replaced) else f": {error}"
        raise ValueError(f"is not a regular expression{reason}") from None
    if "{" in _BRACES_MEANT.sub("", text):
        raise ValueError(r"has a '{' that is no count such as {2,3}: a brace itself is written \{")
    if any("[:" in found[0][1:] for found in _BRACES_MEANT.finditer(text)):
        raise ValueError(r"has '[:' between [ and ]: a bracket itself is written \[")
    return str(text)


def declare(name: str, value: Any) -> Field:
    """The Field that one declaration stands for; ValidationError with all that is wrong with it, by key."""
    if value is UNKNOWN:
        raise ValidationError([])
    if not isinstance(value, dict):
        raise ValidationError("must be a mapping that says the field's type, such as {type: string}")
    wrong: dict[str, Any] = {}
    try:
        given = _DECLARATION.load(value)
    except ValidationError as error:
        wrong, given = by_key(error), error.valid_data
        if not isinstance(given, dict) or "type" not in given:
            raise
    kind = given["type"]
    for key in value.keys() & FITS.keys():
        if kind not in FITS[key]:
            _add(wrong, key, f"does not fit type {kind}: it is for {', '.join(sorted(FITS[key]))}")
            given.pop(key, None)
    if kind == "object" and "fields" not in value:
        given.setdefault("unknown", "keep")
    raw = {key: given.pop(key) for key in ("enum", "default") if key in given}
    if any(isinstance(text, Replaced) and text.outside for _, text in texts(raw)):
        given["secret"] = True  # what came from outside the file may be one
    field = Field(name=name, **given)
    _check_bounds(field, wrong)
    if "enum" in raw:
        raw["enum"] = _enum(field, raw["enum"], wrong)
    if "default" in raw:
        raw["default"] = _default(field, raw["default"], raw.get("enum"), wrong)
    if wrong:
        raise ValidationError(wrong)
    return Field(name=name, **given, **raw) if raw else field


def unfit(field: Field, value: Any) -> str | None:
    """Why `value`, of the config, can't be a value of `field`; None when it can."""
    if value is None:
        return None if field.nullable or field.type == "any" else "must not be null, for it is not nullable"
    expected = _PYTHON.get(field.type)
    if expected and (not isinstance(value, expected) or (isinstance(value, bool) and bool not in expected)):
        return f"must be {'an' if field.type[0] in 'aeio' else 'a'} {field.type}"
    if field.type in _FORMS and not _well_formed(field.type, value):
        return f"must be {_FORMS[field.type]}"
    if field.enum is not None and not any(_same(value, member) for member in field.enum):
        return "must be one of the enum"
    if field.min is not None and value < field.min:
        return f"must be at least {field.min}"
    if field.max is not None and value > field.max:
        return f"must be at most {field.max}"
    if field.min_length is not None and len(value) < field.min_length:
        return f"is shorter than {field.min_length}"
    if field.max_length is not None and len(value) > field.max_length:
        return f"is longer than {field.max_length}"
    if field.pattern is not None and not re.fullmatch(field.pattern, value):
        return "must match the pattern"
    if isinstance(value, list) and field.of is not None:
        return _first(
            f"item {index + 1} {unfit(field.of, item)}" for index, item in enumerate(value) if unfit(field.of, item)
        )
    if isinstance(value, dict) and field.type == "object":
        return _unfit_object(field, value)
    return None


def _unfit_object(field: Field, value: dict[str, Any]) -> str | None:
    known = {member.name: member for member in field.fields}
    return _first(
        itertools.chain(
            (f"lacks {name!r}" for name, member in known.items() if member.required and name not in value),
            (
                f"has {name!r}, which is not declared"
                for name in value
                if field.unknown == "reject" and name not in known
            ),
            (
                f"{name!r} {unfit(known[name], item)}"
                for name, item in value.items()
                if name in known and unfit(known[name], item)
            ),
        )
    )


def _typed(field: Field, value: Any) -> Any:
    """A raw value of the document as JSON, by the field's type: for a text, the characters that were written."""
    if field.type in TEXTS and isinstance(value, str):
        return str(value)
    if isinstance(value, list) and field.of is not None:
        return [_typed(field.of, item) for item in value]
    if isinstance(value, dict) and field.fields:
        known = {member.name: member for member in field.fields}
        return {str(name): _typed(known[name], item) if name in known else free(item) for name, item in value.items()}
    return free(value)


def _check_bounds(field: Field, wrong: dict[str, Any]) -> None:
    for low, high in (("min", "max"), ("min_length", "max_length")):
        least, most = getattr(field, low), getattr(field, high)
        if least is not None and most is not None and least > most:
            _add(wrong, low, f"must not be larger than {high}: {least} is larger than {most}")
    for key in ("min", "max"):
        if field.type == "integer" and isinstance(getattr(field, key), float):
            _add(wrong, key, "must be a whole number, for the type is integer")


def _enum(field: Field, raw: Any, wrong: dict[str, Any]) -> tuple[Any, ...] | None:
    if not isinstance(raw, list) or not raw:
        _add(wrong, "enum", "must be a list of the values allowed, with at least one")
        return None
    members: list[Any] = []
    found: dict[Any, Any] = {}
    for index, item in enumerate(raw):
        try:
            value = _typed(field, item)
        except ValidationError as error:
            found[index] = error.messages
            continue
        reason = "must not be null: say nullable: true" if value is None else unfit(field, value)
        if reason:
            found[index] = [reason]
        elif any(_same(value, member) for member in members):
            found[index] = ["is given twice"]
        members.append(value)
    if found:
        wrong["enum"] = found
    return tuple(members)


def _default(field: Field, raw: Any, enum: tuple[Any, ...] | None, wrong: dict[str, Any]) -> Any:
    if field.required:
        _add(wrong, "default", "a required field has no use for a default: take one of the two away")
        return MISSING
    try:
        value = _typed(field, raw)
    except ValidationError as error:
        wrong["default"] = error.messages
        return MISSING
    reason = unfit(field, value)
    if not reason and value is not None and enum is not None and not any(_same(value, member) for member in enum):
        reason = "must be one of the enum"
    if reason:
        _add(wrong, "default", reason)
    return value


def _well_formed(kind: str, text: str) -> bool:
    try:
        if kind == "date":
            return bool(_DATE.fullmatch(text)) and bool(datetime.date.fromisoformat(text))
        if kind == "datetime":
            return bool(_DATETIME.fullmatch(text)) and bool(datetime.datetime.fromisoformat(text.upper()))
        if kind == "uuid":
            return bool(uuid.UUID(text))
        if kind == "email":
            return bool(validate.Email()(text))
        return bool(validate.URL()(text))
    except (ValueError, ValidationError):
        return False


def _same(one: Any, other: Any) -> bool:
    """Equal as JSON: true is not 1."""
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _first(reasons: Any) -> str | None:
    return next(iter(reasons), None)


def _add(wrong: dict[str, Any], key: str, message: str) -> None:
    wrong[key] = [*wrong.get(key, []), message]


def _raw(value: Any) -> Any:
    return value


_length = integer(0, MAX_LENGTH)
_DECLARATION = Strict.from_dict(
    {
        "type": Scalar(choice(TYPES), required=True),
        "required": Scalar(boolean),
        "default": Value(_raw, allow_none=True),
        "enum": Value(_raw),
        "min": Scalar(number),
        "max": Scalar(number),
        "min_length": Scalar(_length),
        "max_length": Scalar(_length),
        "pattern": Scalar(pattern),
        "nullable": Scalar(boolean),
        "description": Scalar(str),
        "secret": Scalar(boolean),
        "fields": Value(lambda value: tuple(each(declare, field_name)(value).values())),
        "unknown": Scalar(choice(UNKNOWNS)),
        "of": Value(lambda value: declare("", value)),
    },
    name="Declaration",
)(hints.FIELD)
