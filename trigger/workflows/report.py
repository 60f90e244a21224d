"""The end of one attempt at a step, and how its process tells the runner: a letter, and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from trigger.inputs.masking import hidden
from trigger.store.outcome import MAX_MESSAGE, MAX_OUTPUT, shortened, truncated
from trigger.strict_json import depth

_DONE, _CUT, _SKIPPED, _FAILED = b"o", b"t", b"s", b"f"

# Of an output that is too large so many characters are shown. More come from its process, so that a secret that runs
# over the cut can be hidden before it is made.
_SHOWN = 1_000
_BEGINNING = 16_000

# Longest note of what a step was given, in bytes: a pipe takes it whole, so the step need not wait for its reader.
MAX_GIVEN = 8 * 1024

# Longest report, in bytes: more is not read.
MAX_REPORT = MAX_OUTPUT + 64 * 1024

# How deep an output may be nested: more than anybody means, and less than what reads it bears.
MAX_DEPTH = 200

_encode = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode

FALSE = "its `when` is false"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt failed. `kinds` are what `retry.on` may call it: names of its class and those above it, an exit
    code, a status. `again` is False for what would fail again in just the same way. `crashed`: its process was killed,
    by somebody else than its worker."""

    kind: str
    message: str
    traceback: str | None = None
    kinds: tuple[str, ...] = ()
    again: bool = True
    crashed: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """How an attempt ended: with an output (JSON text), skipped, or with a failure.

    `size`, in bytes, is that of an output too large to be kept, of which `output` is the beginning. `given` is what the
    step was given, as JSON text, where that is not the execution's own input.
    """

    output: str = field(default="null", repr=False)
    size: int | None = None
    failure: Failure | None = None
    skipped: bool = False
    given: str | None = field(default=None, repr=False)


def done(output: Any) -> Report:
    """The report of a step that put out a value; a failure when that is no JSON, a marker when it is too large."""
    try:
        text = _encode(output)
    except (TypeError, ValueError, RecursionError) as error:
        return Report(failure=Failure("OutputError", f"the output is not JSON: {error}", again=False))
    if _is_deep(text.encode()):
        return Report(
            failure=Failure("OutputError", f"the output is nested deeper than {MAX_DEPTH} levels", again=False)
        )
    return Report(output=text) if len(text) <= MAX_OUTPUT else Report(output=text[:_BEGINNING], size=len(text))


def kept(report: Report, secrets: Iterable[str]) -> str:
    """The output that is kept, as JSON text: of one that is too large, a marker whose beginning hides secrets."""
    if report.size is None:
        return report.output
    return truncated(report.size, hidden(report.output, secrets)[:_SHOWN])


def note(given: Any) -> bytes:
    """Return a step's input as JSON. It is sent before the step begins, to be known however the step ends."""
    try:
        text = json.dumps(given, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError):
        return b"null"
    if len(text) > MAX_GIVEN:
        text = json.dumps({"truncated": True, "bytes": len(text)})  # its beginning might be that of a secret
    return text.encode()


def encode(report: Report) -> bytes:
    if report.skipped:
        return _SKIPPED
    failure = report.failure
    if failure is None:
        if report.size is not None:
            return _CUT + json.dumps([report.size, report.output]).encode()
        return _DONE + report.output.encode()
    parts = [
        failure.kind,
        failure.message[: MAX_MESSAGE + _BEGINNING],
        failure.traceback and shortened(failure.traceback, _BEGINNING),
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
        if letter == _CUT:
            size, beginning = json.loads(rest)
            return Report(output=str(beginning), size=int(size))
        if letter == _FAILED:
            kind, message, traceback, kinds, again = json.loads(rest)
            texts = (kind, message, *kinds) if traceback is None else (kind, message, traceback, *kinds)
            if all(isinstance(text, str) for text in texts):
                return Report(failure=Failure(kind, message, traceback, tuple(kinds), bool(again)))
    except (ValueError, TypeError, OverflowError, RecursionError):
        pass  # it was not the performer that has said that
    return None


def cut(failure: Failure, secrets: Iterable[str]) -> Failure:
    """A failure as it is kept: secrets are hidden, then what is too long is cut."""
    secrets = list(secrets)
    trace = failure.traceback and shortened(hidden(failure.traceback, secrets))
    return replace(failure, message=_short(hidden(failure.message, secrets), MAX_MESSAGE), traceback=trace)


def parsed(data: bytes, size: int) -> Report:
    """The report of a program that has ended well, and wrote `size` bytes, of which `data` is the beginning.

    Its output is what it wrote when that is JSON, else its text without the line ends at its end.
    """
    text = data.decode("utf-8", "replace")
    if size > len(data) or size > MAX_OUTPUT:
        return Report(output=text[:_BEGINNING], size=size)
    text = text.strip("\r\n") if text.isspace() else text.rstrip("\r\n")
    try:
        value = text if _is_deep(data) else json.loads(text, parse_constant=_refuse)
        return Report(output=json.dumps(value, allow_nan=False, separators=(",", ":")))
    except ValueError:
        return Report(output=json.dumps(text))


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
