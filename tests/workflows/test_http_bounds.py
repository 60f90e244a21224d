"""What a peer does without end, the http action ends: by time, by size, by the number of redirects."""

from __future__ import annotations

import gzip
import socket
import ssl
import subprocess
import threading
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from tests.programs import needs_program
from tests.support import eventually
from trigger.config.model import HttpAction
from trigger.errors import AnswerTimeout, AnswerTooLarge, ConnectionFailed, HttpError, UnexpectedStatus
from trigger.workflows.http_action import send

from .peer import Answer, Peer, endless, peer, plain, raw, silent

OK = b"HTTP/1.1 200 OK\r\n"
SHORT = 0.4  # seconds


def action(to: Peer, **keys: Any) -> HttpAction:
    return HttpAction(**{"method": "GET", "url": f"{to.url}/?token=secret", **keys})


def sending() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "http"]


@pytest.mark.parametrize(
    "answer",
    [
        silent,
        endless(b"HTTP/1.1 ", b"2", 0.02),
        endless(OK, b"X: y\r\n", 0.02),
        endless(OK + b"X: ", b"y", 0.02),
        endless(OK + b"Content-Length: 1000\r\n\r\n", b"x", 0.02),
        endless(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n", 0.02),
        endless(OK + b"\r\n", b"x", 0.02),
        endless(b"HTTP/1.1 500 Oops\r\n\r\n", b"x", 0.02),
        endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.02),
    ],
    ids=["hangs", "status", "headers", "one header", "body", "chunks", "until closed", "refusal", "continue"],
)
def test_a_peer_that_hangs_or_drips_ends_at_the_time_limit(answer: Answer) -> None:
    with peer(answer) as shop:
        with pytest.raises(AnswerTimeout, match=r"GET http://127\.0\.0\.1:\d+/: no whole answer within 0.4 s"):
            send(action(shop), SHORT)
        assert shop.gone.wait(10), "the connection is still open"
    eventually(lambda: not sending())


def test_a_peer_that_never_accepts_ends_at_the_time_limit() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        port = server.getsockname()[1]
        crowd = [socket.socket() for _ in range(8)]
        for one in crowd:  # they fill the queue of those to be accepted
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        with pytest.raises(AnswerTimeout):
            send(HttpAction("GET", f"http://127.0.0.1:{port}/"), SHORT)
        for one in crowd:
            one.close()
    eventually(lambda: not sending())


def test_a_name_that_takes_long_to_look_up_ends_at_the_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    done = threading.Event()
    with peer(plain()) as shop:
        found = socket.getaddrinfo("127.0.0.1", shop.port, type=socket.SOCK_STREAM)

        def slow(*_: object, **__: object) -> object:
            done.wait(20)
            return found

        monkeypatch.setattr(socket, "getaddrinfo", slow)
        with pytest.raises(AnswerTimeout):
            send(HttpAction("POST", f"http://late.example:{shop.port}/"), SHORT)
        done.set()
        eventually(lambda: not sending())
        assert shop.requests == [b""], "it was sent after it had been given up"


@pytest.mark.parametrize(
    "head",
    [OK + b"\r\n", OK + b"Transfer-Encoding: chunked\r\n\r\n", OK + b"Content-Length: 1000000000000\r\n\r\n"],
    ids=["until closed", "chunks", "length"],
)
def test_an_endless_body_ends_at_the_size_limit(head: bytes) -> None:
    piece = b"x" * 65536
    tracemalloc.start()
    try:
        with peer(endless(head, b"10000\r\n" + piece + b"\r\n" if b"chunked" in head else piece)) as shop:
            with pytest.raises(AnswerTooLarge, match=r"/: the answer is larger than max_size, 1000000 bytes"):
                send(action(shop, max_size=1_000_000), 60)
            assert shop.gone.wait(10)
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()


def test_a_small_body_that_unpacks_to_a_large_one_ends_at_the_size_limit() -> None:
    bomb = gzip.compress(b"\0" * 200_000_000, 9)
    tracemalloc.start()
    try:
        with peer(plain("200 OK", bomb, "Content-Encoding: gzip")) as shop, pytest.raises(AnswerTooLarge):
            send(action(shop, max_size=1_000_000), 60)
        assert tracemalloc.get_traced_memory()[1] < 16_000_000
    finally:
        tracemalloc.stop()


def test_a_body_of_just_the_limit_is_taken() -> None:
    with peer(plain("200 OK", b"x" * 1000)) as shop:
        assert send(action(shop, max_size=1000), 10)["text"] == "x" * 1000
        with pytest.raises(AnswerTooLarge):
            send(action(shop, max_size=999), 10)


def test_a_peer_that_refuses_before_it_has_read_all_is_understood() -> None:
    def refuse(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass

    with peer(refuse) as shop, pytest.raises(UnexpectedStatus, match="413"):
        send(action(shop, method="POST", body="x" * 1_000_000), 10)


# Redirects


def to(where: str, status: str = "302 Found") -> Answer:
    return plain(status, b"moved", f"Location: {where}")


def test_a_redirect_is_not_followed_unless_asked() -> None:
    with peer(to("/there")) as shop:
        with pytest.raises(UnexpectedStatus, match=r"the answer is 302 Found, .* `redirects: 5` would follow"):
            send(action(shop), 10)
        assert send(action(shop, expect=(200, 399)), 10)["headers"]["location"] == "/there"
        assert len(shop.requests) == 2


def test_redirects_are_followed_as_often_as_asked() -> None:
    with peer(to("/a?b=c#d"), to("./e"), plain("200 OK", b"here")) as shop:
        assert send(action(shop, redirects=2), 10)["text"] == "here"
        assert [request.split()[1] for request in shop.requests] == [b"/?token=secret", b"/a?b=c", b"/e"]
    with peer(to("/again")) as shop:
        with pytest.raises(HttpError, match="redirected again, after 3 redirects"):
            send(action(shop, redirects=3), 10)
        assert len(shop.requests) == 4


@pytest.mark.parametrize(
    ("status", "method", "then"),
    [
        ("301 Moved", "POST", "GET"),
        ("302 Found", "POST", "GET"),
        ("303 See Other", "POST", "GET"),
        ("303 See Other", "PUT", "GET"),
        ("307 Temporary", "POST", "POST"),
        ("308 Permanent", "POST", "POST"),
        ("302 Found", "PUT", "PUT"),
    ],
)
def test_what_a_redirect_makes_of_a_body(status: str, method: str, then: str) -> None:
    with peer(to("/there", status), plain()) as shop:
        send(action(shop, method=method, json={"a": 1}, redirects=1), 10)
        assert shop.head[0] == f"{then} /there HTTP/1.1"
        assert shop.body == (b"" if then == "GET" else b'{"a": 1}')
        assert shop.header("content-type") == ([] if then == "GET" else ["application/json"])


def test_another_host_gets_no_credentials() -> None:
    with peer(plain()) as other, peer(to(f"{other.url}/x")) as shop:
        url = f"http://ada:secret@127.0.0.1:{shop.port}/"
        headers = {"token": "secret", "X-Key": "secret", "Cookie": "a=secret", "Accept": "text/csv"}
        send(HttpAction("GET", url, headers=headers, redirects=1), 10)
        assert shop.header("token") == ["secret"]
        assert b"secret" not in other.requests[0]
        assert other.header("authorization") == []
        assert other.header("accept") == ["text/csv"]


def test_the_same_host_gets_them_again() -> None:
    with peer(to("/x"), plain()) as shop:
        send(action(shop, headers={"token": "secret"}, redirects=1), 10)
        assert shop.header("token") == ["secret"]


@pytest.mark.parametrize("where", ["ftp://x/", "file:///etc/passwd", "http://", "javascript:alert(1)", "http://[::1"])
def test_a_redirect_to_what_is_no_url_is_refused(where: str) -> None:
    with peer(to(where)) as shop, pytest.raises(HttpError, match=r"GET http://127\.0\.0\.1:\d+/: redirected"):
        send(action(shop, redirects=5), 10)


def test_the_body_of_a_redirect_is_not_read() -> None:
    with peer(endless(b"HTTP/1.1 302 Found\r\nLocation: /x\r\n\r\n", b"x" * 65536), plain("200 OK", b"here")) as shop:
        assert send(action(shop, redirects=1), 60)["text"] == "here"


def test_all_redirects_share_one_time_limit() -> None:
    def slow(connection: socket.socket) -> None:
        time.sleep(0.15)
        to("/again")(connection)

    with peer(slow) as shop:
        with pytest.raises(AnswerTimeout):
            send(action(shop, redirects=20), SHORT)
        assert len(shop.requests) < 6


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for localhost with its key, signed by itself."""
    needs_program("openssl")
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
    keys = ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(path), "-out", str(path.with_suffix(".crt"))]
    subprocess.run([*command.split(), *keys], check=True, capture_output=True)
    path.write_text(path.read_text() + path.with_suffix(".crt").read_text())
    return path


def serving(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def test_a_certificate_that_is_trusted_is_taken(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.with_suffix(".crt")))
    with peer(plain("200 OK", b"safe"), tls=serving(certificate)) as shop:
        assert send(HttpAction("GET", f"https://localhost:{shop.port}/"), 10)["text"] == "safe"


def test_one_that_is_not_trusted_is_refused(certificate: Path) -> None:
    with (
        peer(plain(), tls=serving(certificate)) as shop,
        pytest.raises(ConnectionFailed, match="its certificate can't be trusted: self-signed certificate"),
    ):
        send(HttpAction("GET", f"https://localhost:{shop.port}/"), 10)
    assert shop.requests == []


def test_one_of_another_host_is_refused(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.with_suffix(".crt")))
    with (
        peer(plain(), tls=serving(certificate)) as shop,
        pytest.raises(ConnectionFailed, match=r"its certificate can't be trusted: .*mismatch"),
    ):
        send(HttpAction("GET", f"https://127.0.0.1:{shop.port}/"), 10)


def test_what_is_not_tls_is_told() -> None:
    answer = raw(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    with peer(answer, reads=False) as shop, pytest.raises(ConnectionFailed, match="TLS failed: WRONG_VERSION_NUMBER"):
        send(HttpAction("GET", f"https://127.0.0.1:{shop.port}/"), 10)


def test_a_handshake_that_hangs_ends_at_the_time_limit() -> None:
    with peer(silent) as shop, pytest.raises(AnswerTimeout):
        send(HttpAction("GET", f"https://127.0.0.1:{shop.port}/"), SHORT)
    eventually(lambda: not sending())


def test_a_redirect_to_plain_http_is_refused(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.with_suffix(".crt")))
    with peer(plain()) as other, peer(to(other.url), tls=serving(certificate)) as shop:
        with pytest.raises(HttpError, match="from https to http, which is not followed"):
            send(HttpAction("GET", f"https://localhost:{shop.port}/", redirects=1), 10)
        assert other.requests == []
