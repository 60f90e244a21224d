"""The input that one API accepts, compiled once from its declaration and applied to each call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from marshmallow import ValidationError

from trigger.config.model import Api
from trigger.errors import InvalidParams
from trigger.fields.compiled import by_path, compiled_members
from trigger.fields.model import Field, Input
from trigger.fields.nested import Object
from trigger.inputs.forms import Form

MAX_MISTAKES = 100  # fields named in one refusal


class Shape:
    """The input that one API accepts: `declared`, or any JSON when nothing is.

    `secrets` are the paths of the fields declared secret, "*" standing for each item of a list.

    Raises ValueError, naming the field, for a declaration that contradicts itself: a default, a choice or a bound that
    its own field would refuse, or a pattern that is no regular expression.
    """

    __slots__ = ("_members", "_object", "secrets")

    def __init__(self, declared: Input | None) -> None:
        self._members: Mapping[str, Field] = {}
        self._object: Object | None = None
        if declared is not None and declared.fields:
            self._members = {field.name: field for field in declared.fields}
            self._object = Object(compiled_members(declared.fields), declared.unknown)
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
            mistakes = dict(islice(by_path(error.messages, "").items(), MAX_MISTAKES))
            raise InvalidParams("The input is invalid", details={"fields": mistakes}) from None

    def _without_gaps(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Values that came as text, as JSON would have them where a form can't say it: see apply."""
        made = {}
        for name, value in values.items():
            kind = field.type if (field := self._members.get(name)) else "any"
            if value == "" and kind not in ("string", "any"):
                continue
            made[name] = [value] if kind == "list" and not isinstance(value, list) else value
        return made


def secret_paths(declared: Input | None) -> tuple[tuple[str, ...], ...]:
    """The paths of the fields declared secret, as Shape.secrets."""
    fields = declared.fields if declared is not None else ()
    return tuple(path for field in fields for path in _secret_paths(field, (field.name,)))


def secrets_of_debug(api: Api) -> tuple[tuple[str, ...], ...]:
    """The paths of what must not be shown of an API's debug data: secret fields, what came from outside the config."""
    return tuple(dict.fromkeys((*secret_paths(api.input), *api.outside)))


def _secret_paths(field: Field, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if field.secret:
        yield path
        return
    for member in field.fields:
        yield from _secret_paths(member, (*path, member.name))
    if field.of is not None:
        yield from _secret_paths(field.of, (*path, "*"))
