"""The action of an http step: one request, sent with urllib3 (https://urllib3.readthedocs.io), and its answer as data.

What the peer does is bounded: all of an exchange ends at its time, an answer at its size. Redirects are followed here
and not by urllib3, which reads the bodies of redirects whole and passes most headers on to other hosts.
"""

from __future__ import annotations

import http.client
import logging
import socket
import ssl
import threading
import time
from concurrent.futures import Future
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any, Protocol

from trigger.config.model import HttpAction
from trigger.errors import AnswerTimeout, AnswerTooLarge, ConnectionFailed, HttpError, UnexpectedStatus
from trigger.workflows.http_answer import excerpt, named, output_of
from trigger.workflows.http_message import Message, message_of, redirected

if TYPE_CHECKING:  # a process that sends nothing does without urllib3
    from urllib3.connection import HTTPConnection
    from urllib3.response import HTTPResponse

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PIECE = 64 * 1024  # bytes read at once


def send(action: HttpAction, seconds: float) -> dict[str, Any]:
    """Send the request of a rendered http action; its answer as {"status": 200, "headers": {…}, "json": …}.

    `seconds` is how long all of it may take. The names of headers are in lower case. There is "json" where the answer
    says that it is JSON and is, "text" otherwise. Raises UnexpectedStatus for a status outside of `action.expect`,
    ConnectionFailed, AnswerTimeout, AnswerTooLarge, and HttpError for a request that can't be made.
    """
    return in_time(HttpExchange(message_of(action), action, seconds), seconds)


class Bounded(Protocol):
    """What is done within a time: `run` does it, `abandon` ends it from another thread, `late` is the error for when
    the time is over."""

    def run(self) -> dict[str, Any]: ...

    def abandon(self) -> None: ...

    def late(self) -> AnswerTimeout: ...


def in_time(work: Bounded, seconds: float) -> dict[str, Any]:
    """Do a work, and return what it does; raises its `late` after so many seconds."""
    # In a thread of its own, for nothing else bounds all of it: each address may be tried, and each byte waited for,
    # as long as the whole may take, and the look-up of a name has no limit at all.
    future: Future[dict[str, Any]] = Future()

    def run() -> None:
        try:
            future.set_result(work.run())
        except BaseException as error:  # noqa: BLE001  it goes on where the result is waited for
            future.set_exception(error)

    thread = threading.Thread(target=run, name="http", daemon=True)
    thread.start()
    try:
        result = future.result(seconds)
    except TimeoutError as error:
        raise error if isinstance(error, HttpError) else work.late() from None
    finally:
        work.abandon()
    thread.join()  # it has done all: what looks for threads now finds none
    return result


class HttpExchange:
    """A request and its answer, redirects followed."""

    def __init__(self, message: Message, action: HttpAction, seconds: float) -> None:
        self._message = message
        self._action = action
        self._seconds = seconds
        self._until = time.monotonic() + seconds
        self._connection: HTTPConnection | None = None
        self._abandoned = False

    def abandon(self) -> None:
        """Nothing more is sent, and a thread that waits for the peer stops waiting."""
        self._abandoned = True
        connection = self._connection
        if connection is not None and connection.sock is not None:
            with suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    def late(self) -> AnswerTimeout:
        """The error for when the time is over."""
        return AnswerTimeout(f"{self._message}: no whole answer within {self._seconds:g} s")

    def run(self) -> dict[str, Any]:
        """The answer's output. Raises as `send`."""
        for _ in range(self._action.redirects + 1):
            try:
                output = self._once()
            except HttpError:
                raise
            except failures() as error:
                raise self.late() if _is_late(error) else ConnectionFailed(f"{self._message}: {_why(error)}") from None
            if output is not None:
                return output
        raise HttpError(f"{self._message}: redirected again, after {self._action.redirects} redirects")

    def _once(self) -> dict[str, Any] | None:
        """The output of one answer; None when it redirects, to what is the message then."""
        with closing(self._connected()) as connection:
            if self._abandoned:
                raise self.late()
            message = self._message
            # A peer that has answered already may close while we are still sending; its answer tells why.
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.request(
                    message.method, message.url.request_uri, message.body, message.headers, preload_content=False
                )
            with closing(connection.getresponse()) as response:
                location = response.headers.get("location")
                if self._action.redirects and response.status in _REDIRECTS and location:
                    self._message = redirected(message, response.status, location)
                    return None
                return self._output(response)

    def _connected(self) -> HTTPConnection:
        """A connection to who is spoken to."""
        return self._connect(str(self._message.origin[1]))

    def _connect(self, host: str, **options: Any) -> HTTPConnection:
        from urllib3.connection import HTTPConnection, HTTPSConnection

        logging.getLogger("urllib3").setLevel(logging.ERROR)  # its warnings show URLs with all they hold
        scheme, _, port = self._message.origin
        kind = HTTPSConnection if scheme == "https" else HTTPConnection
        connection = kind(host, port, timeout=max(0.001, self._until - time.monotonic()), **options)
        self._connection = connection
        try:
            connection.connect()
        except BaseException:
            connection.close()
            raise
        return connection

    def _output(self, response: HTTPResponse) -> dict[str, Any]:
        low, high = self._action.expect
        expected = low <= response.status <= high
        body = self._body(response, cut=not expected)
        output = output_of(response.status, response.headers, body)
        if expected:
            return output
        message = f"{self._message}: the answer is {named(response.status)}, not from {low} to {high}"
        if response.status in _REDIRECTS and not self._action.redirects:
            message += "; it is a redirect, which `redirects: 5` would follow"
        said = excerpt(output, body, self._message.secrets)
        raise UnexpectedStatus(f"{message}: {said}" if said else message, response.status, output)

    def _body(self, response: HTTPResponse, *, cut: bool) -> bytes:
        """The body; of one that is too large the beginning, or an error unless it may be `cut`."""
        most = self._action.max_size
        pieces: list[bytes] = []
        left = most
        while left >= 0:
            piece = response.read1(_PIECE)
            if not piece:
                return b"".join(pieces)
            if time.monotonic() > self._until:
                raise self.late()
            pieces.append(piece[:left])
            left -= len(piece)
        if not cut:
            raise AnswerTooLarge(f"{self._message}: the answer is larger than max_size, {most} bytes")
        return b"".join(pieces)


def failures() -> tuple[type[Exception], ...]:
    """What a connection and an answer may raise."""
    from urllib3.exceptions import HTTPError

    return HTTPError, http.client.HTTPException, OSError


def _is_late(error: Exception) -> bool:
    from urllib3.exceptions import NewConnectionError
    from urllib3.exceptions import TimeoutError as Urllib3TimeoutError

    if isinstance(error, NewConnectionError):  # to urllib3 a kind of timeout
        return isinstance(error.__cause__, TimeoutError)
    return isinstance(error, TimeoutError | Urllib3TimeoutError)


def _why(error: Exception) -> str:
    """Return what went wrong, in words of ours: urllib3's own may show the URL."""
    from urllib3.exceptions import DecodeError, NameResolutionError, NewConnectionError

    cause = error.__cause__ if isinstance(error, NewConnectionError) else error
    if isinstance(error, NameResolutionError):
        return "its host has no address that can be found"
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate can't be trusted: {cause.verify_message}"
    if isinstance(cause, ssl.SSLError):
        return f"TLS failed: {cause.reason or 'the connection was closed'}"
    if isinstance(error, DecodeError):
        return "the answer is not encoded as its content-encoding says"
    if isinstance(cause, http.client.HTTPException) and not isinstance(cause, ConnectionError):
        return "what came back is not HTTP, or not all of it"
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror.lower()
    return "the connection broke before all of the answer was there"
