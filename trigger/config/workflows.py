"""The schema of an entry of `workflows`: one Python callable, or steps."""

from __future__ import annotations

from typing import Any

from marshmallow import ValidationError

from trigger.config import callbacks, hints
from trigger.config.forms import Named, accepts, form_of
from trigger.config.names import REFERENCE_FORM, queue, reference
from trigger.config.parts import Partial, Scalar, Strict, Value, checked, loaded, many
from trigger.config.retrying import retry
from trigger.config.scalars import DAY, duration, integer
from trigger.config.steps import ENVIRONMENT, FORM, read_last_step, read_step

MAX_PARALLEL = 64
MAX_STEPS = 1000
OF_STEPS = ("on_failure", "parallel", "env")  # keys that make sense only beside steps


@accepts(lambda: Named("workflow", {"oneOf": [form_of(reference), _WORKFLOW]}))
def workflow(value: Any) -> dict[str, Any]:
    """A workflow: "package.module:callable", or a mapping with it as `python`, or with `steps`."""
    if isinstance(value, str):
        try:
            return {"python": reference(value)}
        except ValueError as error:
            raise ValidationError(str(error)) from None
    if not isinstance(value, dict):
        raise ValidationError(f"must be {REFERENCE_FORM}, or a mapping with python: {REFERENCE_FORM} or with steps")
    given, wrong = loaded(_WORKFLOW.load, value)
    if ("python" in value) == ("steps" in value):
        wrong["_schema"] = [f"must have exactly one of python: {REFERENCE_FORM} and steps: a list of {FORM}"]
    elif "steps" not in value:
        for key in OF_STEPS:
            if key in value:
                wrong[key] = ["is for a workflow with steps"]
    valid: dict[str, Any] = checked(given, wrong)
    return valid


_STEPS = many(Partial(read_step), f"a list of steps, each {FORM}")


@accepts(form_of(_STEPS))
def _steps(value: Any) -> list[Any]:
    if isinstance(value, list) and len(value) > MAX_STEPS:
        raise ValidationError(f"has {len(value)} steps: a workflow may have {MAX_STEPS}")
    return _STEPS(value)


_WORKFLOW: Strict = Strict.from_dict(
    {
        "python": Scalar(reference),
        "description": Scalar(str),
        "timeout": Scalar(duration(1, 30 * DAY), metadata={"default": "10m"}),
        "queue": Scalar(queue),
        "retry": Value(retry),
        "parallel": Scalar(integer(1, MAX_PARALLEL), metadata={"default": 4}),
        "callback": callbacks.NAMES,
        "env": ENVIRONMENT,
        "steps": Partial(_steps),
        "on_failure": Partial(many(Partial(read_last_step), f"a list of steps, each {FORM}")),
    }
)(
    hints.WORKFLOW,
    {
        "oneOf": [{"required": ["python"]}, {"required": ["steps"]}],
        "dependentRequired": {key: ["steps"] for key in OF_STEPS},
    },
)
