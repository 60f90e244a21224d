"""The journal that a run writes into Redis while it goes on: how far its steps are, and its log."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from trigger import store
from trigger.store.log import Log
from trigger.store.lua import load

logger = logging.getLogger("trigger.worker")

# The log is written so long after its lines came, so many lines each time; and the pauses after Redis did not take
# states, or lines. In seconds.
DELAY = 0.2
AT_ONCE = 2_000
PAUSE = 0.25
LOG_PAUSE = 1.0
# How long the end waits until the log can be written, in seconds.
PATIENCE = 30.0

SAVE = load("save_steps")


class Journal:
    """The writings of one run of an execution. Nothing here waits, but for the end of the log.

    Arguments: `uid`, and `run`, the id of the run; `limit`, how many bytes of the log are kept; `secrets`, which are
    masked in it; `about`, what lines of the service's log carry.
    """

    def __init__(
        self, redis: Redis, uid: str, run: str, *, limit: int, secrets: Iterable[str], about: Mapping[str, Any]
    ) -> None:
        self.is_lost = False  # the execution is another run's
        self.save_at = 0.0  # when states may be written again, by the monotonic clock
        self.log_at: float | None = None  # when the log is to be written next
        self._redis, self._uid, self._run = redis, uid, run
        self._limit, self._secrets, self._about = limit, secrets, about
        self._in_touch = True

    @cached_property
    def log(self) -> Log:
        """The execution's log; most executions write nothing, and it is not made for them."""
        about = dict(self._about)
        return Log(self._redis, self._uid, self._run, limit=self._limit, secrets=self._secrets, about=about)

    def save(self, states: Mapping[str, str]) -> bool:
        """Writes states by the names of their steps; False when that can't be done now, or when the run is lost."""
        if self.is_lost or time.monotonic() < self.save_at:
            return False
        try:
            self.is_lost = not self.call(states)
        except RedisError as error:
            if self._in_touch:
                logger.warning(
                    "the execution's steps can't be recorded: %s; trying until they are",
                    error,
                    extra={"fields": self._about},
                )
            self._in_touch = False
            self.save_at = time.monotonic() + PAUSE
            return False
        self._in_touch = True
        return not self.is_lost

    def call(self, states: Mapping[str, str]) -> bool:
        """One call of Redis; False when the execution is another run's. Raises RedisError."""
        fields = [part for pair in states.items() for part in pair]
        saved = self._save(job=store.JOB + self._uid, steps=store.STEPS + self._uid, run=self._run, more=fields)
        return bool(saved)

    @cached_property
    def _save(self) -> Callable[..., Any]:
        return SAVE.on(self._redis)

    def write_log(self) -> None:
        """Writes a part of the log, when it is time for it."""
        if "log" not in self.__dict__:
            return
        now = time.monotonic()
        if self.log_at is None and self.log.pending:
            self.log_at = now + DELAY
        if self.log_at is not None and now >= self.log_at:
            written = self.log.flush(AT_ONCE)
            self.log_at = now + (DELAY if written else LOG_PAUSE) if self.log.pending else None

    def end_log(self, wait: Callable[[float], None]) -> None:
        """Writes all of the log, for as long as that may take; `wait(seconds)` is called between two tries."""
        if "log" not in self.__dict__:
            return
        give_up_at = time.monotonic() + PATIENCE
        while not self.log.flush() and not self.log.refused and time.monotonic() < give_up_at:
            wait(PAUSE)
