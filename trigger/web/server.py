"""How gunicorn serves us: its gevent worker, with bounds on what a client can hold and our errors for what it refuses.

Each connection is served by a greenlet of its own, so one that waits for its client holds up nobody. gunicorn's loop
over a connection's requests is replaced by a short one: it is fair to connections that send their requests all at once,
sends an answer in one piece, never keeps a connection on which part of a body was left unread, and takes gunicorn's
hooks and access log away.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import gevent
from gevent import socket as gevent_socket
from gevent.pool import Pool
from gevent.server import StreamServer
from gunicorn import glogging
from gunicorn.http import errors, wsgi
from gunicorn.http.message import Request
from gunicorn.http.parser import RequestParser
from gunicorn.workers.ggevent import GeventWorker

from trigger.errors import BadRequest, InternalError, RequestError
from trigger.offload import offload
from trigger.store import tracing
from trigger.web import connection as connections
from trigger.web.answers import internal_error, refusal
from trigger.web.connection import Connection, Connections
from trigger.web.flask_app import App

log = logging.getLogger("trigger.web")

# All headers of a request together; gunicorn bounds each.
HEAD_BYTES = 64 * 1024
# As much of a body that nobody wants is read, if it has arrived already, so that the connection can be used again.
UNWANTED_BYTES = 64 * 1024
# How often the main greenlet looks whether it is to stop.
LOOK_SECONDS = 0.1
# When we stop, connections are accepted, and kept ones may bring one more request, for this long: longer than a proxy
# keeps one (4 s in deploy/nginx.conf), so that it finds none closed under a request that it has just sent.
STOP_LINGER_SECONDS = 5.0
# How long no connection is accepted when there is no file descriptor left for one.
ACCEPT_PAUSE_SECONDS = 0.1


# Of each of these a request has one at most. gunicorn would join two to a token that nobody has, or take the last.
ONCE = frozenset({"TOKEN", "USER", "PASSWORD", "AUTHORIZATION", "IDEMPOTENCY-KEY"})


class RepeatedHeader(errors.ParseException):
    """One of ONCE came more than once."""


class Settings:
    """gunicorn's settings, each looked up once: its parser asks for twenty of them at every request."""

    def __init__(self, cfg: Any) -> None:
        self._cfg = cfg

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._cfg, name)
        setattr(self, name, value)
        return value


class BoundedRequest(Request):
    """gunicorn's request, with a bound on its headers; "100 Continue" waits until the body is wanted."""

    version: tuple[int, int]
    _expected_100_continue: bool

    def parse(self, unreader: Connection) -> bytes:
        self.max_buffer_headers = HEAD_BYTES
        rest: bytes = super().parse(unreader)
        names = [name for name, _ in self.headers]
        if len(set(names)) < len(names):
            for name in ONCE:
                if names.count(name) > 1:
                    raise RepeatedHeader(name)
        self.version = min(self.version, (1, 1))  # what we speak, whatever the client does
        unreader.expects_continue, self._expected_100_continue = self._expected_100_continue, False
        return rest


class Parser(RequestParser):
    mesg_class = BoundedRequest

    def body_is_read(self, connection: Connection) -> bool:
        """Whether nothing is left of the request's body, once what has arrived of it was thrown away."""
        connection.deadline = 0.0
        try:
            return bool(self.finish_body(max_bytes=UNWANTED_BYTES))
        except (OSError, errors.ParseException):
            return False


class WholeResponse(wsgi.Response):
    """An answer that is sent at once, when all of it is there; one whose length nobody knows as it comes."""

    chunked: bool
    headers_sent: bool
    response_length: int | None

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._body: list[bytes] = []

    def send_headers(self) -> None:
        """They wait for the body."""

    def _emit_body(self, data: bytes) -> None:
        self._body += [b"%X\r\n" % len(data), data, b"\r\n"] if self.chunked else [data]
        if self.response_length is None:
            self._send()

    def close(self) -> None:
        if self.chunked:
            self._body.append(b"0\r\n\r\n")
        self._send()

    def _send(self) -> None:
        if not self.headers_sent:
            head = [*self.default_headers(), *[f"{name}: {value}\r\n" for name, value in self.headers], "\r\n"]
            self._body.insert(0, "".join(head).encode("latin-1"))
            self.headers_sent = True
        whole, self._body = b"".join(self._body), []
        self.sock.send(whole)


class Server(StreamServer):
    """gevent's server, whose idle connections make room for new ones."""

    max_accept = 16

    def __init__(self, listener: Any, open_: Connections, pool: Pool, **options: Any) -> None:
        super().__init__(listener, spawn=pool, **options)
        # Of those that are accepted at once none can be cut off yet: they must leave some that can.
        self.max_accept = min(self.max_accept, max(1, pool.free_count() // 2))
        self._open = open_
        self._said = 0.0

    def do_read(self) -> Any:
        try:
            accepted = super().do_read()
        except OSError as error:
            if self.is_fatal_error(error):
                raise
            self._pause(error)
            return None
        if accepted and self.pool.free_count() <= 1:
            self._open.cut_one()
        return accepted

    def _pause(self, error: OSError) -> None:
        if time.monotonic() > self._said + 1:
            self._said = time.monotonic()
            log.warning("no connection can be accepted now: %s", error)
        for _ in range(self.max_accept):
            self._open.cut_one()
        self.stop_accepting()
        gevent.spawn_later(ACCEPT_PAUSE_SECONDS, lambda: self.started and self.start_accepting())


class Worker(GeventWorker):
    """gunicorn's gevent worker, with our loop over a connection's requests."""

    sockets: list[Any]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._settings = Settings(self.cfg)
        self._open = Connections()

    def patch(self) -> None:
        """Make the sockets gevent's. The master has patched all else before it imported anything."""
        self.sockets = [
            gevent_socket.socket(listener.FAMILY, gevent_socket.SOCK_STREAM, fileno=listener.sock.detach())
            for listener in self.sockets
        ]

    def run(self) -> None:
        offload(int)  # makes the pool of threads while there are file descriptors for it
        servers: list[Server] = []
        for listener in self.sockets:
            listener.setblocking(True)
            serve = partial(self._serve, listener.getsockname())
            servers.append(Server(listener, self._open, Pool(self.worker_connections), handle=serve))
        for server in servers:
            server.start()
        while self.alive:
            self.notify()
            gevent.sleep(LOOK_SECONDS)
        if isinstance(self.wsgi, App):
            self.wsgi.stop()
        stopped = time.monotonic()
        pools = [server.pool for server in servers]  # with what was accepted and has not begun to be served, too
        self._linger(pools)
        for server in servers:
            while accepted := server.do_read():  # the kernel has told their clients that they are connected
                server.do_handle(*accepted)
            server.close()
        self._finish(pools, stopped)

    def _linger(self, pools: Sequence[Pool]) -> None:
        """Go on as before, but close each connection with its next answer; until there is none, or time is over."""
        stopped = time.monotonic()
        while any(map(len, pools)) and time.monotonic() - stopped < STOP_LINGER_SECONDS:
            self.notify()
            gevent.sleep(LOOK_SECONDS)

    def _finish(self, pools: Sequence[Pool], stopped: float) -> None:
        """Let what has begun end, within gunicorn's graceful_timeout."""
        while any(map(len, pools)) and time.monotonic() - stopped < self.cfg.graceful_timeout:
            self.notify()
            gevent.sleep(LOOK_SECONDS)  # in which what was accepted last gets its turn
            self._open.cut_idle()

    def _serve(self, server: Any, sock: Any, client: Any) -> None:
        """Serve a connection until it is closed."""
        connection = Connection(sock, self._open)
        parser = Parser(self._settings, sock, client)
        parser.unreader = connection
        patience = connections.REQUEST_SECONDS
        try:
            while True:
                connection.begin(patience)
                request = next(parser)
                if not self._answer(request, parser, connection, client, server):
                    break
                patience = self._settings.keepalive
                if connection.buf.tell():  # or a client that has sent its next requests already would be served first
                    gevent.sleep(0)
            connection.part()
        except StopIteration:
            pass  # it was closed
        except OSError as error:
            log.debug("the connection of %s broke off: %s", client, error)
        except Exception as error:  # noqa: BLE001  whatever it is, an answer is due
            self.handle_error(None, connection, client, error)
            connection.part()
        finally:
            connection.close()

    def _answer(self, request: Any, parser: Parser, connection: Connection, client: Any, server: Any) -> bool:
        """Let the app answer; whether the connection can be used again.

        Nothing is sent before the app has answered, so that whatever is raised can be answered by handle_error.
        """
        answer, environ = wsgi.create(request, connection, client, server, self._settings, response_class=WholeResponse)
        pieces = self.wsgi(environ, answer.start_response)
        try:
            for piece in pieces:
                answer.write(piece)
        except Exception as error:
            if isinstance(error, OSError) or not answer.headers_sent:
                raise
            log.exception("an answer broke off")  # the client finds it incomplete
            return False
        finally:
            if hasattr(pieces, "close"):
                pieces.close()
        if not self.alive or not parser.body_is_read(connection):
            answer.force_close()
        answer.close()
        return not answer.should_close()

    def handle_error(self, req: object, client: Connection, addr: Any, exc: Exception) -> None:
        """Answer, in the shape of all our errors, for a request that never reached a view."""
        number = tracing.new_request_id()
        error = _error(exc, number)
        address = addr[0] if isinstance(addr, tuple) else "unix"
        # Without what was sent: it may be a header with a secret in it.
        fields = {"status": error.status, "client": address, "error": f"{error.code}: {error.message}"}
        text = " ".join(f"{key}={value}" for key, value in fields.items())
        ours = isinstance(error, InternalError)
        log.log(
            logging.ERROR if ours else logging.INFO,
            text,
            exc_info=exc if ours else None,
            extra={"fields": {**fields, "request": number}},
        )
        try:
            client.send(_response(error, number))
        except OSError as broken:
            log.debug("the refusal did not reach %s: %s", address, broken)


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


def _error(exc: Exception, number: str) -> RequestError:
    if type(exc) in _REFUSALS:
        status, message = _REFUSALS[type(exc)]
        return BadRequest(message, status=status)
    if isinstance(exc, RepeatedHeader):
        return BadRequest(f"The header {str(exc).lower()} came more than once; send it once")
    # The two that tell of an answer of ours are ours to mend; all others of this family are the client's.
    ours = (errors.InvalidResponseHeader, errors.InvalidResponseHeaderName, errors.ConfigurationProblem)
    if isinstance(exc, errors.ParseException) and not isinstance(exc, ours):
        return BadRequest("The request breaks HTTP's rules")
    return internal_error(number)


def _response(error: RequestError, number: str) -> bytes:
    answer = refusal(error)
    fields = [*answer.headers, ("X-Request-Id", number), ("Connection", "close")]
    head = [f"HTTP/1.1 {answer.status}\r\n", *[f"{name}: {value}\r\n" for name, value in fields], "\r\n"]
    return "".join(head).encode("latin-1") + answer.get_data()
