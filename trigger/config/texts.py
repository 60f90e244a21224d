"""Texts and values of a workflow's steps that may hold templates."""

from __future__ import annotations

from typing import Any

from marshmallow import ValidationError

from trigger import templates
from trigger.config.forms import TEXT, accepts, items
from trigger.config.parts import Scalar
from trigger.config.references import Replaced
from trigger.config.scalars import free


def template(text: str) -> str:
    """A text that may hold templates. What references gave is data in it, and never read as a template."""
    if isinstance(text, Replaced):
        if text.template is None:
            raise ValueError(
                "a ${…} can't stand inside {{ }} or {% %}: declare it under env, as NAME: ${…}, and write env.NAME"
            )
        text = text.template
    for wrong in templates.check(str(text)):
        raise ValueError(wrong)
    return str(text)


def passed(text: str) -> str:
    """As `template`, for what a program is given: its arguments and environment."""
    if "\0" in text:
        raise ValueError("holds the character U+0000, which no program can be given")
    return template(text)


@accepts(
    {
        "type": "string",
        "pattern": r"^\{\{[\s\S]*\}\}\s*$",
        "description": "One expression: the step is skipped unless it is true",
        "examples": ["{{ input.count > 0 }}"],
    }
)
def expression(text: str) -> str:
    """A text that is one expression."""
    read = template(text)
    if not templates.is_expression(read):
        raise ValueError('must be one expression and nothing else, such as "{{ input.count > 0 }}"')
    return read


def data(value: Any) -> Any:
    """A free JSON value whose texts may hold templates."""
    return free(value, template)


@accepts({"oneOf": [TEXT, items(TEXT, 0)]})
def one_or_more(value: Any) -> str | list[str]:
    """A text that may hold templates, or a list of them."""
    if not isinstance(value, list):
        text: str = _TEXT.deserialize(value)
        return text
    found: list[str] = []
    wrong: dict[int, Any] = {}
    for index, item in enumerate(value):
        try:
            found.append(_TEXT.deserialize(item))
        except ValidationError as error:
            wrong[index] = error.messages
    if wrong:
        raise ValidationError(wrong)
    return found


_TEXT = Scalar(template)
