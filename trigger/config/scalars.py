"""The scalars of the config, read from the characters that were written.

One function for each kind; the ValueError it raises says what would be right.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from typing import Any

from marshmallow import ValidationError

from trigger.config.document import UNKNOWN
from trigger.config.forms import accepts, form_of, or_reference
from trigger.config.references import Quoted, Replaced

SIZES = {"B": 1, "kB": 1000, "MB": 1000**2, "GB": 1000**3, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
DURATIONS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
DAY = DURATIONS["d"]  # seconds
MAX_INTEGER = 2**63 - 1
MAX_WORKERS = 64

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_A_NUMBER = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_SIZE = re.compile(r"([0-9]{1,15}) ?([A-Za-z]*)")
_DURATION = re.compile(r"([0-9]{1,9}) ?([a-z]+)")


def shown(value: object) -> str:
    """A value as a message may show it: quoted and shortened; not at all when it comes from outside the file."""
    if isinstance(value, Replaced) or not isinstance(value, str):
        return "this"
    text = value if len(value) <= 60 else value[:59] + "…"
    return ascii(text) if not text.isprintable() else repr(str(text))


@accepts(or_reference({"type": "boolean"}))
def boolean(text: str) -> bool:
    """`true` or `false`, in these letters only."""
    if text == "true":
        return True
    if text == "false":
        return False
    raise ValueError(f"must be true or false, {shown(text)} is neither")


def integer(low: int, high: int) -> Callable[[str], int]:
    """Reads whole numbers from `low` to `high`."""

    @accepts(or_reference({"type": "integer", "minimum": low, "maximum": high}))
    def convert(text: str) -> int:
        if not _INTEGER.fullmatch(text) or len(text) > 20 or not low <= int(text) <= high:
            raise ValueError(f"must be a whole number from {low} to {high}, not {shown(text)}")
        return int(text)

    return convert


_WORKERS = integer(1, MAX_WORKERS)


@accepts({"anyOf": [form_of(_WORKERS), {"const": "auto"}]})
def workers(text: str) -> int:
    """How many worker processes a queue has: a number, or `auto` for as many as there are cores that we may use."""
    if text == "auto":
        return min(MAX_WORKERS, len(os.sched_getaffinity(0)))
    try:
        return _WORKERS(text)
    except ValueError:
        raise ValueError(f"must be auto, or a whole number from 1 to {MAX_WORKERS}, not {shown(text)}") from None


@accepts({"type": ["number", "string"]})
def number(text: str) -> int | float:
    """A JSON number."""
    value = core(text)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"must be a number, not {shown(text)}")  # noqa: TRY004  # the kind all scalars' errors are of
    return value


def size(low: int, high: int) -> Callable[[str], int]:
    """Reads sizes such as "1 MiB" or "500 kB" (without a unit: bytes) into bytes, from `low` to `high`."""

    @accepts({"type": ["string", "integer"], "pattern": rf"^[0-9]+ ?({'|'.join(SIZES)})?$|\$\{{"})
    def convert(text: str) -> int:
        match = _SIZE.fullmatch(text)
        unit = SIZES.get(match[2] or "B") if match else None
        if match is None or unit is None:
            raise ValueError(f"must be a size such as '1 MiB', '512 KiB' or '100 B', not {shown(text)}")
        value = int(match[1]) * unit
        if not low <= value <= high:
            raise ValueError(f"must be from {_size(low)} to {_size(high)}")
        return value

    return convert


def duration(low: int, high: int) -> Callable[[str], float]:
    """Reads durations such as "7d", "10m" or "30s" into seconds, from `low` to `high` seconds."""

    @accepts({"type": "string", "pattern": rf"^[0-9]+ ?[{''.join(DURATIONS)}]$|\$\{{"})
    def convert(text: str) -> float:
        match = _DURATION.fullmatch(text)
        unit = DURATIONS.get(match[2]) if match else None
        if match is None or unit is None:
            raise ValueError(
                f"must be a duration with its unit (s, m, h, d, w) such as '30s' or '7d', not {shown(text)}"
            )
        value = int(match[1]) * unit
        if not low <= value <= high:
            raise ValueError(f"must be from {_duration(low)} to {_duration(high)}")
        return float(value)

    return convert


def core(text: str) -> Any:
    """Read a plain scalar by YAML 1.2's core schema (https://yaml.org/spec/1.2.2/#103-core-schema).

    Two departures: numbers with leading zeros stay text, since JSON has none and an article number 0123 is not 123;
    and what JSON can't carry exactly (.inf, .nan, whole numbers beyond 64 bits) is refused.
    """
    if text in {"true", "True", "TRUE"}:
        return True
    if text in {"false", "False", "FALSE"}:
        return False
    if _INTEGER.fullmatch(text) or _BASED.fullmatch(text):
        value = int(text, 0) if len(text) <= 66 else MAX_INTEGER + 1
        if not -MAX_INTEGER - 1 <= value <= MAX_INTEGER:
            raise ValueError("this whole number does not fit in 64 bits; quote it if it is a text")
        return value
    if _FLOAT.fullmatch(text):
        fraction = float(text)
        if not math.isfinite(fraction):
            raise ValueError("this number is too large; quote it if it is a text")
        return fraction
    if _NOT_A_NUMBER.fullmatch(text):
        raise ValueError("JSON has no infinity and no NaN; quote it if it is a text")
    return text


def free(value: Any, text: Callable[[str], str] = str) -> Any:
    """A free JSON value: quoted scalars are texts, plain ones what the core schema says.

    `text` reads each text of it. Raises marshmallow's ValidationError, with the place inside the value.
    """
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        result: dict[Any, Any] = {}
        wrong: dict[Any, Any] = {}
        for key, item in items:
            try:
                result[str(key) if isinstance(key, str) else key] = free(item, text)
            except ValidationError as error:
                wrong[key] = error.messages
        if wrong:
            raise ValidationError(wrong)
        return result if isinstance(value, dict) else list(result.values())
    if value is None or value is UNKNOWN:
        return None
    try:
        read = value if isinstance(value, Quoted) else core(value)
        return text(read) if isinstance(read, str) else read
    except ValueError as error:
        raise ValidationError(str(error)) from None


def _size(value: int) -> str:
    for unit in ("GiB", "MiB", "KiB"):
        if value >= SIZES[unit] and value % SIZES[unit] == 0:
            return f"{value // SIZES[unit]} {unit}"
    return f"{value} B"


def _duration(value: int) -> str:
    for unit in ("d", "h", "m"):
        if value >= DURATIONS[unit] and value % DURATIONS[unit] == 0:
            return f"{value // DURATIONS[unit]}{unit}"
    return f"{value}s"
