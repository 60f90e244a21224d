"""Runs an execution that calls back: one attempt to send, and when the next one is due.

The pauses are those that the examples of Standard Webhooks have, so that a receiver may be away for a day.
"""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from typing import Any

from redis.exceptions import RedisError, ResponseError

from trigger import store
from trigger.config.callbacks import goes_to
from trigger.config.model import CALLBACK, Callback
from trigger.store import log_reading, outcome
from trigger.store.outcome import CRASHED, RELEASED, Outcome
from trigger.workflows.attempts import Run, Tools
from trigger.workflows.http_answer import named
from trigger.workflows.letter import LINES, facts_left, facts_of, letter
from trigger.workflows.plain import run_alone
from trigger.workflows.report import Failure

# Seconds after each attempt that failed.
PAUSES = (5.0, 60.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0, 86_400.0)
# A pause is made longer by up to this share, at random: not all are to come back at once.
JITTER = 0.2
# The longest pause that a Retry-After may ask for, in seconds.
LONGEST = 86_400.0

# A host that has hung is left alone for so many seconds, so that it holds nobody up; each further time for twice as
# many, up to the longest.
LEFT_ALONE, LEFT_ALONE_AT_MOST = 60.0, 900.0
HOSTS = 1_000  # that are remembered

_GONE = 410
_HUNG, _ANSWERED = "AnswerTimeout", "UnexpectedStatus"


@dataclass(slots=True)
class _Hung:
    """A host that has not answered: since when, how long it is left alone, and until when, by the monotonic clock."""

    since: float
    pause: float
    until: float


class Receivers:
    """Which hosts have hung lately, as one worker knows them. Several callbacks may go to the same one."""

    def __init__(self) -> None:
        self._hung: dict[tuple[str, str, int], _Hung] = {}

    def why_not(self, callback: Callback) -> Failure | None:
        """Return why nothing is sent to the host of `callback` now; None where it is not left alone."""
        host, now = self._hung.get(goes_to(callback)), time.monotonic()
        if host is None or host.until <= now:
            return None
        silent, left = (max(1, math.ceil(seconds)) for seconds in (now - host.since, host.until - now))
        return Failure(_HUNG, f"not tried: its host has not answered for {silent} s, and is left alone for {left} s")

    def note(self, callback: Callback, result: Outcome, began: float) -> None:
        """Notes how an attempt that began then has ended. The first answer of a host, whatever it says, ends what is
        remembered of it."""
        host = goes_to(callback)
        kind = json.loads(result.error)["class"] if result.error else ""
        if kind == _HUNG:
            now, before = time.monotonic(), self._hung.pop(host, None)
            since = before.since if before else began
            pause = min(2 * before.pause, LEFT_ALONE_AT_MOST) if before else LEFT_ALONE
            self._hung[host] = _Hung(since, pause, now + pause)
            if len(self._hung) > HOSTS:
                del self._hung[next(iter(self._hung))]
        elif kind == _ANSWERED or result.status == "finished":
            self._hung.pop(host, None)


def run_callback(tools: Tools, receivers: Receivers, callback: Callback, of: str, run: Run) -> Outcome:
    """Tell `callback` how the execution `of` has ended. The log is written when this returns.

    While its host is left alone the attempt fails at once, unless an operator has asked for it.
    """
    if run.job.asked != run.job.attempt and (problem := receivers.why_not(callback)):
        return _tried_again(problem, run)
    began = time.monotonic()
    result = _sent(tools, callback, of, run)
    receivers.note(callback, result, began)
    return result


def _sent(tools: Tools, callback: Callback, of: str, run: Run) -> Outcome:
    try:
        facts = _facts(tools, callback, of)
    except ResponseError:  # a key of it is not what it should be, and will not become so
        facts = None
    except RedisError:
        return Outcome(RELEASED)
    if facts is None:
        noted = run.job.input
        facts = facts_left({**(noted if isinstance(noted, dict) else {}), "uid": of})
    ended = run_alone(tools, CALLBACK, CALLBACK.steps[0], run, letter=letter(callback, facts, time.time()))
    if isinstance(ended, Outcome):
        return ended
    attempt, told = ended
    if attempt.cause is not None:
        problem = Failure(_HUNG, f"no whole answer within {run.job.timeout:g} s")
        return _tried_again(problem, run)
    if told.failure is not None:
        return Outcome(CRASHED) if told.failure.crashed else _tried_again(told.failure, run)
    return _outcome(json.loads(told.output), callback, run)


def _facts(tools: Tools, callback: Callback, of: str) -> Mapping[str, Any] | None:
    record = store.read(tools.redis, of, tools.config.masked)
    if record is None:
        return None
    lines = log_reading.last(tools.redis, of, LINES) if "logs" in callback.include else ()
    return facts_of(record, callback.include, [line.as_json() for line in lines])


def _outcome(answer: Any, callback: Callback, run: Run) -> Outcome:
    status = answer["status"]
    if 200 <= status <= 299:
        return outcome.succeeded({"status": status}, run.secrets)
    said = f": {answer['said']}" if answer.get("said") else ""
    problem = Failure(_ANSWERED, f"the answer is {named(status) if callback.url else status}{said}")
    if status == _GONE:
        message = f"{problem.message}; it is not sent again"
        return outcome.failed(problem.kind, message, secrets=run.secrets)
    return _tried_again(problem, run, _seconds(answer.get("retry_after"), time.time()))


def _tried_again(failure: Failure, run: Run, least: float = 0.0) -> Outcome:
    """The outcome of an attempt that failed so: another one, after at least so many seconds, if there are any left."""
    result = outcome.failed(failure.kind, failure.message, failure.traceback, secrets=run.secrets)
    failures = run.job.failures
    if failures >= len(PAUSES):
        return result
    pause = PAUSES[failures] * random.uniform(1.0, 1.0 + JITTER)  # noqa: S311  no secret
    return replace(result, status="scheduled", pause=max(pause, least))


def _seconds(text: str | None, now: float) -> float:
    """The seconds of a Retry-After (RFC 9110, section 10.2.3), bounded; 0 where it says none."""
    if text is None:
        return 0.0
    if text.isascii() and text.isdigit():
        return min(float(text), LONGEST)
    try:
        moment = parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return 0.0
    return min(max(0.0, moment - now), LONGEST)
