"""The http action against a real peer: what is sent, what comes back, and what is refused."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from typing import Any

import pytest

from tests.programs import free_port
from tests.support import ROOT
from trigger.config.model import HttpAction
from trigger.errors import AnswerTimeout, AnswerTooLarge, ConnectionFailed, HttpError, UnexpectedStatus
from trigger.fields.model import MISSING
from trigger.workflows.http_action import send

from .peer import Peer, peer, plain, raw

JSON = "Content-Type: application/json"


def action(to: Peer | str, **keys: Any) -> HttpAction:
    url = to if isinstance(to, str) else to.url
    return HttpAction(**{"method": "GET", "url": f"{url}/orders", **keys})


def test_a_get_and_its_json() -> None:
    with peer(plain("200 OK", b'{"total": 7}', JSON, "X-Shop: yard")) as shop:
        output = send(action(shop), 10)
        assert shop.head[0] == "GET /orders HTTP/1.1"
        assert shop.header("host") == [f"127.0.0.1:{shop.port}"]
        assert shop.header("user-agent") == ["Trigger"]
        assert shop.header("accept-encoding") == ["identity"]
    assert output["status"] == 200
    assert output["json"] == {"total": 7}
    assert "text" not in output
    assert output["headers"]["x-shop"] == "yard"
    assert output["headers"]["content-type"] == "application/json"
    json.dumps(output)


@pytest.mark.parametrize(
    ("keys", "body", "kind"),
    [
        (
            {"json": {"sku": "Ä1", "n": [1, None, 2.5]}},
            '{"sku": "Ä1", "n": [1, null, 2.5]}'.encode(),
            "application/json",
        ),
        ({"json": None}, b"null", "application/json"),
        ({"json": "text"}, b'"text"', "application/json"),
        (
            {"form": {"a": "x y", "tags": ["p", "q"], "n": 5, "no": None}},
            b"a=x+y&tags=p&tags=q&n=5",
            "application/x-www-form-urlencoded",
        ),
        ({"body": "größer"}, "größer".encode(), "text/plain; charset=utf-8"),
        ({"body": {"made": "by an expression"}}, b'{"made":"by an expression"}', "text/plain; charset=utf-8"),
        ({"body": "<x/>", "headers": {"content-type": "text/xml"}}, b"<x/>", "text/xml"),
    ],
)
def test_a_body_is_json_or_a_form_or_text(keys: dict[str, Any], body: bytes, kind: str) -> None:
    with peer(plain()) as shop:
        send(action(shop, method="POST", **keys), 10)
        assert shop.body == body
        assert shop.header("content-type") == [kind]
        assert shop.header("content-length") == [str(len(body))]


def test_a_post_without_a_body_says_so() -> None:
    with peer(plain()) as shop:
        send(action(shop, method="POST"), 10)
        assert shop.header("content-length") == ["0"]
        assert shop.header("content-type") == []


def test_query_values_join_those_of_the_url() -> None:
    with peer(plain()) as shop:
        url = f"{shop.url}/find?page=2#part"
        send(HttpAction("GET", url, query={"q": "a b&c", "tag": ["x", "y"], "n": 3, "yes": True, "none": None}), 10)
        assert shop.head[0] == "GET /find?page=2&q=a+b%26c&tag=x&tag=y&n=3&yes=true HTTP/1.1"


def test_headers_are_sent_as_declared_and_null_ones_are_not() -> None:
    with peer(plain()) as shop:
        send(action(shop, headers={"User-Agent": "me", "X-N": 5, "X-None": None, "Accept": "text/csv"}), 10)
        assert shop.header("user-agent") == ["me"]
        assert shop.header("x-n") == ["5"]
        assert shop.header("x-none") == []
        assert shop.header("accept") == ["text/csv"]


def test_user_and_password_of_the_url_become_basic_authentication() -> None:
    with peer(plain()) as shop:
        send(action(f"http://ada:p%40ss@127.0.0.1:{shop.port}"), 10)
        assert shop.header("authorization") == ["Basic YWRhOnBAc3M="]  # ada:p@ss
        assert "ada" not in shop.head[0]


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\x00", "snow ☃"])
def test_a_header_cannot_smuggle_another(value: str) -> None:
    with peer(plain()) as shop:
        with pytest.raises(HttpError, match="the header X-Note") as caught:
            send(action(shop, headers={"X-Note": value}), 10)
        assert shop.requests == []
    assert value not in str(caught.value)


def test_a_url_cannot_smuggle_a_header() -> None:
    with peer(plain()) as shop:
        send(HttpAction("GET", f"{shop.url}/a b\r\nX-Evil: 1"), 10)
        assert shop.head[0] == "GET /a%20b%0D%0AX-Evil:%201 HTTP/1.1"
        assert shop.header("x-evil") == []


@pytest.mark.parametrize(
    "url",
    ["ftp://x/y", "file:///etc/passwd", "//x/y", "shop/orders", "", "http://", "http://x:99999/", "http://x:0/", 5],
)
def test_what_is_no_url_is_refused(url: Any) -> None:
    with pytest.raises(HttpError, match="must look like https://host/path"):
        send(HttpAction("GET", url), 10)


def test_json_that_is_none_is_text() -> None:
    for body in (b"{oops", b'{"a": NaN}', b'{"a": 1, "a": 2}', b"[" * 5000):
        with peer(plain("200 OK", body, JSON)) as shop:
            output = send(action(shop), 10)
        assert output["text"] == body.decode()
        assert "json" not in output


@pytest.mark.parametrize(
    ("kind", "body", "text"),
    [
        ("text/plain", "größer".encode(), "größer"),
        ("text/plain; charset=iso-8859-1", "größer".encode("latin-1"), "größer"),
        ("text/plain; charset=nonsense", "größer".encode(), "größer"),
        ("text/plain; charset=idna", b"xn--a", "xn--a"),
        ("text/plain; charset=zlib", b"abc", "abc"),
        ("application/octet-stream", b"\x00\xff\xfe", "\x00��"),
        ("application/problem+json; charset=utf-8", b'{"a":1}', None),
    ],
)
def test_texts_are_decoded_as_the_answer_says_where_it_says_it_right(kind: str, body: bytes, text: str | None) -> None:
    with peer(plain("200 OK", body, f"Content-Type: {kind}")) as shop:
        output = send(action(shop), 10)
    assert output.get("text") == text
    assert output.get("json") == (None if text is not None else {"a": 1})


def test_several_headers_of_a_name_are_one_and_cookies_are_left_out() -> None:
    with peer(plain("200 OK", b"", "X-A: 1", "X-A: 2", "Set-Cookie: session=secret")) as shop:
        headers = send(action(shop), 10)["headers"]
    assert headers["x-a"] == "1, 2"
    assert "set-cookie" not in headers


def test_a_chunked_and_a_compressed_answer_are_read() -> None:
    packed = gzip.compress(b'{"a": 1}')
    chunked = b"".join(
        b"%x\r\n%s\r\n" % (len(packed[at : at + 5]), packed[at : at + 5]) for at in range(0, len(packed), 5)
    )
    head = f"HTTP/1.1 200 OK\r\n{JSON}\r\nTransfer-Encoding: chunked\r\nContent-Encoding: gzip\r\n\r\n".encode()
    with peer(raw(head, chunked, b"0\r\n\r\n")) as shop:
        assert send(action(shop), 10)["json"] == {"a": 1}


@pytest.mark.parametrize(
    ("method", "status"), [("HEAD", "200 OK"), ("DELETE", "204 No Content"), ("GET", "304 Not Modified")]
)
def test_an_answer_without_a_body(method: str, status: str) -> None:
    with peer(raw(f"HTTP/1.1 {status}\r\nContent-Length: 5\r\n\r\n".encode())) as shop:
        output = send(action(shop, method=method, expect=(200, 399), max_size=1), 10)
    assert output["text"] == ""


def test_an_unexpected_status_tells_itself_and_what_was_said() -> None:
    body = b'{"error": "no such\\n sku", "key": "s3cr3t-key", "more": "' + b"x" * 1000 + b'"}'
    with peer(plain("503 Busy", body, JSON)) as shop:
        url = f"http://ada:pass-word@127.0.0.1:{shop.port}/orders?token=abcdef"
        with pytest.raises(UnexpectedStatus) as caught:
            send(HttpAction("POST", url, headers={"X-Key": "s3cr3t-key"}, query={"k": "more-secret"}), 10)
        message = str(caught.value)
        assert message.startswith(
            f"POST {shop.url}/orders: the answer is 503 Service Unavailable, not from 200 to 299: "
            '{"error": "no such\\n sku", "key": "…", "more": "xxx'
        )
    assert caught.value.status == 503
    assert caught.value.answer["json"]["error"] == "no such\n sku"
    assert len(message) < 400
    assert not [secret for secret in ("s3cr3t-key", "pass-word", "abcdef", "more-secret") if secret in message]


def test_nothing_is_left_of_a_header_that_holds_another() -> None:
    with peer(plain("403 Forbidden", b"canary-4711 is not a canary")) as shop, pytest.raises(UnexpectedStatus) as said:
        send(HttpAction("GET", shop.url, headers={"X-Key": "canary", "X-Other": "canary-4711"}), 10)
    assert str(said.value).endswith(": … is not a …")


def test_expect_says_what_is_a_success() -> None:
    with peer(plain("404 Not Found", b"gone")) as shop:
        assert send(action(shop, expect=(200, 404)), 10)["status"] == 404
        with pytest.raises(UnexpectedStatus, match="not from 201 to 202"):
            send(action(shop, expect=(201, 202)), 10)


def test_an_odd_status_is_told_by_its_number() -> None:
    with peer(plain("599 Odd")) as shop, pytest.raises(UnexpectedStatus, match="the answer is 599, not"):
        send(action(shop), 10)


def test_of_a_refusal_that_is_too_large_the_beginning_is_enough() -> None:
    with peer(plain("500 Oops", b"y" * 100_000)) as shop, pytest.raises(UnexpectedStatus) as caught:
        send(action(shop, max_size=1000), 10)
    assert caught.value.answer["text"] == "y" * 1000


def test_errors_fit_the_names_of_pythons_own() -> None:
    assert issubclass(ConnectionFailed, ConnectionError)
    assert issubclass(AnswerTimeout, TimeoutError)
    assert issubclass(AnswerTooLarge, HttpError)


def test_nobody_there() -> None:
    url = f"http://ada:secret@127.0.0.1:{free_port()}"
    with pytest.raises(ConnectionFailed, match=r"GET http://127\.0\.0\.1:\d+/orders: connection refused"):
        send(action(url), 10)


def test_a_host_that_is_not_known() -> None:
    with pytest.raises(ConnectionFailed, match="its host has no address that can be found"):
        send(action("http://nowhere.invalid"), 60)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 20",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nab",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd",
    ],
)
def test_an_answer_that_is_none_or_not_whole(answer: bytes) -> None:
    with peer(raw(answer)) as shop, pytest.raises(ConnectionFailed, match=r"GET http://127\.0\.0\.1:\d+/orders: \w+"):
        send(action(shop), 10)


def test_the_environments_proxies_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    with peer(plain("200 OK", b"direct")) as shop:
        assert send(action(shop), 10)["text"] == "direct"


def test_the_action_shows_no_value_in_its_repr() -> None:
    shown = repr(
        HttpAction("POST", "https://u:secret@x/", headers={"A": "secret"}, query={"a": "secret"}, body="secret")
    )
    assert "secret" not in shown
    assert MISSING is HttpAction("GET", "https://x").json


def test_a_process_that_sends_nothing_does_without_urllib3() -> None:
    script = "import sys, trigger.workflows.http_action; print('urllib3' in sys.modules)"
    child = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert child.stdout.strip() == "False"
