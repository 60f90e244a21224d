"""Sending a callback, in the process that the worker hands it to. It knows no secret that signs.

A host's name is looked up once, and the connection is made to the address that was found fit: a second look-up could
give another one. Redirects are not followed, and little is read of an answer.
"""

from __future__ import annotations

import smtplib
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from trigger.config.addresses import PORTS, is_public
from trigger.config.model import HttpAction
from trigger.errors import AnswerTimeout, ConnectionFailed
from trigger.workflows.http_action import HttpExchange, failures, in_time
from trigger.workflows.http_answer import excerpt, output_of
from trigger.workflows.http_message import Message, message_of

if TYPE_CHECKING:
    from urllib3.connection import HTTPConnection
    from urllib3.response import HTTPResponse

_EXCERPT = 2_000  # bytes of an answer that are looked at
_NOT_SMTP = "the connection broke, or what came back is not SMTP"
_LATE = 0.02  # seconds


def deliver(letter: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """Send what `letter.letter` has made, within so many seconds.

    Return what was answered: {"status": 429, "retry_after": "120", "said": "…"}; of mail {"status": 250}, or the code
    of the refusal. Raises HttpError where there was no answer.
    """
    if "smtp" in letter:
        return in_time(_Mailing(letter, seconds), seconds)
    return in_time(_Posting(letter, seconds), seconds)


def addresses(host: str, port: int, *, any_address: bool, what: object) -> Iterator[str]:
    """The addresses of a host that may be connected to, by one look-up. Raises ConnectionFailed where it has none."""
    try:
        found = [str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    except (OSError, UnicodeError):
        raise ConnectionFailed(f"{what}: its host has no address that can be found") from None
    fit = [address for address in dict.fromkeys(found) if any_address or is_public(address)]
    if not fit:
        raise ConnectionFailed(
            f"{what}: its host has no address on the internet, only {', '.join(dict.fromkeys(found))}: "
            "say `addresses: any` of the callback if that is what you mean"
        )
    yield from fit


class _Posting(HttpExchange):
    """A POST and what is answered."""

    def __init__(self, letter: Mapping[str, Any], seconds: float) -> None:
        action = HttpAction("POST", letter["url"], headers=letter["headers"], body=letter["body"])
        made = message_of(action)
        host, port = made.url.host, made.url.port
        headers = {**made.headers, "Host": f"{host}:{port}" if port else str(host)}
        parts = tuple(part for part in (made.url.path, made.url.query) if part and len(part) > 1)
        message = Message("POST", made.url, headers, made.body, (*made.secrets, *parts), shows_path=False)
        super().__init__(message, action, seconds)
        self._any = bool(letter["any"])

    def _connected(self) -> HTTPConnection:
        scheme, host, port = self._message.origin
        name = str(host).strip("[]")
        options = {"server_hostname": name} if scheme == "https" else {}
        problem: Exception | None = None
        for address in addresses(name, port, any_address=self._any, what=self._message):
            try:
                return self._connect(address, **options)
            except failures() as error:
                problem = error
            if self._abandoned:
                break
        raise problem or self.late()

    def _output(self, response: HTTPResponse) -> dict[str, Any]:
        told: dict[str, Any] = {"status": response.status}
        if 200 <= response.status <= 299:
            return told
        if wait := response.headers.get("retry-after"):
            told["retry_after"] = wait[:100]
        with suppress(*failures()):  # what else it says is told where it can be read
            body = response.read1(_EXCERPT, decode_content=False)
            told["said"] = excerpt(output_of(response.status, response.headers, body), body, self._message.secrets)
        return told


@dataclass
class _Mailing:
    """A mail that is handed to a server."""

    letter: Mapping[str, Any] = field(repr=False)
    seconds: float
    until: float = field(init=False)
    sock: socket.socket | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.until = time.monotonic() + self.seconds
        self._url = urlsplit(self.letter["smtp"])

    def __str__(self) -> str:
        return f"mail by {self._url.hostname}"

    def abandon(self) -> None:
        if self.sock is not None:
            with suppress(OSError):
                self.sock.shutdown(socket.SHUT_RDWR)

    def late(self) -> AnswerTimeout:
        return AnswerTimeout(f"{self}: not taken within {self.seconds:g} s")

    def run(self) -> dict[str, Any]:
        host, scheme = str(self._url.hostname), self._url.scheme
        port = self._url.port or PORTS[scheme]
        try:
            with _Server(self, scheme == "smtps") as server:
                server.connect(host, port)
                self._hand_over(server)
        except smtplib.SMTPResponseException as error:
            if error.smtp_code < 200:
                raise ConnectionFailed(f"{self}: {_NOT_SMTP}") from None
            return {"status": error.smtp_code, "said": _text(error.smtp_error)}
        except smtplib.SMTPRecipientsRefused as error:
            code, said = next(iter(error.recipients.values()))
            return {"status": code, "said": _text(said)}
        except ssl.SSLCertVerificationError as error:
            raise ConnectionFailed(f"{self}: its certificate can't be trusted: {error.verify_message}") from None
        except TimeoutError as error:
            raise error if isinstance(error, AnswerTimeout) else self.late() from None
        except smtplib.SMTPNotSupportedError as error:
            raise ConnectionFailed(f"{self}: {error}") from None
        except (smtplib.SMTPException, OSError) as error:
            if isinstance(error, ConnectionFailed):
                raise
            if (
                time.monotonic() > self.until - _LATE
            ):  # smtplib takes the end of its patience for that of the connection
                raise self.late() from None
            why = error.strerror.lower() if error.strerror else _NOT_SMTP
            raise ConnectionFailed(f"{self}: {why}") from None
        return {"status": 250}

    def _hand_over(self, server: smtplib.SMTP) -> None:
        server.ehlo()
        if self._url.scheme == "smtp" and server.has_extn("starttls"):
            server.starttls(context=ssl.create_default_context())
            server.ehlo()
        if self._url.username and self._url.password:
            if not isinstance(server.sock, ssl.SSLSocket):
                raise ConnectionFailed(f"{self}: it offers no TLS, without which no password is sent")
            server.login(unquote(self._url.username), unquote(self._url.password))
        server.sendmail(self.letter["from"], self.letter["to"], self.letter["mail"].encode("ascii"))

    def connected(self, host: str, port: int) -> socket.socket:
        """A connection to the server."""
        problem: OSError | None = None
        for address in addresses(host, port, any_address=bool(self.letter["any"]), what=self):
            try:
                left = max(0.001, self.until - time.monotonic())
                self.sock = socket.create_connection((address, port), timeout=left)
            except OSError as error:
                problem = error
            else:
                return self.sock
        raise problem or self.late()


class _Server(smtplib.SMTP):
    """smtplib's client, connected to the address that was found fit."""

    def __init__(self, mailing: _Mailing, is_tls: bool) -> None:
        self._mailing, self._is_tls = mailing, is_tls
        super().__init__()

    def connect(self, host: str = "", port: int = 0, source_address: Any = None) -> tuple[int, bytes]:
        self._host = host  # whose certificate it is to be
        code, said = super().connect(host, port)
        if code != 220:
            raise smtplib.SMTPConnectError(code, said)
        return code, said

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        plain = self._mailing.connected(host, port)
        if not self._is_tls:
            return plain
        return ssl.create_default_context().wrap_socket(plain, server_hostname=host)


def _text(said: bytes | str) -> str:
    return (said.decode("utf-8", "replace") if isinstance(said, bytes) else said)[:200]
