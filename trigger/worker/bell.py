"""A bell that tells a worker that its queue holds something, without a wait that it could not leave."""

from __future__ import annotations

import time
from typing import Any

from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from trigger.workflows.loop import Loop

# How long Redis waits for work, and how much longer its answer is waited for, in seconds.
WAIT = 3
PATIENCE = 2.0


class Bell:
    """Rings when the queue `key` holds something.

    Redis is asked to move the queue's last entry onto itself (BLMOVE), which changes nothing and may be broken off at
    any moment. The answer comes on a connection that is used for nothing else, and the event loop waits for it.
    """

    def __init__(self, redis: Redis, key: str, loop: Loop) -> None:
        self._pool = redis.connection_pool
        self._key = key
        self._loop = loop
        self._connection: Any = None
        self._descriptor = -1
        self._asked_at: float | None = None  # None: there is no question open
        self._error: RedisError | None = None  # that came instead of an answer
        self.has_answered = False  # the last question was

    def is_awaited(self) -> bool:
        """Whether a question is open: until it is answered, the queue is empty. Raises what redis-py has raised instead
        of an answer, and ConnectionError when that is overdue."""
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        if self._asked_at is not None and time.monotonic() - self._asked_at > WAIT + PATIENCE:
            self.close()
            raise RedisConnectionError("Redis does not answer")
        return self._asked_at is not None

    def listen(self) -> None:
        """Asks. Raises what redis-py raises."""
        if self._connection is None:
            self._connection = self._pool.connection_class(**self._pool.connection_kwargs)
            self._connection.connect()
            self._descriptor = self._connection._sock.fileno()
            self._loop.add(self._descriptor, self._hear)
        self._connection.send_command("BLMOVE", self._key, self._key, "RIGHT", "RIGHT", WAIT)
        self._asked_at = time.monotonic()

    def _hear(self) -> None:
        """The end of a wait is all there is to say: the worker looks into its queue after each."""
        try:
            self._connection.read_response()
            self._asked_at, self.has_answered = None, True
        except RedisError as error:  # the next question is asked on another connection
            self.close()
            self._error, self.has_answered = error, False

    def close(self) -> None:
        """Closes the connection; the next question opens another."""
        if self._connection is not None:
            self._loop.remove(self._descriptor)
            self._connection.disconnect()
        self._connection, self._asked_at = None, None
