"""The calls of steps, for people: with `${NAME}` for what that gave, which may be secret."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any

from trigger.config.model import Action, HttpAction, PythonAction
from trigger.config.references import Replaced

LENGTH = 300  # characters of what a step calls

_USER = re.compile(r"(?<=://)[^/?#]*@")


def as_written(text: Any) -> str:
    """A text of the document with the names of its references in place of what they gave."""
    return text.written if isinstance(text, Replaced) else str(text)


def called(action: Action, raw: Mapping[str, Any]) -> str:
    """Return what a step calls: a callable with the names of its arguments, a program with its own, or a method and a
    URL (without the user and password that may be in it). `raw` is the step as the document has it."""
    if isinstance(action, PythonAction):
        arguments = "" if action.arguments is None else f"({', '.join(action.arguments)})"
        text = as_written(raw["python"]) + arguments
    elif isinstance(action, HttpAction):
        text = f"{action.method} {_USER.sub('***@', as_written(raw['http']['url']))}"
    else:
        text = shlex.join(as_written(part) for part in raw["run"])
    return text if len(text) <= LENGTH else f"{text[:LENGTH]}…"
