"""The kinds of fields that hold others: lists and objects."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Self

from marshmallow import ValidationError, fields, missing

from trigger.fields.base import Kind, Schema, plural, within
from trigger.fields.model import Field, Unknown
from trigger.fields.plain import Anything

MAX_REPORTED = 20  # mistakes reported of one object's unknown fields, or of one list's items
MAX_ITEMS = 10_000  # of a list that declares no max_length
MAX_NAME = 64  # characters of an unknown name that are repeated


class Items(Kind):
    """A list of `item`s, between two lengths (MAX_ITEMS at most if not said); one too long isn't looked into.

    A million items would keep a web process busy for a second.
    """

    keys = frozenset({"min_length", "max_length", "of"})
    in_config = (list,)

    def __init__(
        self, item: fields.Field[Any], *, min_length: int | None = None, max_length: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.item = item
        self.min_length = min_length or 0
        self.max_length = MAX_ITEMS if max_length is None else max_length

    @classmethod
    def of(cls, field: Field, options: dict[str, Any], inner: Callable[[Field], Kind]) -> Self:
        item = inner(field.of) if field.of else Anything(allow_none=True)
        return cls(item, min_length=field.min_length, max_length=field.max_length, **options)

    @classmethod
    def in_json(cls, field: Field, inner: Callable[[Field], Schema]) -> Schema:
        item = {} if field.of is None else inner(field.of)
        return {"type": "array", "items": item, **within("Items", field.min_length, field.max_length, MAX_ITEMS)}

    @classmethod
    def in_text(cls, field: Field, inner: Callable[[Field], Schema | None]) -> Schema | None:
        """An empty list can't be told from none, and a single empty text counts as none: neither will do where the
        field is required."""
        item: Schema | None = {"type": "string"} if field.of is None else inner(field.of)
        if item is None or item.get("type") == "array":
            return None
        least = field.min_length
        if field.required:
            least = max(1, least or 0)
            if item.get("type") == "string" and "enum" not in item:
                item = {**item, "minLength": max(1, item.get("minLength", 0))}
        return {"type": "array", "items": item, **within("Items", least, field.max_length, None)}

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> list[Any]:
        if not isinstance(value, list):
            raise ValidationError("must be a list")
        if len(value) < self.min_length:
            raise ValidationError(f"must have at least {self.min_length:,} {plural('item', self.min_length)}")
        if len(value) > self.max_length:
            raise ValidationError(f"must have at most {self.max_length:,} {plural('item', self.max_length)}")
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


class Object(Kind):
    """An object of declared `members`; `unknown` says what becomes of others."""

    keys = frozenset({"fields", "unknown"})
    in_config = (dict,)

    def __init__(self, members: Mapping[str, fields.Field[Any]], unknown: Unknown, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.members = members
        self.unknown = unknown

    @classmethod
    def of(cls, field: Field, options: dict[str, Any], inner: Callable[[Field], Kind]) -> Self:
        members = members_of(field.fields, inner)
        return cls(members, field.unknown if members else "keep", **options)  # with none declared it may have any

    @classmethod
    def implied(cls, declaration: Mapping[str, Any]) -> dict[str, Any]:
        return {} if "fields" in declaration else {"unknown": "keep"}

    @classmethod
    def in_json(cls, field: Field, inner: Callable[[Field], Schema]) -> Schema:
        if not field.fields:
            return {"type": "object"}
        properties = {member.name: inner(member) for member in field.fields}
        return closed({"type": "object", "properties": properties}, field.fields, field.unknown)

    @classmethod
    def in_text(cls, field: Field, inner: Callable[[Field], Schema | None]) -> Schema | None:
        return None

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


def members_of(declared: Sequence[Field], compiled: Callable[[Field], Kind]) -> dict[str, Kind]:
    """Return what `compiled` makes of each declared field, by name; its ValueError names the field."""
    members = {}
    for field in declared:
        try:
            members[field.name] = compiled(field)
        except ValueError as error:
            raise ValueError(f"{field.name}: {error}") from error
    return members


def closed(schema: Schema, fields: Sequence[Field], unknown: Unknown) -> Schema:
    """Add to the schema of an object the names that are required, and whether there may be others."""
    if required := [field.name for field in fields if field.required]:
        schema["required"] = required
    if unknown == "reject":
        schema["additionalProperties"] = False
    return schema
