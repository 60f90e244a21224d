"""The other side of an http step: a server that answers byte by byte as a test says, and keeps what it got."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

Answer = Callable[[socket.socket], None]


@dataclass
class Peer:
    """A server that is told what to answer, the last answer again and again."""

    port: int
    answers: list[Answer] = field(default_factory=list)
    requests: list[bytes] = field(default_factory=list)  # head and body of each
    gone: threading.Event = field(default_factory=threading.Event)  # a client has hung up while it was answered

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def head(self) -> list[str]:
        """The lines of the last request's head."""
        return self.requests[-1].partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")

    @property
    def body(self) -> bytes:
        return self.requests[-1].partition(b"\r\n\r\n")[2]

    def header(self, name: str) -> list[str]:
        """The values of a header in the last request."""
        lines = (line.partition(": ") for line in self.head[1:])
        return [value for key, _, value in lines if key.lower() == name]


def plain(status: str = "200 OK", body: bytes = b"", *headers: str) -> Answer:
    """A whole answer."""

    def send(connection: socket.socket) -> None:
        head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers])
        connection.sendall(head.encode("latin-1") + b"\r\n\r\n" + body)

    return send


def raw(*pieces: bytes) -> Answer:
    """These bytes and then the end."""

    def send(connection: socket.socket) -> None:
        for piece in pieces:
            connection.sendall(piece)

    return send


def endless(head: bytes, piece: bytes, pause: float = 0.0) -> Answer:
    """`head`, and then `piece` for ever, `pause` seconds apart."""

    def send(connection: socket.socket) -> None:
        connection.sendall(head)
        while not threading.Event().wait(pause):
            connection.sendall(piece)

    return send


def silent(connection: socket.socket) -> None:
    """No answer at all: waits until the client has gone."""
    while connection.recv(65536):
        pass


def _read(connection: socket.socket) -> bytes:
    got = b""
    while b"\r\n\r\n" not in got:
        piece = connection.recv(65536)
        if not piece:
            return got
        got += piece
    head, _, body = got.partition(b"\r\n\r\n")
    length = next(
        (int(line.partition(b":")[2]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
    )
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


@contextmanager
def peer(*answers: Answer, tls: ssl.SSLContext | None = None, reads: bool = True) -> Iterator[Peer]:
    """A Peer that serves one connection at a time, in a thread; it may answer without reading what it is asked."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        found = Peer(port=server.getsockname()[1], answers=list(answers))

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    try:
                        if tls is not None:
                            connection = tls.wrap_socket(connection, server_side=True)
                        with connection:
                            if reads:
                                found.requests.append(_read(connection))
                            answer = found.answers.pop(0) if len(found.answers) > 1 else found.answers[0]
                            answer(connection)
                        if answer is silent:
                            found.gone.set()
                    except OSError:
                        found.gone.set()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield found
        finally:
            with suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
            server.close()
            thread.join(5)
