"""Declared input fields: each declaration checked as a whole, so that no API can fail for its own declaration later.

What a declaration itself holds, its enum and its default, is read as a caller's value would be.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_args

from marshmallow import ValidationError

from trigger.config import hints
from trigger.config.forms import Named, accepts
from trigger.config.parts import Scalar, Strict, Value, by_key, did_you_mean, each
from trigger.config.references import Replaced
from trigger.config.scalars import boolean, free, integer, number, shown
from trigger.config.step_rules import texts
from trigger.fields.compiled import read_own, same
from trigger.fields.kinds import KINDS
from trigger.fields.model import MISSING, Field, FieldType, Unknown

TYPES: tuple[str, ...] = get_args(FieldType)
UNKNOWNS: tuple[str, ...] = get_args(Unknown)
MAX_LENGTH = 2**31 - 1
MAX_PATTERN = 1000  # characters

_NO_MAPPING = "must be a mapping that says the field's type, such as {type: string}"

# The types that each key of a declaration makes sense for; keys that are not here fit all.
FITS = {
    key: sorted(name for name, kind in KINDS.items() if key in kind.keys)
    for key in sorted(frozenset[str]().union(*(kind.keys for kind in KINDS.values())))
}
# What matches input, the `regex` package, reads more than `re` into other braces, fuzzy matching, and
# into "[:" in a class.
_BRACES_MEANT = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|(?<=.)\{(?:[0-9]+(?:,[0-9]*)?|,[0-9]+)\}", re.DOTALL)
_FIELD_NAME = re.compile(r"[^\W_]?[\w-]{1,63}")


def field_name(name: str) -> str | None:
    """Return what is wrong with a field's name, if anything."""
    if _FIELD_NAME.fullmatch(name):
        return None
    return "a field's name has letters, digits, '_' and '-', at most 64 of them"


def choice(options: tuple[str, ...], *, show: bool = True) -> Callable[[str], str]:
    """Reads one of a few words; `show`: whether a message may repeat another word."""

    @accepts({"enum": options})
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


@accepts(lambda: Named("field", _DECLARATION))
def declare(value: Any) -> Field:
    """Return the Field that one declaration stands for, with no name yet; ValidationError with all that is wrong."""
    if not isinstance(value, dict):
        raise ValidationError(_NO_MAPPING)
    wrong: dict[str, Any] = {}
    try:
        given = _DECLARATION.load(value)
    except ValidationError as error:
        wrong, given = by_key(error), error.valid_data
        if not isinstance(given, dict) or "type" not in given:
            raise
    kind = KINDS[given["type"]]
    for key in (value.keys() & FITS.keys()) - kind.keys:
        _add(wrong, key, f"does not fit type {given['type']}: it is for {', '.join(FITS[key])}")
        given.pop(key, None)
    given = {**kind.implied(value), **given}
    raw = {key: given.pop(key) for key in ("enum", "default") if key in given}
    if any(isinstance(text, Replaced) and text.outside for _, text in texts(raw)):
        given["secret"] = True  # what came from outside the file may be one
    field = Field(name="", **given)
    for key, clash in kind.clashes(field):
        _add(wrong, key, clash)
    if "enum" in raw:
        raw["enum"] = _enum(field, raw["enum"], wrong)
    if "default" in raw:
        raw["default"] = _default(field, raw["default"], None if "enum" in wrong else raw.get("enum"), wrong)
    if wrong:
        raise ValidationError(wrong)
    return replace(field, **raw) if raw else field


@accepts(lambda: Named("fields", {"type": "object", "additionalProperties": Value(declare)}))
def declared(value: Any) -> tuple[Field, ...]:
    """Return the Fields that an object's `fields` declare; ValidationError with all that is wrong, by name and key."""
    return tuple(replace(field, name=name) for name, field in _EACH(value).items())


def _typed(field: Field, value: Any) -> Any:
    """A raw value of the document as JSON, by the field's type: for a text, the characters that were written."""
    if str in KINDS[field.type].in_config and isinstance(value, str):
        return str(value)
    if isinstance(value, list) and field.of is not None:
        return [_typed(field.of, item) for item in value]
    if isinstance(value, dict) and field.fields:
        known = {member.name: member for member in field.fields}
        return {str(name): _typed(known[name], item) if name in known else free(item) for name, item in value.items()}
    return free(value)


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
        if value is None:
            found[index] = ["must not be null: say nullable: true"]
            continue
        try:
            value = read_own(field, value)
        except ValueError as error:
            found[index] = [str(error)]
        else:
            if any(same(value, member) for member in members):
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
        return read_own(replace(field, enum=enum), _typed(field, raw))
    except ValidationError as error:
        wrong["default"] = error.messages
    except ValueError as error:
        _add(wrong, "default", str(error))
    return MISSING


def _add(wrong: dict[str, Any], key: str, message: str) -> None:
    wrong[key] = [*wrong.get(key, []), message]


def _raw(value: Any) -> Any:
    return value


_EACH = each(Value(declare, error_messages={"null": _NO_MAPPING.replace("{", "{{").replace("}", "}}")}), field_name)
_length = integer(0, MAX_LENGTH)
_DECLARATION: Strict = Strict.from_dict(
    {
        "type": Scalar(choice(TYPES), required=True),
        "required": Scalar(boolean, metadata={"default": False}),
        "default": Value(_raw, allow_none=True),
        "enum": Value(_raw, {"type": "array", "minItems": 1}),
        "min": Scalar(number),
        "max": Scalar(number),
        "min_length": Scalar(_length),
        "max_length": Scalar(_length),
        "pattern": Scalar(pattern),
        "nullable": Scalar(boolean, metadata={"default": False}),
        "description": Scalar(str),
        "secret": Scalar(boolean, metadata={"default": False}),
        "fields": Value(declared),
        "unknown": Scalar(choice(UNKNOWNS)),
        "of": Value(declare),
    },
    name="Declaration",
)(
    hints.FIELD,
    {"dependentSchemas": {key: {"properties": {"type": {"enum": types}}} for key, types in FITS.items()}},
)
