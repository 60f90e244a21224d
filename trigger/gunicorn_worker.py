"""How gunicorn serves us: a request gets a thread when it is there, and what gunicorn refuses looks as if we had.

gunicorn's threaded worker gives a connection a thread before it knows what the client will send, and waits for the
client there: with 16 threads, 16 clients that dawdle stop the service. Here the main loop collects what comes without
waiting for anybody, and hands a request to a thread when all of it has arrived.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
import time
from collections.abc import Mapping
from functools import partial
from selectors import EVENT_READ
from socket import socket
from typing import Any

from gunicorn import glogging, util
from gunicorn.http import errors
from gunicorn.http.unreader import SocketUnreader
from gunicorn.workers.gthread import STOP_KEEPALIVE_LINGER, TConn, ThreadWorker

from trigger.errors import BadRequest, InternalError, RequestError

log = logging.getLogger("trigger.web")

# A client has this long to send a request, and a new connection this long to send anything.
REQUEST_SECONDS = 10.0
# Of a larger body, the thread reads the rest: few APIs accept one, and the others refuse it unread.
COLLECTED_BYTES = 1024 * 1024
RECEIVE_BYTES = 64 * 1024

_EXPECT = re.compile(rb"\r\nexpect:", re.IGNORECASE)
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,15})[ \t]*\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked[ \t]*\r\n", re.IGNORECASE)
_CHUNKED_END = b"0\r\n\r\n"


class SlowClientError(errors.NoMoreData, TimeoutError):
    """The client did not send its request in time: gunicorn closes the connection, a view answers 408."""


class Collector(SocketUnreader):
    """What came from a client: collected without waiting by the main loop, then read by a thread up to a deadline."""

    def __init__(self, sock: socket) -> None:
        super().__init__(sock)
        self.begin()

    def begin(self) -> None:
        """Turn to the next request; some of it may have come with the one before."""
        self.deadline = time.monotonic() + REQUEST_SECONDS
        self.came = bytearray(self.take_buffered())
        self._searched = 0
        self._body_at: int | None = None  # where the body begins, once the headers are here
        self._whole_at: int | None = None  # the size at which the request is whole; None: when its last chunk is here

    def collect(self) -> bool:
        """Take what has arrived; whether a thread can read the request now without waiting for the client."""
        try:
            piece = self.sock.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return self._is_whole()
        except OSError:
            return True
        self.came += piece
        return not piece or self._is_whole()

    def hand_over(self) -> None:
        """Let a thread read what was collected, and from the socket what is still to come."""
        self.unread(bytes(self.came))
        self.came.clear()

    def chunk(self, size_hint: int | None = None) -> bytes:
        """gunicorn's read from the socket, in a thread.

        Raises:
            SlowClientError: the request is not here by the deadline.
        """
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise SlowClientError
        self.sock.settimeout(left)
        try:
            return bytes(super().chunk(size_hint))
        except TimeoutError:
            raise SlowClientError from None

    def _is_whole(self) -> bool:
        # Only a guess, which decides when the parser is asked and nothing about what the parser makes of the request.
        if self._body_at is None:
            end = self.came.find(b"\r\n\r\n", self._searched)
            self._searched = max(0, len(self.came) - 3)
            if end < 0:
                return len(self.came) >= COLLECTED_BYTES
            self._body_at = end + 4
            self._whole_at = _expected_size(bytes(self.came[: self._body_at]))
        if self._whole_at is not None:
            return len(self.came) >= self._whole_at
        return self.came.endswith(_CHUNKED_END) or len(self.came) - self._body_at > COLLECTED_BYTES


def _expected_size(head: bytes) -> int | None:
    """Up to which size a request with these headers is collected; None: until its last chunk."""
    if _EXPECT.search(head):  # the client waits for our word before it sends the body
        return len(head)
    if found := _LENGTH.search(head):
        length = int(found[1])
        return len(head) + (length if length <= COLLECTED_BYTES else 0)
    return None if _CHUNKED.search(head) else len(head)


class Worker(ThreadWorker):
    """gunicorn's threaded worker, with the Collector in front of the threads and our errors behind them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._linger_until: float | None = None

    def enqueue_req(self, conn: TConn) -> None:
        """Give the connection's next request a thread, now or when it has arrived."""
        conn.init()
        if not isinstance(conn.parser.unreader, Collector):
            conn.parser.unreader = Collector(conn.sock)
        else:
            conn.parser.unreader.begin()
        conn.sock.setblocking(False)
        if conn.parser.unreader.collect():
            self._give_thread(conn)
            return
        conn.timeout = conn.parser.unreader.deadline
        self.pending_conns.append(conn)
        self.poller.register(conn.sock, EVENT_READ, partial(self.on_pending_socket_readable, conn))

    def on_pending_socket_readable(self, conn: TConn, client: socket) -> None:
        if conn.parser.unreader.collect():
            self.poller.unregister(client)
            self.pending_conns.remove(conn)
            self._give_thread(conn)

    def murder_pending(self) -> None:
        """End the wait for those who are too slow; when we stop, also for those who have not sent anything."""
        now = time.monotonic()
        if not self.alive:
            self._linger_until = self._linger_until or now + STOP_KEEPALIVE_LINGER
            overdue = [
                conn
                for conn in self.pending_conns
                if conn.timeout <= now or (self._linger_until <= now and not conn.parser.unreader.came)
            ]
        else:
            overdue = []
            for conn in self.pending_conns:  # in the order of their timeouts
                if conn.timeout > now:
                    break
                overdue.append(conn)
        for conn in overdue:
            self.poller.unregister(conn.sock)
            self.pending_conns.remove(conn)
            if conn.parser.unreader.came:
                self._give_thread(conn)  # it finds the deadline passed, and answers where an answer is due
            else:
                self.nr_conns -= 1
                conn.close()

    def _give_thread(self, conn: TConn) -> None:
        conn.parser.unreader.hand_over()
        super().enqueue_req(conn)

    def handle_error(self, req: object, client: socket, addr: Any, exc: Exception) -> None:
        """Answer, in the shape of all our errors, for a request that never reached a view."""
        refusal = _refusal(exc)
        address = addr[0] if isinstance(addr, tuple) else "unix"
        if isinstance(refusal, InternalError):
            log.error("%s", refusal.message, exc_info=exc)
        else:
            # Without what was sent: it may be a header with a secret in it.
            fields = {"status": refusal.status, "client": address, "error": f"{refusal.code}: {refusal.message}"}
            log.info(" ".join(f"{key}={value}" for key, value in fields.items()), extra={"fields": fields})
        try:
            util.write_nonblock(client, _response(refusal))
        except OSError as error:
            log.debug("the refusal did not reach %s: %s", address, error)


class ErrorLog(glogging.Logger):
    """gunicorn's own messages go where ours go."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        self.error_log.handlers.clear()
        self.error_log.propagate = True


_REFUSALS: Mapping[type[Exception], tuple[int, str]] = {
    errors.LimitRequestLine: (414, "The request line is too long"),
    errors.LimitRequestHeaders: (431, "There are too many headers, or one of them is too long"),
    errors.ExpectationFailed: (417, "Expect: only 100-continue can be met"),
    errors.UnsupportedTransferCoding: (501, "Transfer-Encoding: only chunked is understood"),
    errors.InvalidRequestLine: (400, "The request line can't be read"),
    errors.InvalidRequestMethod: (400, "The method is not one of HTTP's"),
    errors.InvalidHTTPVersion: (400, "The HTTP version is not served: send HTTP/1.1"),
    errors.InvalidHeader: (400, "A header can't be read"),
    errors.InvalidHeaderName: (400, "A header's name can't be read"),
    errors.ObsoleteFolding: (400, "A header is folded over several lines"),
}
_REASONS = {
    400: "Bad Request",
    414: "URI Too Long",
    417: "Expectation Failed",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
}


def _refusal(exc: Exception) -> RequestError:
    if type(exc) in _REFUSALS:
        status, message = _REFUSALS[type(exc)]
        return BadRequest(message, status=status)
    # The two that tell of an answer of ours are ours to mend; all others of this family are the client's.
    ours = (errors.InvalidResponseHeader, errors.InvalidResponseHeaderName, errors.ConfigurationProblem)
    if isinstance(exc, errors.ParseException) and not isinstance(exc, ours):
        return BadRequest("The request breaks HTTP's rules")
    return InternalError(f"Something went wrong here; the log has it under {secrets.token_hex(6)}")


def _response(refusal: RequestError) -> bytes:
    body = json.dumps({"response": {"error": {"code": refusal.code, "message": refusal.message}}}).encode()
    head = (
        f"HTTP/1.1 {refusal.status} {_REASONS[refusal.status]}\r\n"
        "Content-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n"
        "Cache-Control: no-store\r\n"
        "X-Content-Type-Options: nosniff\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode() + body
