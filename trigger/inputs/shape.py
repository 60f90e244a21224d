"""What one API accepts, compiled once from its declaration and applied to each call."""

from __future__ import annotations

import copy
import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

from marshmallow import ValidationError
from marshmallow import fields as marshmallow_fields

from trigger.config.model import MISSING, Api, Field, FieldType, Input
from trigger.errors import InvalidParams
from trigger.inputs import fields
from trigger.inputs.forms import Form

_TEXTS: Mapping[FieldType, type[fields.Text]] = {
    "string": fields.Text,
    "email": fields.Email,
    "url": fields.Url,
    "uuid": fields.Uuid,
    "date": fields.Date,
    "datetime": fields.DateTime,
}
_PLAIN: Mapping[FieldType, type[marshmallow_fields.Field[Any]]] = {
    "integer": fields.Integer,
    "number": fields.Number,
    "boolean": fields.Boolean,
    "any": fields.Anything,
}
MAX_MISTAKES = 100  # fields named in one refusal


class Shape:
    """What one API accepts: `declared`, or any JSON when nothing is.

    `secrets` are the paths of the fields declared secret, "*" standing for each item of a list.

    Raises ValueError, naming the field, for a declaration that contradicts itself: a default, a choice or a bound that
    its own field would refuse, or a pattern that is no regular expression.
    """

    __slots__ = ("_members", "_object", "secrets")

    def __init__(self, declared: Input | None) -> None:
        self._members: Mapping[str, Field] = {}
        self._object: fields.Object | None = None
        if declared is not None and declared.fields:
            self._members = {field.name: field for field in declared.fields}
            self._object = fields.Object(_compile_members(declared.fields), declared.unknown)
        self.secrets: tuple[tuple[str, ...], ...] = secret_paths(declared)

    def apply(self, body: Any, query: Mapping[str, Any]) -> Any:
        """The input that `body` and `query` make: merged, converted, with defaults, only JSON-able values.

        `body` is what parse_body gave, `query` what parse_query gave; where both have a name the body's value counts.
        Values of a Form and of a query came as text: among them an empty one stands for none unless its field is a
        string, and a single one for a list of one. JSON gets no such leniency.

        Raises InvalidParams; its details hold every mistake by the dotted path of the field, up to MAX_MISTAKES
        fields, the empty path standing for the input itself.
        """
        if isinstance(body, Form):
            body = self._without_gaps(body)
        if query and isinstance(body, dict):
            body = {**self._without_gaps(query), **body}
        if self._object is None:
            if query and not isinstance(body, dict):
                raise InvalidParams("Query parameters need a JSON object as the body: they are merged under it")
            return body
        if not isinstance(body, dict):
            raise InvalidParams("The input must be an object", details={"fields": {"": ["must be an object"]}})
        try:
            return self._object.deserialize(body)
        except ValidationError as error:
            mistakes = dict(islice(_flatten(error.messages, "").items(), MAX_MISTAKES))
            raise InvalidParams("The input is invalid", details={"fields": mistakes}) from None

    def _without_gaps(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Values that came as text, as JSON would have them where a form can't say it: see apply."""
        made = {}
        for name, value in values.items():
            kind = field.type if (field := self._members.get(name)) else "any"
            if value == "" and kind not in ("string", "any"):
                continue
            made[name] = [value] if kind == "list" and isinstance(value, str) else value
        return made


def secret_paths(declared: Input | None) -> tuple[tuple[str, ...], ...]:
    """The paths of the fields declared secret, as Shape.secrets."""
    fields = declared.fields if declared is not None else ()
    return tuple(path for field in fields for path in _secret_paths(field, (field.name,)))


def secrets_of_debug(api: Api) -> tuple[tuple[str, ...], ...]:
    """The paths of what must not be shown of an API's debug data: secret fields, what came from outside the config."""
    return tuple(dict.fromkeys((*secret_paths(api.input), *api.outside)))


def least_length(field: Field) -> int | None:
    """The fewest characters or items of a field's value, None for no bound.

    What is required must say something; `min_length: 0` allows "".
    """
    if field.type == "string" and field.required and field.min_length is None and field.enum is None:
        return 1
    return field.min_length


def _compile_members(declared: tuple[Field, ...]) -> dict[str, marshmallow_fields.Field[Any]]:
    members = {}
    for field in declared:
        try:
            members[field.name] = _compile(field)
        except ValueError as error:
            raise ValueError(f"{field.name}: {error}") from error
    return members


def _compile(field: Field) -> marshmallow_fields.Field[Any]:
    """The marshmallow field for a declared one; post_load runs after the bounds were checked."""
    options: dict[str, Any] = {"allow_none": field.nullable, "post_load": []}
    if field.min is not None or field.max is not None:
        options["validate"] = _range(field)
    if field.type in ("date", "datetime"):
        options["post_load"].append(dt.date.isoformat if field.type == "date" else dt.datetime.isoformat)
    if field.enum is not None:
        bare = replace(field, enum=None, required=False)
        choices = [_read_own(bare, "enum", choice) for choice in field.enum if choice is not None]
        options["post_load"].append(fields.OneOf(choices, shown=not field.secret))
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
        return fields.Items(_compile(field.of) if field.of else fields.Anything(allow_none=True), **lengths, **options)
    if field.type == "object":
        # Without declared members an object may have any.
        unknown = field.unknown if field.fields else "keep"
        return fields.Object(_compile_members(field.fields), unknown, **options)
    if field.type == "any":
        options["allow_none"] = True
    return _PLAIN[field.type](**options)


def _range(field: Field) -> Any:
    """The validator for min and max, which of a date or datetime are texts (or what YAML makes of them)."""
    bounds: list[Any] = [field.min, field.max]
    if field.type in ("integer", "number"):
        if not all(bound is None or isinstance(bound, int | float) for bound in bounds):
            raise ValueError("min and max must be numbers")
        return fields.in_range(field.min, field.max, str)
    if field.type not in ("date", "datetime"):
        raise ValueError("min and max are for numbers, dates and times; lengths have min_length and max_length")
    reader = _TEXTS[field.type]()
    texts = [bound.isoformat() if isinstance(bound, dt.date) else bound for bound in bounds]
    try:
        low, high = (None if text is None else reader.deserialize(text) for text in texts)
    except ValidationError as error:
        raise ValueError(f"min and max {error.messages[0]}") from None
    return fields.in_range(low, high, lambda bound: str(bound.isoformat()))


def _default(field: Field) -> Any:
    """What to pass as load_default: the default as a caller's value would be read, copied where it could be changed."""
    if field.default is None:
        return None
    value = _read_own(replace(field, default=MISSING, required=False), "default", field.default)
    return partial(copy.deepcopy, value) if isinstance(value, dict | list) else value


def _read_own(field: Field, key: str, value: Any) -> Any:
    """A value that the declaration itself holds, under `key`, read as a caller's would be."""
    try:
        return _compile(field).deserialize(value)
    except ValidationError as error:
        first = next(iter(_flatten(error.messages, "").items()))
        raise ValueError(": ".join(part for part in (key, first[0], first[1][0]) if part)) from None


def _secret_paths(field: Field, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if field.secret:
        yield path
        return
    for member in field.fields:
        yield from _secret_paths(member, (*path, member.name))
    if field.of is not None:
        yield from _secret_paths(field.of, (*path, "*"))


def _flatten(messages: Any, path: str) -> dict[str, list[str]]:
    """marshmallow's tree of messages as one level: dotted path to messages."""
    if isinstance(messages, list):
        return {path: messages}
    flat: dict[str, list[str]] = {}
    for name, inner in messages.items():
        for inner_path, found in _flatten(inner, f"{path}.{name}" if path else name).items():
            flat.setdefault(inner_path, []).extend(found)
    return flat
