"""A client's connection: it is read and written up to deadlines, and holds nothing but itself.

The parser reads from it, through gunicorn's own interface. All connections of a process are in one Connections, which
bounds what they hold together: those that have waited longest for their clients are cut off first.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from socket import MSG_PEEK, SHUT_RDWR, SHUT_WR
from typing import Any

import gevent
from gevent.socket import wait
from gunicorn.http import errors
from gunicorn.http.unreader import SocketUnreader

# A client has this long to send a request, and a new connection this long to send anything.
REQUEST_SECONDS = 10.0
# A client that reads nothing of its answer for this long is cut off.
ANSWER_SECONDS = 10.0
# A connection that we closed stays half open this long, so that the client can read our answer (RFC 9112, 9.6).
PARTING_SECONDS = 2.0
# What all connections of a process may hold: bodies that are not complete, and answers that are not read.
ALL_HELD_BYTES = 24 * 1024 * 1024
# Of one connection this much counts at most: the description of 10,000 APIs alone has 27 MB, and is to arrive too.
COUNTED_BYTES = ALL_HELD_BYTES // 4
RECEIVE_BYTES = 64 * 1024

READ = 1  # libev's EV_READ

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class SlowClientError(errors.NoMoreData, TimeoutError):
    """The client did not send its request in time: the connection is closed, a view answers 408."""


class Connections(dict["Connection", None]):
    """The open connections of a process, in the order in which their present requests began."""

    held = 0  # bytes

    def cut_one(self) -> bool:
        """Cut off the connection that has waited longest for its client."""
        return self._cut_first(lambda connection: connection.waits)

    def hold(self, size: int, by: Connection) -> None:
        """Count what one of them holds more than before; to make room for it, cut off others that hold something."""
        self.held += size
        while self.held > ALL_HELD_BYTES and self._cut_first(lambda one: one.waits and one.held > 0 and one is not by):
            pass

    def _cut_first(self, may_be: Callable[[Connection], bool]) -> bool:
        for connection in self:
            if may_be(connection):
                connection.cut()
                return True
        return False

    def cut_idle(self) -> None:
        """Cut off the connections on which no request has begun, nor come without having been read."""
        for connection in [connection for connection in self if connection.idle and not connection.peek()]:
            connection.cut()


class Connection(SocketUnreader):
    """One of `others`, made of a gevent socket."""

    max_body_chunk = RECEIVE_BYTES

    def __init__(self, sock: Any, others: Connections) -> None:
        super().__init__(sock)
        self._others = others
        self._readable = gevent.get_hub().loop.io(sock.fileno(), READ)
        self.idle = True  # no byte of the present request has come
        self.waits = False  # for the client to send or to read
        self.held = 0
        self.deadline = 0.0
        self.expects_continue = False

    def begin(self, seconds: float) -> None:
        """Turn to the next request, which is to begin within `seconds`; some of it may have come with the last one."""
        self.end()
        self._others[self] = None
        self.idle = not self.buf.tell()
        self.deadline = time.monotonic() + (seconds if self.idle else REQUEST_SECONDS)

    def close(self) -> None:
        """Let go of all that the connection holds. Its socket is gevent's server's to close."""
        self.end()
        self._readable.close()

    def end(self) -> None:
        """Let go of the request."""
        self._hold(-self.held)
        self._others.pop(self, None)

    def chunk(self, size_hint: int | None = None) -> bytes:
        """Return what has come, once there is something; b"" at the end.

        Raises:
            SlowClientError: the request is not here by the deadline.
        """
        left = max(0.0, self.deadline - time.monotonic())
        if self.expects_continue and left:
            self.expects_continue = False
            self.send(_CONTINUE)
        self.sock.settimeout(left)
        self.waits = True
        try:
            if self.idle:  # most often nothing is there yet; and where it is, others get their turn first
                wait(self._readable, left, TimeoutError())
            piece: bytes = super().chunk(size_hint)
            self._hold(len(piece))
        except (TimeoutError, BlockingIOError):
            raise SlowClientError from None
        finally:
            self.waits = False
        if self.idle and piece:
            self.idle = False
            self.deadline = time.monotonic() + REQUEST_SECONDS
        return piece

    def send(self, data: bytes) -> None:
        """Send all of `data`.

        Raises:
            TimeoutError: the client has read nothing of it for ANSWER_SECONDS.
        """
        self.sock.settimeout(0.0)
        try:
            sent = self.sock.send(data)
        except BlockingIOError:
            sent = 0
        if sent == len(data):
            return
        self.sock.settimeout(ANSWER_SECONDS)
        self.waits = True
        self._hold(len(data))
        try:
            rest = memoryview(data)[sent:]
            while rest:
                rest = rest[self.sock.send(rest) :]
        finally:
            self.waits = False

    @contextmanager
    def watched(self, left: Callable[[], object]) -> Iterator[None]:
        """Call `left` when the client hangs up, or says that it sends nothing more, while its answer is made."""
        if not self.buf.tell():  # else its next request is here already
            self._readable.start(self._hear, left)
        try:
            yield
        finally:
            self._readable.stop()

    def _hear(self, left: Callable[[], object]) -> None:
        """Something has come, or the end. The loop calls this, where nothing may wait."""
        self._readable.stop()
        gevent.spawn(self._look, left)

    def _look(self, left: Callable[[], object]) -> None:
        if self.peek() == b"":  # else it is the next request
            left()

    def peek(self) -> bytes | None:
        """Return a byte of what has come and was not read yet, b"" at the end, None where nothing has come."""
        self.sock.settimeout(0.0)
        try:
            return bytes(self.sock.recv(1, MSG_PEEK))
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def part(self) -> None:
        """Close our side, and read on until the client has closed its own or its time is over."""
        self.idle = self.expects_continue = False
        self.deadline = time.monotonic() + PARTING_SECONDS
        try:
            self.sock.shutdown(SHUT_WR)
            while self.chunk(RECEIVE_BYTES):
                self._hold(-self.held)
                gevent.sleep(0)
        except OSError:
            pass  # it was gone, or took too long

    def cut(self) -> None:
        """End the connection while it waits: the greenlet that serves it finds the client gone."""
        self.end()
        try:
            self.sock.shutdown(SHUT_RDWR)
        except OSError:
            pass

    def _hold(self, size: int) -> None:
        size = min(size, COUNTED_BYTES - self.held)
        self.held += size
        self._others.hold(size, self)
