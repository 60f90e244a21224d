"""How an execution ended, as it is written into Redis: RQ's result and our error."""

from __future__ import annotations

import json
import traceback
import zlib
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

from trigger.config.model import Retry
from trigger.inputs.masking import hidden
from trigger.store import CUT

# Longest output, error message and traceback that a record keeps, in bytes and characters.
MAX_OUTPUT = 1024 * 1024
MAX_MESSAGE = 4_000
MAX_TRACEBACK = 60_000

# In place of RQ's status: the run is broken off between two steps, and the execution goes back to its queue.
RELEASED = "released"
# Likewise: the process that ran it was killed, by nobody of ours.
CRASHED = "crashed"
# Likewise: it was not run, as this worker does not know its workflow, and is to come again after a pause.
UNKNOWN = "unknown"
# How long a worker that knows the workflow is waited for, and the first and the longest pause meanwhile, in seconds.
PATIENCE = 600.0
PAUSES = 1.0, 30.0
_INSTEAD = {
    "workflow": "rerun the execution by what replaces it",
    "callback": "have its execution call another one back when it runs again",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """RQ's status ("finished", "failed", "stopped"; "scheduled" for another attempt) and what goes with it, encoded as
    RQ encodes it. `pause` is the time to that attempt, in seconds.

    "scheduled" without an error is no other attempt: the execution goes on then from where it stands. RELEASED stands
    for one that is to go on at once, in another process, and CRASHED for one that has lost its process.
    """

    status: str
    return_value: str = ""
    error: str = ""
    exc_string: str = ""
    pause: float = 0.0


def unknown(
    name: str, version: str, accepted_by: str, waited: float, *, kind: Literal["workflow", "callback"] = "workflow"
) -> Outcome:
    """The outcome of a run that can't begin, as the worker's config, which has this version, lacks the workflow, or the
    callback: the process that has accepted the execution may be ahead of the worker. So it waits, and fails when it has
    waited for `waited` seconds in vain; `accepted_by` is the version that has accepted it."""
    if waited < PATIENCE:
        return Outcome(UNKNOWN, pause=min(max(PAUSES[0], waited / 10), PAUSES[1]))
    return failed(
        "WorkflowError",
        f"no worker knows the {kind} {name!r}: version {accepted_by or '(not known)'} of the config, which has "
        f"accepted the execution, names it; version {version}, which the workers have, does not, and for "
        f"{PATIENCE / 60:.0f} minutes no other came. Put the {kind} back, or {_INSTEAD[kind]}",
    )


def succeeded(output: Any, secrets: Iterable[str] = (), *, is_cut: bool = False) -> Outcome:
    """The outcome of a workflow that returned `output`; failed if that is not JSON.

    An output of more than MAX_OUTPUT bytes is replaced by a marker with its size and its beginning; `is_cut`: it is one
    already, of its last step.
    """
    try:
        text = json.dumps(output, allow_nan=False)
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        return failed("OutputError", f"The workflow's output is not JSON: {error}", secrets=secrets)
    return succeeded_with(CUT + text if is_cut else text, secrets)


def succeeded_with(text: str, secrets: Iterable[str] = ()) -> Outcome:
    """The outcome of a workflow whose output is this JSON text."""
    text = hidden(text, [json.dumps(secret)[1:-1] for secret in secrets])
    if len(text) > MAX_OUTPUT:
        text = truncated(len(text), text[:1000])
    return Outcome("finished", return_value="" if text == "null" else b64encode(text.encode()).decode())


def failed(
    kind: str,
    message: str,
    trace: str | None = None,
    *,
    secrets: Iterable[str] = (),
    status: str = "failed",
    step: str | None = None,
) -> Outcome:
    """The outcome of an execution that failed: the error's class and message, and for operators its traceback.

    `step` is the name of the step that failed, if it was one.
    """
    secrets = list(secrets)
    message = hidden(_printable(message), secrets)[:MAX_MESSAGE]
    trace = shortened(hidden(_printable(trace or f"{kind}: {message}"), secrets))
    return Outcome(
        status,
        error=json.dumps({"class": kind, "message": message} | ({"step": step} if step else {})),
        exc_string=b64encode(zlib.compress(trace.encode())).decode(),
    )


def described(error: BaseException) -> tuple[str, str, str]:
    """Return an exception as a record has it: the name of its class, its message, and its traceback."""
    try:
        message = str(error)
    except Exception:  # noqa: BLE001  the operator's exception class may fail at anything
        message = "(its message can't be shown)"
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return name, _printable(message), _printable(_trace(error))


def cancelled() -> Outcome:
    """The outcome of a run that was told to stop; by whom, the script that records it knows."""
    return failed("Cancelled", "Stopped by an operator", status="stopped")


def tried_again(result: Outcome, retry: Retry | None, failures: int) -> Outcome:
    """The outcome of an attempt that failed as the one after so many: another one later, if `retry` allows it."""
    pause = retry.pause(failures + 1) if retry is not None else None
    return result if pause is None else replace(result, status="scheduled", pause=pause)


def truncated(size: int, beginning: str) -> str:
    """The marker, as JSON text, that stands for an output of so many bytes, which are too many to be kept."""
    return CUT + json.dumps({"truncated": True, "bytes": size, "beginning": beginning})


def shortened(trace: str, more: int = 0) -> str:
    """A traceback without its middle, where it is too long to be kept; so many characters `more` of both parts, where
    secrets are still to be hidden in it."""
    half = MAX_TRACEBACK // 2 + more
    return trace if len(trace) <= 2 * half else trace[:half] + "\n… (shortened)\n" + trace[-half:]


def _trace(error: BaseException) -> str:
    """The traceback as text, without our and RQ's frames above the workflow's own."""
    trace = error.__traceback__
    while trace is not None and _is_plumbing(trace.tb_frame.f_globals.get("__name__", "")):
        trace = trace.tb_next
    return "".join(traceback.format_exception(type(error), error, trace or error.__traceback__))


def _is_plumbing(module: str) -> bool:
    return module.startswith(("trigger.worker.", "rq."))


def _printable(text: str) -> str:
    """The text without lone surrogates, which no encoding can write."""
    return text.encode("utf-8", "replace").decode()
