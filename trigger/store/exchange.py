"""A worker's one round trip to Redis: how an execution has ended, and that it takes the next.

RQ's own worker makes twenty for the same. All of it is one Lua script, and so one sync of the append-only file.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from typing import Any

from redis import Redis

from trigger.store import outcome
from trigger.store.lua import load
from trigger.store.outcome import Outcome
from trigger.store.script import Script, pack
from trigger.store.stored import TAKEN, Stored

# How often what RQ's tools show of a busy worker, its state and its counts, is written, in seconds.
TELL = 0.25

_EXCHANGE = load("exchange", FIELDS=TAKEN)
# In which order its arguments are packed here.
_PACKED = (
    *("queue", "worker", "lease", "err", "exc"),
    *("ended", "its_run", "status", "value", "its_err", "its_exc", "why", "pause"),
    *("run", "again", "succeeded", "failed", "worked", "tell", "shown"),
)

_NOTHING_ENDED = pack(*[b""] * 8)


@dataclass(frozen=True, slots=True)
class Ended:
    """A run of an execution that has ended. `seconds` is how long it took; `poison` says why its job is put aside as
    unreadable, if it is."""

    uid: str
    run: str
    result: Outcome
    seconds: float = 0.0
    poison: str = ""


@dataclass(frozen=True, slots=True)
class Taken:
    """An execution that this worker has now: the id of this run of it, and its job."""

    run: str
    job: Stored


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to it. `ended` is False when the run was no longer this worker's to end; `poisoned` are queue entries
    that were put aside as unreadable."""

    ended: bool
    taken: Taken | None
    poisoned: tuple[str, ...] = ()
    suspended: bool = False


@dataclass(slots=True)
class _Tally:
    """Figures of a worker that RQ's tools show, and that Redis has not been told yet."""

    succeeded: int = 0
    failed: int = 0
    seconds: float = 0.0
    shown: str = ""  # the worker's state
    since: float = field(default_factory=time.monotonic)

    def count(self, ended: Ended) -> None:
        self.seconds += ended.seconds
        if ended.result.status == "finished":
            self.succeeded += 1
        elif ended.result.error:
            self.failed += 1

    def is_due(self) -> bool:
        return self.seconds > 0 and time.monotonic() - self.since >= TELL


class Exchange:
    """Ends and takes executions for one worker. `lease` is how long one is its own without a beat, in seconds.

    A call may be repeated with the same arguments when its reply was lost: what it has done already it does not do
    again, and it takes the execution that it has taken.
    """

    def __init__(self, redis: Redis, queue: str, worker: str, *, lease: float) -> None:
        self._script = Script(redis, _EXCHANGE, _PACKED)
        unreadable = outcome.failed("UnreadableJob", "The job in Redis can't be read")
        self._same = pack(
            *map(str.encode, (queue, worker)),
            b"%d" % int(lease * 1000),
            *map(str.encode, (unreadable.error, unreadable.exc_string)),
        )
        self._unanswered: str | None = None  # the id of a take that has had no reply
        self._tally = _Tally()
        self._counted: Ended | None = None

    def __call__(self, ended: Ended | None = None, *, take: bool = True) -> Reply:
        """Ends what has ended, and takes the next execution if it is to.

        Raises what redis-py raises, also when the reply was lost.
        """
        tally = self._tally
        if ended is not None and ended is not self._counted:
            tally.count(ended)
            self._counted = ended
        repeated, run = self._unanswered is not None, ""
        if take:
            run = self._unanswered = self._unanswered or secrets.token_hex(6)
        ended_, told, taken = self._script(
            (
                self._same,
                _NOTHING_ENDED if ended is None else _packed(ended),
                pack(
                    run.encode(),
                    b"%d" % repeated,
                    b"%d" % tally.succeeded,
                    b"%d" % tally.failed,
                    b"%.6f" % tally.seconds,
                    b"%d" % (tally.is_due() or not take),
                    tally.shown.encode(),
                ),
            )
        )
        if take:
            self._unanswered = None
        self._counted = None
        reply = _reply(ended_, taken, run)
        if told:
            self._tally = _Tally(shown="busy" if reply.taken else "idle")
        return reply


def _packed(ended: Ended) -> bytes:
    result = ended.result
    texts = (
        ended.uid,
        ended.run,
        result.status,
        result.return_value,
        result.error,
        result.exc_string,
        ended.poison,
        str(int(result.pause * 1000)),
    )
    return pack(*map(str.encode, texts))


def _reply(ended: int, taken: Any, run: str) -> Reply:
    if taken is None:
        return Reply(bool(ended), None)
    if taken == b"suspended":
        return Reply(bool(ended), None, suspended=True)
    uid, values, poisoned = taken
    found = Taken(run, Stored.from_hash(uid.decode(), TAKEN, values)) if uid else None
    return Reply(bool(ended), found, tuple(entry.decode("utf-8", "replace") for entry in poisoned))
