"""Counting the calls that a web process has answered, and keeping the last refused ones, beside the path of the calls.

A call only leaves a note here. A thread adds notes up and writes the sums to Redis about once a second, where those of
all processes come together. While Redis is away the sums are kept, which are as many as APIs have outcomes, and the
last refused calls; nothing else is.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import Counter, deque
from typing import NamedTuple

from redis import Redis
from redis.exceptions import RedisError

from trigger.config import Watcher
from trigger.config.model import Api
from trigger.errors import RequestError, TooManyRequests, Unauthorized
from trigger.store import calls
from trigger.store.refused import KEPT, Refused
from trigger.store.times import shown_ms

logger = logging.getLogger("trigger.tally")

# Seconds between two writes.
INTERVAL = 1.0
# Notes that may wait to be added up; more come in a second only from an attacker, and then the oldest are lost.
NOTES = 20_000
# Sums and refused calls in one batch: Redis serves nobody else meanwhile.
SUMS, REFUSALS = 500, 200


class Answered(NamedTuple):
    """A call that was answered.

    `path` is percent-encoded; `below`: it lies below the prefix of the APIs; `api`: the one it is, if there is one;
    `caller`: whose credentials it had, if they were right; `outcome`: what was made of it, if it was right;
    `seconds` is how long the answer took, without the wait for the end that the caller wanted; `wait_ended` is how that
    has ended.
    """

    method: str
    path: str
    below: bool
    api: Api | None
    client: str
    caller: str | None
    status: int
    refused: RequestError | None
    outcome: str
    seconds: float
    wait_ended: str | None = None


class _Note(NamedTuple):
    """The rest of it that is kept: how it counts, if it does, whose credentials it had, and a refusal, if operators
    want to see that.

    Without the error itself, which holds on to all that the call had in its hands.
    """

    api: str
    outcome: str | None
    caller: str | None
    status: int
    seconds: float
    refused: Refused | None
    wait_ended: str | None


class Tally:
    """Takes the notes of one web process; one for each, made after the fork."""

    def __init__(self, redis: Redis, watcher: Watcher) -> None:
        self._redis = redis
        self._watcher = watcher
        self._notes: deque[_Note] = deque(maxlen=NOTES)  # whose append and popleft are atomic
        self._outcomes: Counter[tuple[str, str]] = Counter()
        self._totals: Counter[str] = Counter()
        self._refused: deque[str] = deque(maxlen=KEPT)
        self._used: dict[tuple[str, str], int] = {}  # as many as the config has had callers
        self._edits = watcher.edits
        self._sender = secrets.token_hex(8)
        self._number = 1
        self._batch: calls.Batch | None = None  # is sent again until it is known to have been added
        self._in_touch = True
        self._flushing = threading.Lock()

    def note(self, call: Answered) -> None:
        """Takes a note of a call that was answered."""
        refused = call.refused
        name = f"{call.api.module}/{call.api.method}" if call.api else ""
        outcome = kept = None
        if refused:
            outcome = refused.code if call.below else None
            # Elsewhere only wrong credentials of operators are of interest: a browser has none when it first asks.
            if call.below or isinstance(refused, Unauthorized | TooManyRequests):
                kept = _kept(call, name, refused)
        elif call.below:
            outcome = call.outcome or None
        caller = call.caller if call.below else None
        if outcome or kept or caller:
            self._notes.append(_Note(name, outcome, caller, call.status, call.seconds, kept, call.wait_ended))

    def start(self) -> None:
        """Writes about once a second until the process ends."""
        threading.Thread(target=self._run, name="tally", daemon=True).start()

    def flush(self) -> None:
        """Writes all there is now. What can't be written is kept for the next time."""
        with self._flushing:
            self._add_up()
            try:
                while (batch := self._batch or self._next()) is not None:
                    self._batch = batch
                    calls.add(self._redis, self._sender, self._number, batch)
                    self._batch = None
                    self._number += 1
            except RedisError as error:
                if self._in_touch:
                    logger.warning("the figures of calls can't be written now, and are kept: %s", error)
                self._in_touch = False
            else:
                self._in_touch = True

    def _run(self) -> None:
        pause = threading.Event()
        while not pause.wait(INTERVAL):
            try:
                self.flush()
            except Exception:  # whatever it is, the next turn must come: without it nothing would be counted again
                logger.exception("calls could not be counted")

    def _add_up(self) -> None:
        for _ in range(len(self._notes)):
            self._count(self._notes.popleft())
        edits = self._watcher.edits
        for how, now, before in zip(edits._fields, edits, self._edits, strict=True):
            if now > before:
                self._totals[f"edits:{how}"] += now - before
        self._edits = edits

    def _count(self, note: _Note) -> None:
        if note.outcome:
            self._outcomes[note.api, note.outcome] += 1
            answered = "accepted" if note.refused is None else "refused" if note.status < 500 else "failed"
            for field, by in calls.took_fields(answered, note.seconds).items():
                self._totals[field] += by
        if note.wait_ended:
            self._totals[f"waits:{note.wait_ended}"] += 1
        if note.refused:
            self._refused.append(note.refused.packed())
        if note.caller and note.api:
            self._used[note.api, note.caller] = time.time_ns() // 1_000_000

    def _next(self) -> calls.Batch | None:
        """The next batch; None when nothing is left."""
        outcomes = [(api, outcome, self._outcomes.pop((api, outcome))) for api, outcome in list(self._outcomes)[:SUMS]]
        totals, self._totals = dict(self._totals), Counter()
        refused = [self._refused.popleft() for _ in range(min(len(self._refused), REFUSALS))]
        used = [(*name, self._used.pop(name)) for name in list(self._used)[:SUMS]]
        return calls.Batch(outcomes, totals, refused, used) if outcomes or totals or refused or used else None


def _kept(call: Answered, api: str, refused: RequestError) -> Refused:
    return Refused(
        time=shown_ms(time.time_ns() // 1_000_000),
        api=api,
        reason=refused.code,
        message=_message(refused, call.api),
        client=call.client,
        status=call.status,
        method=call.method,
        path=call.path,
    )


def _message(refused: RequestError, api: Api | None) -> str:
    """Return the message that the caller got, with the names of wrong fields. Names that only the caller has used are
    not repeated: they may be a secret in the wrong place."""
    if refused.reason:
        return f"{refused.message}: {refused.reason}"
    fields = (refused.details or {}).get("fields")
    if not fields or api is None:
        return refused.message
    declared = {field.name for field in api.input.fields} if api.input else set()
    first = [name.partition(".")[0] for name in fields if name]
    named = list(dict.fromkeys(name for name in first if name in declared))
    if others := sum(name not in declared for name in first):
        named.append(f"{others} unknown")
    return f"{refused.message}: {', '.join(named)}" if named else refused.message
