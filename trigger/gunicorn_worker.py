"""How gunicorn serves us: a request gets a thread when it is there, and what gunicorn refuses looks as if we had.

gunicorn's threaded worker gives a connection a thread before it knows what the client will send, waits for the client
there, and waits again, in its main loop, for the client to close: with 16 threads, 16 clients that dawdle stop the
service, or one that does not hang up. Here the main loop collects what comes, without waiting for anybody; a thread
gets a request when all of it has arrived. Time, memory and connections that a client can hold are bounded.
"""

from __future__ import annotations

import errno
import io
import json
import logging
import re
import time
from collections.abc import Callable, Mapping
from functools import partial
from itertools import takewhile
from selectors import EVENT_READ
from socket import SHUT_WR, socket
from threading import Lock
from typing import Any

from gunicorn import glogging, util
from gunicorn.http import errors, wsgi
from gunicorn.http.unreader import SocketUnreader
from gunicorn.workers.gthread import STOP_KEEPALIVE_LINGER, TConn, ThreadWorker

from trigger.errors import BadRequest, InternalError, RequestError
from trigger.executions import tracing
from trigger.gunicorn_threads import Settings, Threads, WholeResponse

log = logging.getLogger("trigger.web")

# A client has this long to send a request, and a new connection this long to send anything.
REQUEST_SECONDS = 10.0
# A connection that we closed stays half open this long, so that the client can read our answer (RFC 9112, 9.6).
PARTING_SECONDS = 2.0
# The rest of a larger body is read by the thread: few APIs accept one, and the others refuse it unread.
COLLECTED_BYTES = 1024 * 1024
# What all connections of one process may have collected. Beyond it, those that have waited longest are dropped.
ALL_COLLECTED_BYTES = 24 * 1024 * 1024
RECEIVE_BYTES = 16 * 1024
# Longer lines and trailers than these the parser refuses, whatever follows.
LINE_BYTES = 16 * 1024

_FRAMING = re.compile(
    rb"\r\n(?:content-length:[ \t]*([0-9]{1,15})[ \t]*(?=\r)|(transfer-encoding):[ \t]*chunked[ \t]*(?=\r)|(expect):)",
    re.IGNORECASE,
)
_CHUNK_SIZE = re.compile(rb"([0-9a-f]{1,15})[ \t]*(?:;.*)?", re.IGNORECASE | re.DOTALL)


class SlowClientError(errors.NoMoreData, TimeoutError):
    """The client did not send its request in time: gunicorn closes the connection, a view answers 408."""


class Collector(SocketUnreader):
    """What comes from a client: collected without waiting by the main loop, then read by a thread up to a deadline.

    Whether a request is whole is only a guess, made from its headers: it decides when the parser is asked, and nothing
    about what the parser makes of the request. In doubt it is whole.
    """

    buf: io.BytesIO  # gunicorn's: what a thread reads before it turns to the socket

    def __init__(self, sock: socket) -> None:
        super().__init__(sock)
        self.begin()

    def begin(self) -> None:
        """Turn to the next request; some of it may have come with the one before."""
        self.deadline = time.monotonic() + REQUEST_SECONDS
        self.came = bytearray(self.buf.getbuffer())
        self.buf = io.BytesIO()
        self._searched = 0
        self._body_at = 0  # where the body begins; 0 until the headers are here
        self._whole_at: int | None = None  # the size at which the request is whole; None: with its last chunk
        self._chunk_at = 0

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
        self.buf = io.BytesIO(self.came)
        self.came = bytearray()

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
        if not self._body_at:
            end = self.came.find(b"\r\n\r\n", self._searched)
            self._searched = max(0, len(self.came) - 3)
            if end < 0:
                return len(self.came) >= COLLECTED_BYTES
            self._body_at = self._chunk_at = end + 4
            self._whole_at = _expected_size(bytes(self.came[: self._body_at]))
        if self._whole_at is not None:
            return len(self.came) >= self._whole_at
        return len(self.came) - self._body_at > COLLECTED_BYTES or self._has_last_chunk()

    def _has_last_chunk(self) -> bool:
        """Whether a chunked body (RFC 9112, 7.1) is here to its end, or breaks the rules."""
        while self._chunk_at < len(self.came):
            end = self.came.find(b"\r\n", self._chunk_at, self._chunk_at + LINE_BYTES)
            if end < 0:
                return len(self.came) - self._chunk_at >= LINE_BYTES
            found = _CHUNK_SIZE.fullmatch(self.came, self._chunk_at, end)
            if not found:
                return True
            size = int(found[1], 16)
            if size == 0:  # trailers may follow, up to an empty line
                return self.came.find(b"\r\n\r\n", end) >= 0 or len(self.came) - end >= LINE_BYTES
            self._chunk_at = end + 2 + size + 2
        return False


def _expected_size(head: bytes) -> int | None:
    """Up to which size a request with these headers is collected; None: until its last chunk."""
    expected: int | None = len(head)
    for length, chunked, expect in _FRAMING.findall(head):
        if expect:  # the client waits for our word before it sends the body
            return len(head)
        if chunked:
            expected = None
        elif int(length) <= COLLECTED_BYTES:
            expected = len(head) + int(length)
    return expected


class Connection(TConn):
    """gunicorn's connection, with a Collector, which leaves parting in peace to the worker."""

    def __init__(self, cfg: Any, sock: socket, client: Any, server: Any, part: Callable[[socket], None]) -> None:
        super().__init__(cfg, sock, client, server)
        self._part = part
        self._keepalive: float = cfg.keepalive  # a look at gunicorn's settings is not a cheap one
        self.init()
        self.collector = self.parser.unreader = Collector(sock)

    def set_timeout(self) -> None:
        self.timeout = time.monotonic() + self._keepalive

    def close(self, graceful: bool = False) -> None:
        if graceful:
            self._part(self.sock)
        else:
            super().close()


class Worker(ThreadWorker):
    """gunicorn's threaded worker, with the Collector in front of the threads and our errors behind them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._collected = 0  # bytes, of all connections
        self._parting: dict[socket, float] = {}  # when each is closed at last, in that order
        self._linger_until: float | None = None  # set when we stop
        self._settings = Settings(self.cfg)
        self._keeping = Lock()  # that each of keepalived_conns is in the poller too

    def get_thread_pool(self) -> Threads:
        return Threads(self.cfg.threads, self._serve, self.finish_request)

    def run(self) -> None:
        self.poller.register(self.tpool, EVENT_READ, self.tpool.collect)
        super().run()

    def accept(self, listener: socket) -> None:
        try:
            sock, address = listener.accept()
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EWOULDBLOCK, errno.ECONNABORTED):
                raise
            return
        self.nr_conns += 1
        self._make_room()
        self.enqueue_req(Connection(self._settings, sock, address, listener.getsockname(), self._part))

    def enqueue_req(self, conn: Connection) -> None:
        """Give the connection's next request a thread, now or when it has arrived."""
        conn.collector.begin()
        self._collected += len(conn.collector.came)
        conn.sock.settimeout(0)
        if self._collect(conn):
            self._give_thread(conn)
            return
        conn.timeout = conn.collector.deadline
        self.pending_conns.append(conn)
        self.poller.register(conn.sock, EVENT_READ, partial(self.on_pending_socket_readable, conn))

    def on_pending_socket_readable(self, conn: Connection, client: socket) -> None:
        if self._collect(conn):
            self._stop_waiting(conn)
            self._give_thread(conn)
        while self._collected > ALL_COLLECTED_BYTES and self.pending_conns:
            self._drop(self.pending_conns[0])

    def murder_pending(self) -> None:
        """End the wait for those who are too slow; when we stop, also for those who have not sent anything."""
        now = time.monotonic()
        # Both are in the order of their times, and this runs at every turn of the main loop.
        for sock in [sock for sock, _ in takewhile(lambda entry: entry[1] <= now, self._parting.items())]:
            self._end_parting(sock)
        for conn in list(takewhile(lambda conn: conn.timeout <= now, self.pending_conns)):
            if conn.collector.came:
                self._stop_waiting(conn)
                self._give_thread(conn)  # it finds the deadline passed, and answers where an answer is due
            else:
                self._drop(conn)
        if self.alive:
            return
        self._linger_until = self._linger_until or now + STOP_KEEPALIVE_LINGER
        if self._linger_until <= now:
            for conn in [conn for conn in self.pending_conns if not conn.collector.came]:
                self._drop(conn)

    def _collect(self, conn: Connection) -> bool:
        before = len(conn.collector.came)
        whole = conn.collector.collect()
        self._collected += len(conn.collector.came) - before
        return whole

    def _stop_waiting(self, conn: Connection) -> None:
        self.poller.unregister(conn.sock)
        self.pending_conns.remove(conn)

    def _give_thread(self, conn: Connection) -> None:
        self._collected -= len(conn.collector.came)
        if conn.collector.came:
            conn.collector.hand_over()
            self.tpool.put(conn)
        else:  # the client has hung up
            self.nr_conns -= 1
            conn.close()

    def _drop(self, conn: Connection) -> None:
        self._stop_waiting(conn)
        self._collected -= len(conn.collector.came)
        self.nr_conns -= 1
        conn.close()

    def _make_room(self) -> None:
        """Let the connections that have been idle for longest make room for one that may be in earnest."""
        if self.nr_conns < self.worker_connections:
            return
        if self._parting:
            self._end_parting(next(iter(self._parting)))
        elif self.pending_conns:
            self._drop(self.pending_conns[0])
        elif self.keepalived_conns:
            with self._keeping:
                conn = self.keepalived_conns.popleft()
                self.poller.unregister(conn.sock)
            self.nr_conns -= 1
            conn.close()

    def _part(self, sock: socket) -> None:
        """Close our side, and the whole when the client has closed its own or its time is over."""
        try:
            sock.shutdown(SHUT_WR)
        except OSError:
            sock.close()
            return
        sock.setblocking(False)
        self.nr_conns += 1
        self._parting[sock] = time.monotonic() + PARTING_SECONDS
        self.poller.register(sock, EVENT_READ, self._drain)

    def _drain(self, sock: socket) -> None:
        try:
            if sock.recv(RECEIVE_BYTES):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self._end_parting(sock)

    def _end_parting(self, sock: socket) -> None:
        del self._parting[sock]
        self.poller.unregister(sock)
        self.nr_conns -= 1
        sock.close()

    def handle_request(self, req: Any, conn: Connection) -> bool:
        """Let the app answer; whether the connection can be used again. gunicorn has hooks and an access log here.

        Nothing is sent before the app has answered, so that whatever is raised can be answered by handle_error.
        """
        answer, environ = wsgi.create(
            req, conn.sock, conn.client, conn.server, self._settings, response_class=WholeResponse
        )
        environ["wsgi.multithread"] = True
        if not self.alive or len(self.keepalived_conns) >= self.max_keepalived:
            answer.force_close()
        pieces = self.wsgi(environ, answer.start_response)
        try:
            for piece in pieces:
                answer.write(piece)
            answer.close()
        finally:
            if hasattr(pieces, "close"):
                pieces.close()
        return not answer.should_close()

    def _serve(self, conn: Connection) -> object:
        """Serve a request, in a thread. Most often the poller then waits for the connection's next one, and the main
        loop need not be woken up; else what there is for it to finish."""
        keep = self.handle(conn)
        if not keep or conn.parser.unreader.buf.getvalue() or not self.alive:
            return (keep,)
        conn.set_timeout()
        self._keep(conn)
        return None

    def _keep(self, conn: Connection) -> None:
        """Have the poller wait for a connection's next request."""
        conn.sock.setblocking(False)
        with self._keeping:
            self.keepalived_conns.append(conn)
            self.poller.register(conn.sock, EVENT_READ, partial(self.on_client_socket_readable, conn))

    def on_client_socket_readable(self, conn: Connection, client: socket) -> None:
        with self._keeping:
            self.poller.unregister(client)
            self.keepalived_conns.remove(conn)
        self.enqueue_req(conn)

    def murder_keepalived(self, force: bool = False) -> None:
        with self._keeping:
            super().murder_keepalived(force)

    def finish_request(self, conn: Connection, served: tuple[object]) -> None:
        """Part from a client, or go on with one whose next request has begun, or while we stop; in the main loop."""
        (keep,) = served
        if not keep:
            self.nr_conns -= 1
            conn.close(graceful=True)
        elif conn.parser.unreader.buf.getvalue():  # some of the next request has come with this one
            self.enqueue_req(conn)
        else:
            conn.timeout = time.monotonic() + STOP_KEEPALIVE_LINGER
            self._keep(conn)

    def handle_error(self, req: object, client: socket, addr: Any, exc: Exception) -> None:
        """Answer, in the shape of all our errors, for a request that never reached a view."""
        number = tracing.new_request_id()
        refusal = _refusal(exc, number)
        address = addr[0] if isinstance(addr, tuple) else "unix"
        # Without what was sent: it may be a header with a secret in it.
        fields = {"status": refusal.status, "client": address, "error": f"{refusal.code}: {refusal.message}"}
        text = " ".join(f"{key}={value}" for key, value in fields.items())
        ours = isinstance(refusal, InternalError)
        log.log(
            logging.ERROR if ours else logging.INFO,
            text,
            exc_info=exc if ours else None,
            extra={"fields": {**fields, "request": number}},
        )
        try:
            util.write_nonblock(client, _response(refusal, number))
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


def _refusal(exc: Exception, number: str) -> RequestError:
    if type(exc) in _REFUSALS:
        status, message = _REFUSALS[type(exc)]
        return BadRequest(message, status=status)
    # The two that tell of an answer of ours are ours to mend; all others of this family are the client's.
    ours = (errors.InvalidResponseHeader, errors.InvalidResponseHeaderName, errors.ConfigurationProblem)
    if isinstance(exc, errors.ParseException) and not isinstance(exc, ours):
        return BadRequest("The request breaks HTTP's rules")
    return InternalError(f"Something went wrong here; the log has it under {number}")


def _response(refusal: RequestError, number: str) -> bytes:
    body = json.dumps({"response": {"error": {"code": refusal.code, "message": refusal.message}}}).encode()
    head = (
        f"HTTP/1.1 {refusal.status} {_REASONS[refusal.status]}\r\n"
        "Content-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n"
        "Cache-Control: no-store\r\n"
        "X-Content-Type-Options: nosniff\r\n"
        f"X-Request-Id: {number}\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode() + body
