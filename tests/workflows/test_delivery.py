"""Sending callbacks to receivers that do as they like: each ends in time, where it should, and says little."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support import eventually
from trigger.errors import AnswerTimeout, ConnectionFailed
from trigger.workflows import delivery
from trigger.workflows.delivery import deliver

from .peer import Answer, Peer, endless, peer, plain, raw, silent
from .test_http_bounds import certificate, serving

__all__ = ["certificate"]

SHORT, LONG = 0.4, 20.0  # seconds
OK = b"HTTP/1.1 200 OK\r\n"
PATH = "/services/T0/s3cret-path"


def letter(to: Peer, **other: Any) -> dict[str, Any]:
    return {"any": True, "url": f"{to.url}{PATH}", "headers": {"webhook-id": "1.failed"}, "body": '{"a": 1}', **other}


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[list[str]]]:
    """The addresses that each look-up of a name finds in turn, the last ones again and again; only 127.0.0.1 counts as
    one on the internet."""
    known: dict[str, list[list[str]]] = {}
    usual = socket.getaddrinfo

    def look_up(host: Any, port: Any, *rest: Any, **more: Any) -> Any:
        if host not in known:
            return usual(host, port, *rest, **more)
        found = known[host].pop(0)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(delivery, "is_public", lambda address: address == "127.0.0.1")
    return known


def named(to: Peer, host: str = "ops.example", scheme: str = "http") -> dict[str, Any]:
    return letter(to, any=False, url=f"{scheme}://{host}:{to.port}{PATH}")


def test_a_callback_is_a_post_with_its_headers_and_body() -> None:
    with peer(plain("204 No Content")) as ops:
        assert deliver(letter(ops), LONG) == {"status": 204}
        assert ops.head[0] == f"POST {PATH} HTTP/1.1"
        assert (ops.header("webhook-id"), ops.body) == (["1.failed"], b'{"a": 1}')


@pytest.mark.parametrize(
    "answer",
    [silent, endless(b"HTTP/1.1 ", b"2", 0.02), endless(OK + b"X: ", b"y", 0.02), endless(OK, b"X: y\r\n", 0.02)],
    ids=["hangs", "drips", "one header", "headers"],
)
def test_a_receiver_that_hangs_or_drips_ends_at_the_time_limit(answer: Answer) -> None:
    with peer(answer) as ops:
        with pytest.raises(AnswerTimeout) as caught:
            deliver(letter(ops), SHORT)
        assert PATH not in str(caught.value)
        assert ops.gone.wait(10), "the connection is still open"
    eventually(lambda: not [thread for thread in threading.enumerate() if thread.name == "http"])


def test_a_receiver_that_closes_is_told_without_the_path() -> None:
    with peer(raw()) as ops, pytest.raises(ConnectionFailed) as caught:
        deliver(letter(ops), LONG)
    assert str(caught.value).startswith(f"POST {ops.url}: ")


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (endless(OK + b"\r\n", b"x" * 100_000), 200),
        (endless(b"HTTP/1.1 500 Oops\r\n\r\n", b"x" * 100_000), 500),
        (endless(b"HTTP/1.1 410 Gone\r\nContent-Length: 100000000\r\n\r\n", b"x" * 100_000), 410),
    ],
)
def test_of_an_answer_without_end_little_is_read(answer: Answer, status: int) -> None:
    with peer(answer) as ops:
        told = deliver(letter(ops), LONG)
    assert told["status"] == status
    assert len(told.get("said", "")) <= 200


def test_a_redirect_is_not_followed() -> None:
    with peer(plain()) as other, peer(plain("302 Found", b"", f"Location: {other.url}/")) as ops:
        assert deliver(letter(ops), LONG)["status"] == 302
        assert other.requests == []


def test_what_an_answer_repeats_of_the_path_is_not_told() -> None:
    with peer(plain("429 Too Many Requests", f"no {PATH} here".encode(), "Retry-After: 120")) as ops:
        assert deliver(letter(ops), LONG) == {"status": 429, "retry_after": "120", "said": "no … here"}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0x7f000001", "127.1"])
def test_addresses_that_are_not_on_the_internet_are_not_connected_to(host: str) -> None:
    with peer(plain()) as ops:
        with pytest.raises(ConnectionFailed, match=r"no address (on the internet|that can be found)") as caught:
            deliver(named(ops, host), LONG)
        assert ops.requests == []
    assert PATH not in str(caught.value)


def test_the_address_that_was_found_fit_is_the_one_that_is_connected_to(names: dict[str, list[list[str]]]) -> None:
    names["ops.example"] = [["127.0.0.1"], ["169.254.169.254"]]
    with peer(plain()) as ops:
        assert deliver(named(ops), LONG) == {"status": 200}
        assert ops.header("host") == [f"ops.example:{ops.port}"]
    assert names["ops.example"] == [["169.254.169.254"]], "there was one look-up"


def test_a_second_look_makes_no_address_fit(names: dict[str, list[list[str]]]) -> None:
    names["ops.example"] = [["10.0.0.1"], ["127.0.0.1"]]
    with peer(plain()) as ops:
        with pytest.raises(ConnectionFailed, match=r"only 10\.0\.0\.1: say `addresses: any`"):
            deliver(named(ops), LONG)
        assert ops.requests == []


def test_of_several_addresses_those_that_are_fit_are_tried(names: dict[str, list[list[str]]]) -> None:
    names["ops.example"] = [["10.0.0.1", "127.0.0.1"]]
    with peer(plain()) as ops:
        assert deliver(named(ops), LONG) == {"status": 200}


def test_the_certificate_must_be_the_names(
    names: dict[str, list[list[str]]], certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.with_suffix(".crt")))
    names["localhost"], names["ops.example"] = [["127.0.0.1"]], [["127.0.0.1"]]
    seen: list[str | None] = []
    tls = serving(certificate)
    tls.sni_callback = lambda sock, name, context: seen.append(name)
    with peer(plain(), tls=tls) as ops:
        assert deliver(named(ops, "localhost", "https"), LONG) == {"status": 200}
        with pytest.raises(ConnectionFailed, match="certificate can't be trusted"):
            deliver(named(ops, "ops.example", "https"), LONG)
    assert seen == ["localhost", "ops.example"]


@dataclass
class Post:
    """A mail server that says what a test wants; `heard` are the lines it got."""

    port: int
    heard: list[str] = field(default_factory=list)


@contextmanager
def post(
    answers: dict[str, str] | None = None, *, tls: ssl.SSLContext | None = None, greeting: str = "220 hello\r\n"
) -> Iterator[Post]:
    """`answers` are by the first word of a line, in place of "250 ok"."""
    said = {"EHLO": "250-me\r\n250 STARTTLS" if tls else "250 me", "DATA": "354 go on", "QUIT": "221 bye"}
    said |= answers or {}
    with socket.create_server(("127.0.0.1", 0)) as server:
        found = Post(server.getsockname()[1])

        def serve() -> None:
            connection, _ = server.accept()
            try:
                connection.sendall(greeting.encode())
                file, in_mail = connection.makefile("rb"), False
                while line := file.readline():
                    text = line.decode().rstrip("\r\n")
                    found.heard.append(text)
                    if in_mail and text != ".":
                        continue
                    word = "250" if in_mail else text.split(" ")[0].upper()
                    in_mail = word == "DATA" and said["DATA"].startswith("354")
                    if word == "STARTTLS" and tls is not None:
                        connection.sendall(b"220 go\r\n")
                        connection = tls.wrap_socket(connection, server_side=True)
                        file = connection.makefile("rb")
                        continue
                    connection.sendall((said.get(word, "235 in" if word == "AUTH" else "250 ok") + "\r\n").encode())
            except OSError:
                pass
            finally:
                connection.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield found
    thread.join(5)


def mail(to: Post, user: str = "", host: str = "127.0.0.1", **other: Any) -> dict[str, Any]:
    made = {
        "from": "trigger@example.org",
        "to": ["a@example.org", "b@example.org"],
        "mail": "Subject: x\r\n\r\nhello\r\n",
    }
    return {"any": True, "smtp": f"smtp://{user}{host}:{to.port}", **made, **other}


def test_a_mail_is_handed_over() -> None:
    with post() as server:
        assert deliver(mail(server), LONG) == {"status": 250}
    assert [line for line in server.heard if line.startswith(("mail", "rcpt"))] == [
        "mail FROM:<trigger@example.org>",
        "rcpt TO:<a@example.org>",
        "rcpt TO:<b@example.org>",
    ]
    assert "hello" in server.heard


def test_a_password_is_sent_by_tls(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.with_suffix(".crt")))
    with post({"EHLO": "250-me\r\n250-STARTTLS\r\n250 AUTH PLAIN"}, tls=serving(certificate)) as server:
        assert deliver(mail(server, "me:s3cret%40@", "localhost"), LONG) == {"status": 250}
    assert any(line.startswith("AUTH PLAIN") for line in server.heard)


def test_without_tls_no_password_is_sent() -> None:
    with (
        post({"EHLO": "250-me\r\n250 AUTH PLAIN LOGIN"}) as server,
        pytest.raises(ConnectionFailed, match="without which no password is sent"),
    ):
        deliver(mail(server, "me:s3cret@"), LONG)
    assert not any(line.startswith("AUTH") for line in server.heard)


def test_a_certificate_of_another_host_gets_no_mail(certificate: Path) -> None:
    with (
        post(tls=serving(certificate)) as server,
        pytest.raises(ConnectionFailed, match="certificate can't be trusted"),
    ):
        deliver(mail(server, host="localhost"), LONG)
    assert not any(line.startswith("mail") for line in server.heard)


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ({"RCPT": "550 nobody of that name"}, {"status": 550, "said": "nobody of that name"}),
        ({"MAIL": "451 later"}, {"status": 451, "said": "later"}),
        ({"DATA": "554 no"}, {"status": 554, "said": "no"}),
    ],
)
def test_a_refusal_is_told(answers: dict[str, str], told: dict[str, Any]) -> None:
    with post(answers) as server:
        assert deliver(mail(server), LONG) == told


@pytest.mark.parametrize("greeting", ["", "220-hello\r\n"], ids=["hangs", "never ends"])
def test_a_mail_server_that_hangs_ends_at_the_time_limit(greeting: str) -> None:
    with post(greeting=greeting) as server, pytest.raises(AnswerTimeout):
        deliver(mail(server), SHORT)


def test_a_mail_server_that_speaks_no_smtp_is_told() -> None:
    with peer(raw(b"HTTP/1.1 400 Bad Request\r\n\r\n"), reads=False) as other, pytest.raises(ConnectionFailed):
        deliver(mail(Post(other.port)), LONG)


def test_a_mail_server_that_is_not_on_the_internet_is_not_connected_to() -> None:
    with post() as server:
        with pytest.raises(ConnectionFailed, match="no address on the internet"):
            deliver(mail(server, any=False), LONG)
        assert server.heard == []
        socket.create_connection(("127.0.0.1", server.port)).close()
