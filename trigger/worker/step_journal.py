"""What the runner of steps writes into Redis: how far the execution is, and its log."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from trigger import executions
from trigger.executions.log import Log
from trigger.worker import step_scripts

logger = logging.getLogger("trigger.worker")

# The log is written so long after its lines came, so many lines each time; and the pauses after Redis did not take
# states, or lines. In seconds.
DELAY = 0.2
AT_ONCE = 2_000
PAUSE = 0.25
LOG_PAUSE = 1.0
# How long the end waits until the log can be written, in seconds.
PATIENCE = 30.0


class Journal:
    """The writings of one run of an execution. Nothing here waits, but for the end of the log.

    Arguments: `uid`, and `execution`, the id of the run; `limit`, how many bytes of the log are kept; `secrets`, which
    are masked in it; `about`, what lines of the service's log carry.
    """

    def __init__(
        self, redis: Redis, uid: str, execution: str, *, limit: int, secrets: Iterable[str], about: Mapping[str, Any]
    ) -> None:
        self.log = Log(redis, uid, execution, limit=limit, secrets=secrets, about=about)
        self.is_lost = False  # the execution is another run's
        self.save_at = 0.0  # when states may be written again, by the monotonic clock
        self.log_at: float | None = None  # when the log is to be written next
        self._uid = uid
        self._about = about
        self._execution = execution
        self._script = redis.register_script(step_scripts.SAVE)
        self._in_touch = True

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
        keys = [executions.JOB + self._uid, executions.STEPS + self._uid]
        fields = [part for pair in states.items() for part in pair]
        return bool(self._script(keys=keys, args=[self._execution, *fields]))

    def write_log(self) -> None:
        """Writes a part of the log, when it is time for it."""
        now = time.monotonic()
        if self.log_at is None and self.log.pending:
            self.log_at = now + DELAY
        if self.log_at is not None and now >= self.log_at:
            written = self.log.flush(AT_ONCE)
            self.log_at = now + (DELAY if written else LOG_PAUSE) if self.log.pending else None

    def end_log(self) -> None:
        """Writes all of the log, for as long as that may take."""
        give_up_at = time.monotonic() + PATIENCE
        while not self.log.flush() and not self.log.refused and time.monotonic() < give_up_at:
            time.sleep(PAUSE)
