"""The JSON Schemas that the config's schemas carry, from which the editors' is put together.

A form is a JSON Schema; in it may also stand a marshmallow schema or field of parts.py, a Named one, and a function
that returns a form, for what is defined further down. A reference such as ${NAME} fits in the place of a value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

Form = Any
_Function = TypeVar("_Function", bound=Callable[..., Any])

# An editor takes `token: 123456` for a number; to the config it is text.
TEXT: Mapping[str, Form] = {"type": ["string", "number", "boolean"]}
REFERENCE: Mapping[str, Form] = {"type": "string", "pattern": r"\$\{"}


@dataclass(frozen=True, slots=True)
class Named:
    """A form that is written once, under `$defs`, and may hold itself."""

    name: str
    form: Form


def accepts(form: Form) -> Callable[[_Function], _Function]:
    """Return a decorator that attaches to a function the form of what it accepts."""

    def attach(function: _Function) -> _Function:
        function.form = form  # type: ignore[attr-defined]
        return function

    return attach


def form_of(function: Callable[..., Any], default: Form = None) -> Form:
    """Return the form of what a function accepts; `default` if none is attached."""
    return getattr(function, "form", default)


def mapping(properties: Mapping[str, Form], required: Sequence[str]) -> Form:
    """Return the form of a mapping with these keys and no others."""
    form = {"type": "object", "properties": properties, "additionalProperties": False}
    return form | {"required": required} if required else form


def items(value: Form, at_least: int = 1) -> Form:
    """Return the form of a list."""
    return {"type": "array", "items": value, "minItems": at_least}


def pattern(expression: str) -> Form:
    """Return the form of a text that matches a regular expression as a whole."""
    return {"type": "string", "pattern": f"^({expression})$"}


def or_reference(form: Form) -> Form:
    """Return the form of a value, or of a reference to it."""
    return {"anyOf": [form, REFERENCE]}
