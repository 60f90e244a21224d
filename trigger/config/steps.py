"""The schema of one step of a workflow. What steps mean together is in step_rules.py."""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable
from typing import Any

from marshmallow import ValidationError

from trigger import templates
from trigger.config import hints
from trigger.config.declarations import choice
from trigger.config.forms import Named, accepts, form_of
from trigger.config.interpreters import PROGRAM, misread, misused
from trigger.config.model import StepRetry
from trigger.config.names import REFERENCE_FORM, reference, step, variable
from trigger.config.parts import Partial, Scalar, Strict, Value, checked, each, loaded, many
from trigger.config.requests import STATUSES, request
from trigger.config.retrying import ATTEMPTS, backoff
from trigger.config.scalars import DAY, boolean, core, duration, free, shown
from trigger.config.texts import expression, passed, template

KINDS = ("python", "run", "http")
FORM = f"a mapping such as {{name: quote, python: {REFERENCE_FORM}}}"

_FITS = {"with": "python", "cwd": "run", "stdin": "run"}  # keys that make sense for one kind only
_CODES = {"run": (1, 255), "http": STATUSES}  # what a number in retry.on may be
_EXCEPTION = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
_NUMBER = re.compile(r"[0-9]{1,4}")
_PERCENT = re.compile(r"([0-9]{1,3}) ?%")


@accepts(lambda: Named("step", _STEP))
def read_step(value: Any) -> dict[str, Any]:
    """Return what a step declares, by key: `with`, `run` and `http` as their actions take them."""
    return _read(_STEP, value)


@accepts(lambda: Named("last_step", _LAST_STEP))
def read_last_step(value: Any) -> dict[str, Any]:
    """Return the same of a step that runs after a failure: these run in order."""
    return _read(_LAST_STEP, value)


def _read(schema: Strict, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValidationError(f"must be {FORM}")
    given, wrong = loaded(schema.load, value)
    kinds = [kind for kind in KINDS if kind in value]
    if len(kinds) > 1 or not (kinds or any(hints.word(key) in hints.MEANT for key in value)):
        wrong["_schema"] = [
            f"must have exactly one of python, run and http{', not ' if kinds else ''}{' and '.join(kinds)}"
        ]
    for key, kind in _FITS.items():
        if key in value and kinds and kind not in kinds:
            wrong[key] = [f"is for steps with {kind}"]
    retry = given.get("retry")
    if len(kinds) == 1 and isinstance(retry, StepRetry):
        unfit = _unfit_codes(kinds[0], retry)
        if unfit:
            wrong["retry"] = {"on": unfit}
    valid: dict[str, Any] = checked(given, wrong)
    return valid


def _unfit_codes(kind: str, retry: StepRetry) -> dict[int, list[str]]:
    wrong: dict[int, list[str]] = {}
    for index, item in enumerate(retry.on):
        if not item.isdigit():
            continue
        if kind not in _CODES:
            wrong[index] = ["a step with python fails with exceptions: name one, such as ConnectionError"]
        elif not _CODES[kind][0] <= int(item) <= _CODES[kind][1]:
            what = "an exit code" if kind == "run" else "a status"
            wrong[index] = [f"must be {what} from {_CODES[kind][0]} to {_CODES[kind][1]}, not {item}"]
    return wrong


@accepts({"type": "object"})
def _arguments(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValidationError("must be a mapping of the callable's arguments to values, such as {sku: A1}")
    given, wrong = loaded(lambda arguments: free(arguments, template), value)
    for name in value:
        if not name.isidentifier() or keyword.iskeyword(name):
            wrong[name] = ["can't be the name of an argument in Python: letters, digits and '_', no digit first"]
    valid: dict[str, Any] = checked(given or {}, wrong)
    return valid


_RUN = many(Scalar(passed), "a list of a program and its arguments, such as [scripts/tell.sh, A1]: no shell reads it")


@accepts(form_of(_RUN))
def _argv(value: Any) -> list[str]:
    found: list[str] = _RUN(value)
    if not found[0]:
        raise ValidationError({0: ["is empty: it must name a program"]})
    if templates.is_template(value[0]):
        raise ValidationError({0: [PROGRAM]})
    wrong = misread(found)
    if wrong:
        raise ValidationError({index: [message] for index, message in wrong.items()}, valid_data=found)
    return found


@accepts({"type": "string", "minLength": 1})
def _folder(text: str) -> str:
    if not text or "\0" in text:
        raise ValueError("must be a folder")
    if templates.is_template(text):
        raise ValueError("can't be a template")
    return str(text)


@accepts({"type": ["string", "integer"]})
def _one_of(text: str) -> str:
    if _NUMBER.fullmatch(text):
        return str(int(text))
    if not _EXCEPTION.fullmatch(text) or any(keyword.iskeyword(part) for part in text.split(".")):
        raise ValueError(
            "must be the name of an exception, an exit code or a status, such as ConnectionError or 503, "
            f"not {shown(text)}"
        )
    return str(text)


@accepts({"anyOf": [{"type": "number", "minimum": 0, "maximum": 1}, {"type": "string"}]})
def _jitter(text: str) -> float:
    percent = _PERCENT.fullmatch(text)
    value = int(percent[1]) / 100 if percent else core(text)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError(f"must be a share from 0 to 1, such as 0.2 or 20%, not {shown(text)}")
    return float(value)


@accepts(lambda: _RETRY)
def _retry(value: Any) -> StepRetry:
    given = _RETRY.load(value)
    return StepRetry(**{**given, "on": tuple(given.get("on", ()))})


@accepts(lambda: Named("environment", form_of(_VARIABLES)))
def _environment(value: Any) -> dict[str, str]:
    given, wrong = loaded(_VARIABLES, value)
    for name, text in list((given or {}).items()):
        misuse = misused(name, text)
        if misuse:
            wrong.setdefault(name, []).append(misuse)
            del given[name]
    valid: dict[str, str] = checked(given, wrong)
    return valid


_VARIABLES: Callable[[Any], dict[str, str]] = each(Scalar(passed), variable)
ENVIRONMENT = Partial(_environment)

_RETRY: Strict = Strict.from_dict(
    {
        "attempts": Scalar(ATTEMPTS, required=True),
        "backoff": Value(backoff),
        "jitter": Scalar(_jitter, metadata={"default": 0}),
        "on": Value(many(Scalar(_one_of), "a list such as [ConnectionError, 503]")),
    }
)(hints.RETRY)

_KEYS = {
    "name": Scalar(step, required=True),
    "python": Scalar(reference),
    "with": Partial(
        _arguments, metadata={"description": "The callable's arguments; without it, its argument is the input"}
    ),
    "run": Partial(_argv, metadata={"description": "A program and its arguments, without a shell"}),
    "cwd": Scalar(_folder, metadata={"description": "The folder to run in, relative to the config's"}),
    "stdin": Scalar(choice(("input", "body")), metadata={"default": "input"}),
    "http": Partial(request),
    "when": Scalar(expression),
    "needs": Value(many(Scalar(str, form_of(step)), "a list of steps, such as [quote]", at_least=0)),
    "timeout": Scalar(duration(1, 30 * DAY)),
    "retry": Value(_retry),
    "continue_on_error": Scalar(boolean, metadata={"default": False}),
    "env": ENVIRONMENT,
}
_TOGETHER = {
    "oneOf": [{"required": [kind]} for kind in KINDS],
    "dependentRequired": {key: [kind] for key, kind in _FITS.items()},
}
_STEP: Strict = Strict.from_dict(_KEYS)(hints.STEP, _TOGETHER)
_LAST_STEP: Strict = Strict.from_dict({key: field for key, field in _KEYS.items() if key != "needs"})(
    hints.LAST_STEP, _TOGETHER
)
