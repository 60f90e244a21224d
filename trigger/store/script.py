"""Calling a Lua script in Redis with as little around it as can be.

redis-py's own script object costs a call more than the script costs Redis: a pool with a lock, a look at the socket,
events, retries, a pass over each argument. Here a call is one packed command, sent over a connection that nobody else
has meanwhile. Making, configuring and closing connections stays redis-py's.
"""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

from redis import Redis
from redis.connection import ConnectionInterface
from redis.exceptions import NoScriptError
from redis.exceptions import TimeoutError as RedisTimeoutError

from trigger.store.lua import Lua


def pack(*arguments: bytes) -> bytes:
    """Arguments as they are sent: RESP bulk strings (https://redis.io/docs/latest/develop/reference/protocol-spec)."""
    return b"".join([b"$%d\r\n%b\r\n" % (len(argument), argument) for argument in arguments])


CONNECTIONS = 64
PLACE_SECONDS = 0.5  # how long one of them is waited for


class Script:
    """A Lua script that takes no keys: what it touches, it names itself.

    `packed` are its arguments in the order in which they will be packed: raises ValueError when the script has others.

    May be called by several threads at once. It has connections of its own, made like those of `redis`; at most
    CONNECTIONS, for one of which others wait. It shares those of `beside`, where another script is given.
    """

    def __init__(self, redis: Redis, lua: Lua, packed: Sequence[str], beside: Script | None = None) -> None:
        if lua.keys or lua.arguments != tuple(packed):
            raise ValueError(f"the script takes {lua.arguments}, not {packed}")
        count, text = len(packed), lua.text
        self._pool = redis.connection_pool
        # The one used last comes first; behind those that were made are those that may be. Append and pop are atomic.
        self._idle: deque[ConnectionInterface | None] = beside._idle if beside else deque([None] * CONNECTIONS)
        digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest().encode()  # as Redis names scripts
        self._known = b"*%d\r\n" % (count + 3) + pack(b"EVALSHA", digest, b"0")
        self._new = b"*%d\r\n" % (count + 3) + pack(b"EVAL", text.encode(), b"0")

    def __call__(self, arguments: Iterable[bytes]) -> Any:
        """Calls the script with packed arguments, in any number of pieces, and returns its reply.

        Raises what redis-py raises. After a lost reply nobody can know whether the script has run.
        """
        command = b"".join(arguments)
        connection = self._free() or self._pool.connection_class(**self._pool.connection_kwargs)
        try:
            try:
                return _exchange(connection, self._known + command)
            except NoScriptError:
                return _exchange(connection, self._new + command)
        finally:
            self._idle.append(connection)

    def _free(self) -> ConnectionInterface | None:
        """An idle connection; None: one may be made."""
        deadline = time.monotonic() + PLACE_SECONDS
        while True:
            try:
                return self._idle.pop()
            except IndexError:
                if time.monotonic() > deadline:
                    raise RedisTimeoutError("all connections for this are in use") from None
                time.sleep(0.005)


def _exchange(connection: ConnectionInterface, command: bytes) -> Any:
    connection.send_packed_command((command,), check_health=False)
    return connection.read_response()
