"""The threads that serve requests, and how an answer leaves: what gunicorn does around a request, with less of it.

gunicorn makes a future, a callback and a wake-up of the main loop for each request, reads its settings again and again,
and sends an answer's head and body in two pieces.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any

from gunicorn import util
from gunicorn.http import wsgi


class Settings:
    """gunicorn's settings, each looked up once: its parser asks for twenty of them at every request."""

    def __init__(self, cfg: Any) -> None:
        self._cfg = cfg

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._cfg, name)
        setattr(self, name, value)
        return value


class Threads:
    """A fixed number of threads that serve one connection after the other.

    Arguments: `count`; `serve`, which serves a connection's request, in a thread; `served`, which gets the connection
    and what `serve` returned, in the main loop, by `collect`: unless that is None.
    """

    def __init__(self, count: int, serve: Callable[[Any], Any], served: Callable[[Any, Any], None]) -> None:
        self._serve = serve
        self._served = served
        self._waiting: SimpleQueue[Any] = SimpleQueue()
        self._done: deque[tuple[Any, Any]] = deque()
        self._bell, self._rings = os.pipe()
        os.set_blocking(self._bell, False)
        os.set_blocking(self._rings, False)
        self._rung = False
        self._threads = [Thread(target=self._run, name=f"request-{n}", daemon=True) for n in range(count)]
        for thread in self._threads:
            thread.start()

    def fileno(self) -> int:
        """What becomes readable when there is something to collect."""
        return self._bell

    def put(self, conn: Any) -> None:
        """Give a connection the next free thread."""
        self._waiting.put(conn)

    def collect(self, _: object = None) -> None:
        """Take note of what has been served; in the main loop."""
        try:
            os.read(self._bell, 64)
        except BlockingIOError:
            pass
        self._rung = False  # not before: a ring that is read must not count as one to come
        while self._done:
            self._served(*self._done.popleft())

    def shutdown(self, *, wait: bool) -> None:
        """End each thread once it has served what it serves."""
        for _ in self._threads:
            self._waiting.put(None)
        for thread in self._threads if wait else ():
            thread.join()

    def _run(self) -> None:
        while (conn := self._waiting.get()) is not None:
            served = self._serve(conn)
            if served is None:
                continue
            self._done.append((conn, served))
            if not self._rung:  # else the main loop is about to look
                self._rung = True
                os.write(self._rings, b"\0")


class WholeResponse(wsgi.Response):
    """An answer that is sent at once, when all of it is there."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._body: list[bytes] = []

    def send_headers(self) -> None:
        """They wait for the body."""

    def _emit_body(self, data: bytes) -> None:
        self._body.append(data)

    def close(self) -> None:
        head = [*self.default_headers(), *[f"{name}: {value}\r\n" for name, value in self.headers], "\r\n"]
        self.headers_sent = True
        util.write(self.sock, b"".join(["".join(head).encode("latin-1"), *self._body]))
