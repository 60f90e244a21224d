"""How often something is tried, and the pauses between."""

from __future__ import annotations

from typing import Any

from marshmallow import ValidationError

from trigger.config import hints
from trigger.config.document import UNKNOWN
from trigger.config.forms import accepts, form_of, items
from trigger.config.model import Retry
from trigger.config.parts import Scalar, Strict, Value
from trigger.config.scalars import DAY, duration, integer

ATTEMPTS = integer(2, 100)
# What `backoff: exponential` stands for, in seconds; the last one repeats.
EXPONENTIAL = (*(float(2**power) for power in range(10)), 600.0)


_PAUSE = duration(1, 30 * DAY)


@accepts({"oneOf": [{"const": "exponential"}, form_of(_PAUSE), items(form_of(_PAUSE))]})
def backoff(value: Any) -> tuple[float, ...]:
    """`exponential`, or a list of pauses; one alone may stand for a list of it."""
    if value == "exponential":
        return EXPONENTIAL
    items = value if isinstance(value, list) else [value]
    wrong: dict[int, list[str]] = {}
    pauses = []
    for index, item in enumerate(items):
        try:
            if item is not UNKNOWN:
                pauses.append(_PAUSE(item if isinstance(item, str) else ""))
        except ValueError as error:
            wrong[index] = [str(error)]
    if wrong:
        raise ValidationError(wrong if isinstance(value, list) else wrong[0])
    if not pauses:
        raise ValidationError("must be exponential, or a list of pauses, such as [1s, 10s, 1m]")
    return tuple(pauses)


@accepts(lambda: _RETRY)
def retry(value: Any) -> Retry:
    """How often a workflow that fails is tried, and how long is waited before each further attempt."""
    return Retry(**_RETRY.load(value))


_RETRY: Strict = Strict.from_dict(
    {
        "attempts": Scalar(ATTEMPTS, required=True),
        "backoff": Value(backoff),
    }
)(hints.WORKFLOW_RETRY)
