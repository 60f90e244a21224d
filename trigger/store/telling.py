"""Waiting for what becomes of executions: Redis tells it, to any number of waiters of a process over one connection.

Each script that changes an execution publishes what has changed on the channel TOLD + uid: "end", "status", "steps" or
"log". A channel is listened to only while somebody waits for its execution. Messages get lost with the connection, and
come from nobody but our scripts; so all executions that are waited for are looked at, too: when Redis has begun to tell
of one, and then once a second, many in one round trip.
"""

from __future__ import annotations

import logging
import select
import socket
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from math import inf
from types import TracebackType
from typing import Any, cast

from redis import Redis
from redis.exceptions import RedisError, ResponseError

from trigger.store.keys import TOLD
from trigger.store.lua import load
from trigger.store.status import FINAL_OF_RQ
from trigger.store.stored import CHANGING

logger = logging.getLogger("trigger.store")

# Seconds between two looks, and before the connection is made anew.
LOOK_SECONDS = 1.0
# As many are looked at in one round trip.
LOOKED_AT = 50

_FINAL = frozenset(map(str.encode, FINAL_OF_RQ))
_LOOK = load("look", FIELDS=CHANGING)

# How many read at once what they were told of: all who wait for one execution are told at the same moment.
READERS = 16

END, LOG_GREW = b"end", b"log"


class Watch:
    """One who waits for news of executions. Close it, or use it in a `with`.

    `left`: nothing is to be waited for any more, whatever comes. `only_log`: all that the last wait was told is that
    the log has grown.
    """

    def __init__(self, news: News, uids: Collection[str], *, only_end: bool) -> None:
        self.uids = frozenset(uids)
        self.only_end = only_end
        self.left = False
        self.only_log = False
        self._news = news
        self._more = self._known = 0  # how often it was told more than that the log has grown
        self._came = threading.Event()

    def wait(self, seconds: float) -> bool:
        """Wait for news that nobody has waited for yet, at most so long, and return whether there may be some.

        It returns at once when the watch was left.
        """
        came = self.left or self._came.wait(max(0.0, seconds))
        self._came.clear()
        more = self._more
        self.only_log, self._known = came and more == self._known, more
        return came and not self.left

    def tell(self, said: bytes) -> None:
        """Wake who waits, or who will: there is news."""
        self._more += said != LOG_GREW
        self._came.set()

    @property
    def turns(self) -> threading.BoundedSemaphore:
        """What to hold while one reads what has changed; see News."""
        return self._news.turns

    def leave(self) -> None:
        """Wake who waits: it is to be over."""
        self.left = True
        self._came.set()

    def close(self) -> None:
        """Give the place back."""
        self._news.forget(self)

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class News:
    """News of executions for those who wait in this process, `places` of them at most.

    A thread listens and looks; it is started for the first who waits. `redis` makes its connection, and is asked when
    it looks. Whoever was told something holds one of the `turns` while it reads what: else all would want a connection
    at once, and one that waits too long for one would take Redis for hung.
    """

    def __init__(self, redis: Redis, *, places: float = inf) -> None:
        self._redis = redis
        self._places = places
        self.turns = threading.BoundedSemaphore(READERS)
        self._lock = threading.Lock()
        self._watches: set[Watch] = set()
        self._by_uid: dict[str, set[Watch]] = {}
        self._changed: set[str] = set()  # uids for which somebody has begun or ceased to wait
        self._stopped = False
        self._listener: _Listener | None = None

    @property
    def waiting(self) -> int:
        """How many wait now."""
        return len(self._watches)

    def watch(self, *uids: str, only_end: bool = False) -> Watch | None:
        """Return a watch over these executions, None when no place is free or the process stops.

        Redis may tell of it a moment later only, but nothing is missed: as soon as it does, there is news, unless
        `only_end` and none has ended.
        """
        watch = Watch(self, uids, only_end=only_end)
        with self._lock:
            if self._stopped or len(self._watches) >= self._places:
                return None
            self._watches.add(watch)
            for uid in watch.uids:
                self._by_uid.setdefault(uid, set()).add(watch)
            self._changed |= watch.uids
            if self._listener is None:
                self._listener = _Listener(self, self._redis)
                self._listener.start()
        self._listener.wake()
        return watch

    def forget(self, watch: Watch) -> None:
        """Take a watch away. Doing it again does no harm."""
        with self._lock:
            if watch not in self._watches:
                return
            self._watches.remove(watch)
            for uid in watch.uids:
                self._by_uid[uid].remove(watch)
                if not self._by_uid[uid]:
                    del self._by_uid[uid]
            self._changed |= watch.uids
        if self._listener is not None:
            self._listener.wake()

    def stop(self) -> None:
        """Let nobody wait any more, and end the thread."""
        with self._lock:
            self._stopped = True
            watches = list(self._watches)
        for watch in watches:
            watch.leave()
        if self._listener is not None:
            self._listener.wake()

    @property
    def stopped(self) -> bool:
        return self._stopped

    def changes(self) -> tuple[list[str], list[str]]:
        """Return for which executions somebody waits, and nobody any more, of those where that may have changed since
        it was asked last."""
        with self._lock:
            changed, self._changed = self._changed, set()
            return [uid for uid in changed if uid in self._by_uid], [uid for uid in changed if uid not in self._by_uid]

    def awaited(self) -> list[str]:
        """Return the executions that somebody waits for."""
        with self._lock:
            return list(self._by_uid)

    def tell(self, uid: str, said: bytes) -> None:
        """Tell those who wait for an execution what has changed; empty for anything."""
        with self._lock:
            watches = [watch for watch in self._by_uid.get(uid, ()) if said == END or not watch.only_end]
        for watch in watches:
            watch.tell(said)


@contextmanager
def alone(redis: Redis, *uids: str, only_end: bool = False) -> Iterator[Watch]:
    """Watch executions in a process that waits for nothing else."""
    news = News(redis)
    watch = news.watch(*uids, only_end=only_end)
    if watch is None:
        raise RuntimeError("there is always a place")
    try:
        yield watch
    finally:
        news.stop()


def awaited(redis: Redis) -> int:
    """Return how many executions somebody waits for news of, in all processes; 0 where Redis may not be asked."""
    try:
        return len(cast(list[bytes], redis.pubsub_channels(f"{TOLD}*")))
    except ResponseError:
        return 0


class _Listener:
    """The thread behind a News: nothing else touches its connection."""

    def __init__(self, news: News, redis: Redis) -> None:
        self._news = news
        self._redis = redis
        self._script = _LOOK.on(redis)
        self._connection: Any = None
        self._connect_at = 0.0
        self._look_at = 0.0
        self._asked: set[str] = set()  # the uids that Redis was asked to tell of
        self._doubtful: set[str] = set()  # those to look at: a message may have been missed
        self._seen: dict[str, bytes] = {}  # what the last look has found
        self._in_touch = True
        self._woken, self._waker = socket.socketpair()
        for end in (self._woken, self._waker):
            end.setblocking(False)

    def start(self) -> None:
        threading.Thread(target=self._run, name="news", daemon=True).start()

    def wake(self) -> None:
        """Have the thread see what is waited for now."""
        try:
            self._waker.send(b"+")
        except OSError:
            pass  # it was told often enough, or has ended

    def _run(self) -> None:
        while not self._news.stopped:
            try:
                self._turn()
            except Exception:  # whatever it is, the next turn must come: without it nobody would be told anything again
                logger.exception("waiters could not be told")
                time.sleep(LOOK_SECONDS)
        self._disconnect()
        for end in (self._woken, self._waker):
            end.close()

    def _turn(self) -> None:
        awaited = self._news.awaited()
        try:
            self._ask(awaited)
            self._rest(LOOK_SECONDS if awaited else None)
            self._hear()
        except (RedisError, OSError) as error:
            if self._in_touch and awaited:
                logger.warning("Redis does not tell now what becomes of executions; they are looked at: %s", error)
            self._in_touch = self._in_touch and not awaited
            self._disconnect()
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + LOOK_SECONDS
            self._doubtful.update(awaited)
        self._look()

    def _ask(self, awaited: Collection[str]) -> None:
        """Ask Redis to tell of what is waited for, and of nothing else."""
        new, gone = self._news.changes()
        for uid in (*new, *gone):  # whoever waits anew is told of what is there, too
            self._seen.pop(uid, None)
        self._doubtful.update(uid for uid in new if uid in self._asked or self._connection is None)
        if self._connection is None:
            if not awaited or time.monotonic() < self._connect_at:
                return
            self._connect_at = time.monotonic() + LOOK_SECONDS
            pool = self._redis.connection_pool
            self._connection = pool.connection_class(**pool.connection_kwargs)
            self._connection.connect()
            new, gone = self._news.awaited(), []
            self._seen.clear()
        self._send("SUBSCRIBE", [uid for uid in new if uid not in self._asked])
        self._send("UNSUBSCRIBE", [uid for uid in gone if uid in self._asked])

    def _send(self, command: str, uids: Collection[str]) -> None:
        if uids:
            self._connection.send_command(command, *(TOLD + uid for uid in uids), check_health=False)
            self._asked.symmetric_difference_update(uids)

    def _rest(self, seconds: float | None) -> None:
        """Wait until Redis tells something, something else is waited for, or the time is over."""
        heard = [self._woken] if self._connection is None else [self._woken, self._connection._sock]
        select.select(heard, [], [], seconds)
        try:
            self._woken.recv(4096)
        except BlockingIOError:
            pass

    def _hear(self) -> None:
        while self._connection is not None and self._connection.can_read(timeout=0):
            kind, channel, said = self._connection.read_response(push_request=True)[:3]
            uid = channel.decode().removeprefix(TOLD)
            if kind == b"subscribe":
                self._in_touch = True
                self._doubtful.add(uid)
            elif kind == b"message":
                self._news.tell(uid, said)

    def _look(self) -> None:
        """Look at what may have changed without a message. While Redis is away there is no news."""
        doubtful = [uid for uid in self._news.awaited() if uid in self._doubtful] if self._doubtful else []
        self._doubtful.clear()
        for start in range(0, len(doubtful), LOOKED_AT):
            uids = doubtful[start : start + LOOKED_AT]
            try:
                found = self._script(more=uids)
            except RedisError:
                return
            for uid, text in zip(uids, found, strict=True):
                self._compare(uid, text)
            time.sleep(0)  # others have their turn

    def _compare(self, uid: str, text: bytes) -> None:
        ended = not text or text.partition(b" ")[0] in _FINAL  # or its record is gone
        if ended or self._seen.get(uid) != text:
            self._seen[uid] = text
            self._news.tell(uid, END if ended else b"")

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.disconnect()
        self._connection = None
        self._asked.clear()
