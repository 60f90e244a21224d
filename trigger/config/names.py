"""The names that the config gives, and those of Python that it uses."""

from __future__ import annotations

import builtins
import keyword
import re
import sys
from collections.abc import Callable

from trigger.config import forms
from trigger.config.forms import accepts
from trigger.config.scalars import shown

NAME = r"[A-Za-z0-9_.-]{1,64}"
QUEUE = r"[A-Za-z0-9_-]{1,64}"
STEP = r"[A-Za-z][A-Za-z0-9_]{0,63}"
VARIABLE = r"[A-Za-z_][A-Za-z0-9_]{0,127}"
REFERENCE_FORM = "'package.module:callable'"

_NAME = re.compile(NAME)
_QUEUE = re.compile(QUEUE)
_STEP = re.compile(STEP)
_VARIABLE = re.compile(VARIABLE)
_PYTHONS_OWN = sys.stdlib_module_names | set(sys.builtin_module_names) | set(dir(builtins))


def name(what: str, pattern: re.Pattern[str] = _NAME) -> Callable[[str], str | None]:
    """Says what is wrong with a name in the config."""
    allowed = "letters, digits, '_', '-' and '.'" if pattern is _NAME else "letters, digits, '_' and '-'"

    @accepts(forms.pattern(pattern.pattern))
    def check(text: str) -> str | None:
        if pattern.fullmatch(text) and text not in {".", ".."}:
            return None
        dots = ", and is not '.' or '..'" if pattern is _NAME else ""
        return f"the name of a {what} has {allowed}, from 1 to 64 of them{dots}"

    return check


@accepts(forms.pattern(QUEUE))
def queue(text: str) -> str:
    """The name of an RQ queue."""
    wrong = name("queue", _QUEUE)(text)
    if wrong:
        raise ValueError(wrong)
    return str(text)


@accepts(forms.pattern(STEP))
def step(text: str) -> str:
    """The name of a step, as templates use it."""
    if not _STEP.fullmatch(text):
        raise ValueError("the name of a step has letters, digits and '_', at most 64 of them, and begins with a letter")
    return str(text)


@accepts(forms.pattern(VARIABLE))
def variable(text: str) -> str | None:
    """Return what is wrong with the name of an environment variable, if anything."""
    if not _VARIABLE.fullmatch(text):
        return "the name of an environment variable has letters, digits and '_', and begins with none of the digits"
    if text.startswith("TRIGGER_"):
        return "the names that begin with TRIGGER_ are the service's own"
    return None


@accepts({"type": "string", "pattern": r"^[^:]+:[^:]+$", "examples": ["examples.hello:greet"]})
def reference(text: str) -> str:
    """The "package.module:callable" of a workflow. Only its form is checked here."""
    module, _, path = text.partition(":")
    parts = [*module.split("."), *path.split(".")]
    if not all(part.isidentifier() and not keyword.iskeyword(part) for part in parts):
        raise ValueError(f"{shown(text)} must be a callable of yours as {REFERENCE_FORM}, such as examples.hello:greet")
    if any(part.startswith("__") for part in path.split(".")):
        raise ValueError(f"{shown(text)} names something of Python's own; a workflow is a function of yours")
    if parts[0] in _PYTHONS_OWN:
        raise ValueError(f"{parts[0]!r} is Python's own; a workflow is a function of yours, in a package of yours")
    return str(text)
