"""What becomes of one attempt at a step, and how its process tells the runner: a letter, and JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from trigger.inputs.strict_json import depth
from trigger.worker.outcome import MAX_MESSAGE, MAX_OUTPUT, shortened, truncated

_DONE, _SKIPPED, _FAILED, _GIVEN = b"o", b"s", b"f", b"g"

# Longest note of what a step was given, in bytes: a pipe takes it whole, so the step need not wait for its reader.
MAX_GIVEN = 8 * 1024

# Longest report, in bytes: more is not read.
MAX_REPORT = MAX_OUTPUT + 64 * 1024

# How deep an output may be nested: more than anybody means, and less than what reads it bears.
MAX_DEPTH = 200

FALSE = "its `when` is false"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt failed. `kinds` are what `retry.on` may call it: names of its class and those above it, an exit
    code, a status. `again` is False for what would fail again in just the same way."""

    kind: str
    message: str
    traceback: str | None = None
    kinds: tuple[str, ...] = ()
    again: bool = True


@dataclass(frozen=True, slots=True)
class Report:
    """How an attempt ended: with an output (JSON text), skipped, or with a failure. `given` is what the step was given,
    as JSON text, where that is not the execution's own input."""

    output: str = field(default="null", repr=False)
    failure: Failure | None = None
    skipped: bool = False
    given: str | None = field(default=None, repr=False)


def done(output: Any) -> Report:
    """The report of a step that put out a value; a failure when that is no JSON, a marker when it is too large."""
    try:
        text = json.dumps(output, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        return Report(failure=Failure("OutputError", f"the output is not JSON: {error}", again=False))
    if _is_deep(text.encode()):
        return Report(
            failure=Failure("OutputError", f"the output is nested deeper than {MAX_DEPTH} levels", again=False)
        )
    return Report(output=text if len(text) <= MAX_OUTPUT else truncated(len(text), text[:1000]))


def note(given: Any) -> bytes:
    """What a step was given, as a process says it before it begins: then it is known however the step ends."""
    try:
        text = json.dumps(given, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError):
        return b""
    if len(text) > MAX_GIVEN:
        text = json.dumps({"truncated": True, "bytes": len(text)})  # its beginning might be that of a secret
    return _GIVEN + text.encode() + b"\n"


def noted(data: bytes) -> tuple[str | None, bytes]:
    """What `note` has said, if it has, and what came after it."""
    if data[:1] != _GIVEN:
        return None, data
    given, _, rest = data[1:].partition(b"\n")
    return given.decode("utf-8", "replace"), rest


def encode(report: Report) -> bytes:
    if report.skipped:
        return _SKIPPED
    failure = report.failure
    if failure is None:
        return _DONE + report.output.encode()
    parts = [
        failure.kind,
        _short(failure.message, MAX_MESSAGE),
        failure.traceback and shortened(failure.traceback),
        failure.kinds,
        failure.again,
    ]
    return _FAILED + json.dumps(parts).encode()


def decode(data: bytes) -> Report | None:
    """The report that was encoded so; None when it is none, or not a whole one."""
    letter, rest = data[:1], data[1:]
    try:
        if letter == _SKIPPED:
            return Report(skipped=True)
        if letter == _DONE:
            json.loads(rest)
            return Report(output=rest.decode())
        if letter == _FAILED:
            kind, message, traceback, kinds, again = json.loads(rest)
            return Report(failure=Failure(kind, message, traceback, tuple(kinds), again))
    except ValueError:
        pass
    return None


def parsed(data: bytes, size: int) -> str:
    """The output, as JSON text, of a program that wrote `size` bytes, of which `data` is the beginning.

    It is what it wrote when that is JSON, else its text without the line ends at its end; null for nothing.
    """
    text = data.decode("utf-8", "replace")
    if size > len(data) or size > MAX_OUTPUT:
        return truncated(size, text[:1000])
    text = text.strip("\r\n") if text.isspace() else text.rstrip("\r\n")
    if not text:
        return "null"
    try:
        if _is_deep(data):
            return json.dumps(text)
        return json.dumps(json.loads(text, parse_constant=_refuse), allow_nan=False, separators=(",", ":"))
    except ValueError:
        return json.dumps(text)


def as_kinds(kind: type[BaseException]) -> tuple[str, ...]:
    """The names by which `retry.on` may call an exception: its class's and those of the classes above it."""
    names: dict[str, None] = {}
    for one in kind.__mro__:
        if one not in (object, BaseException):
            names[one.__qualname__] = names[f"{one.__module__}.{one.__qualname__}"] = None
    return tuple(names)


def matches(kinds: Sequence[str], on: Sequence[str]) -> bool:
    """Whether a failure is one of those that are tried again; all are when `on` is empty."""
    return not on or not set(kinds).isdisjoint(on)


def _is_deep(data: bytes) -> bool:
    return data.count(b"[") + data.count(b"{") > MAX_DEPTH and depth(data) > MAX_DEPTH


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON number")


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
