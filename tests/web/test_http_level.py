"""What a client can do to HTTP itself: raw bytes to the web processes as they run in service."""

from __future__ import annotations

import gzip

import pytest
from redis import Redis

from tests.support import eventually
from tests.web.site import (
    FAILURES,
    MAX_BODY,
    OTHER_TOKEN,
    PASSWORD,
    TOKEN,
    Answer,
    Gunicorn,
    Refusal,
    accepted,
    many,
    nothing_stored,
    path,
    refusal,
    request,
)
from trigger.web.server import ONCE

POST = f"POST {path('open/any')} HTTP/1.1\r\nHost: localhost\r\n".encode()
GET = f"GET {path('open/any')} HTTP/1.1\r\nHost: localhost\r\n".encode()
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n"
END = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


@pytest.fixture(autouse=True)
def _empty(redis: Redis) -> None:
    """Each test begins with an empty Redis."""


def test_a_call_over_a_socket_is_accepted(gunicorn: Gunicorn) -> None:
    answer = gunicorn.call("open/any", body=b'{"name":"Ada"}')
    uid = accepted(answer)
    assert gunicorn.call(f"/v1/executions/{uid}", "GET").json["response"]["input"] == {"name": "Ada"}


# B1, B2: too large


def test_b1_a_declared_length_over_the_limit_is_413_before_the_body_is_sent(gunicorn: Gunicorn, redis: Redis) -> None:
    for length in (2 * 1024**2, 2 * 1024**3, 10**14):
        answer = gunicorn.send(POST + f"Content-Length: {length}\r\n\r\n".encode())
        assert refusal(answer).code == "requestError.bodyTooLarge"
        assert answer.status == 413
    assert nothing_stored(redis)


def test_b1_a_body_that_is_sent_all_the_same_does_not_drown_the_answer(gunicorn: Gunicorn, redis: Redis) -> None:
    body = b" " * 3_000_000
    answer = gunicorn.send(POST + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
    assert refusal(answer).status == 413
    assert nothing_stored(redis)


def test_b2_a_chunked_body_over_the_limit_is_413(gunicorn: Gunicorn, redis: Redis) -> None:
    for sent in (chunk(b"{}" + b" " * MAX_BODY) + END, chunk(b" ") * (MAX_BODY + 1) + END, chunk(b" " * 99_000) * 11):
        assert refusal(gunicorn.send(CHUNKED + b"\r\n" + sent)).status == 413
    assert nothing_stored(redis)


def test_b2_a_chunked_body_up_to_the_limit_is_accepted(gunicorn: Gunicorn) -> None:
    accepted(gunicorn.send(CHUNKED + b"\r\n" + chunk(b"{}" + b" " * (MAX_BODY - 2)) + END))
    accepted(gunicorn.send(CHUNKED + b"\r\n" + chunk(b"{") + chunk(b"}") + END))


# B3, B5, B6: where a request ends


@pytest.mark.parametrize(
    "sent",
    [
        b"zz\r\n{}\r\n" + END,
        b"-2\r\n{}\r\n" + END,
        b"0x2\r\n{}\r\n" + END,
        b" 2\r\n{}\r\n" + END,
        b"2 \n{}\r\n" + END,
        b"2;=\r\n{}\r\n" + END,
        b"2\r\n{}XX" + END,
        b"fffffffffffffffff\r\n{}\r\n" + END,
        b"\r\n{}\r\n" + END,
    ],
)
def test_b3_a_malformed_chunk_is_400_and_closes(gunicorn: Gunicorn, redis: Redis, sent: bytes) -> None:
    with gunicorn.connect() as connection:
        connection.send(CHUNKED + b"\r\n" + sent + GET + b"\r\n")
        connection.finish()
        assert refusal(connection.answer()).status in (400, 413)
        assert connection.is_closed()
    assert nothing_stored(redis)


@pytest.mark.parametrize(
    ("headers", "statuses"),
    [
        pytest.param(b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n", (400,), id="both"),
        pytest.param(b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n", (400,), id="both, other order"),
        pytest.param(b"Content-Length: 2\r\nContent-Length: 2\r\n", (400,), id="the same length twice"),
        pytest.param(b"Content-Length: 2\r\nContent-Length: 3\r\n", (400,), id="two lengths"),
        pytest.param(b"Content-Length: 2, 2\r\n", (400,), id="list"),
        pytest.param(b"Content-Length: +2\r\n", (400,), id="sign"),
        pytest.param(b"Content-Length: -1\r\n", (400,), id="negative"),
        pytest.param(b"Content-Length: 1_0\r\n", (400,), id="underscore"),
        pytest.param(b"Content-Length: 0x2\r\n", (400,), id="hexadecimal"),
        pytest.param(b"Content-Length: \xb2\r\n", (400,), id="superscript"),
        pytest.param(b"Content-Length: 2 2\r\n", (400,), id="blank"),
        pytest.param(b"Content-Length: " + b"9" * 5000 + b"\r\n", (400, 413), id="5,000 digits"),
        pytest.param(b"Transfer-Encoding: xchunked\r\n", (400, 501), id="unknown coding"),
        pytest.param(b"Transfer-Encoding: gzip\r\n", (400, 501), id="gzip"),
        pytest.param(b"Transfer-Encoding: gzip, chunked\r\n", (400, 501), id="gzip and chunked"),
        pytest.param(b"Transfer-Encoding: chunked, identity\r\n", (400, 501), id="chunked not last"),
        pytest.param(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", (400, 501), id="chunked twice"),
        pytest.param(b"Transfer-Encoding:\x0bchunked\r\n", (400, 501), id="vertical tab"),
        pytest.param(b"Transfer-Encoding : chunked\r\n", (400,), id="blank before colon"),
    ],
)
def test_b5_a_length_that_can_be_read_in_two_ways_is_refused(
    gunicorn: Gunicorn, redis: Redis, headers: bytes, statuses: tuple[int, ...]
) -> None:
    with gunicorn.connect() as connection:
        connection.send(POST + headers + b"\r\n" + b"{}" + GET + b"\r\n")
        assert refusal(connection.answer()).status in statuses
        assert connection.is_closed()
    assert nothing_stored(redis)


def test_b5_a_coding_below_the_chunks_is_refused(gunicorn: Gunicorn, redis: Redis) -> None:
    head = POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n"
    for body in (b"{}", gzip.compress(b"{}")):
        assert refusal(gunicorn.send(head + chunk(body) + END)).status == 400
    assert nothing_stored(redis)


def test_b5_chunked_needs_http_1_1(gunicorn: Gunicorn, redis: Redis) -> None:
    answer = gunicorn.send(CHUNKED.replace(b"HTTP/1.1", b"HTTP/1.0") + b"\r\n" + chunk(b"{}") + END)
    assert refusal(answer).status == 400
    assert nothing_stored(redis)


def test_b6_a_refused_body_is_never_read_as_the_next_request(gunicorn: Gunicorn, redis: Redis) -> None:
    hidden = GET + b"\r\n"
    for target in ("none/none", "keyed/one", "open/get"):
        with gunicorn.connect() as connection:
            connection.send(request("POST", path(target), {"Content-Length": str(len(hidden))}) + hidden)
            connection.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert refusal(connection.answer()).status in (401, 404, 405)
            assert connection.answer().json == {"response": {"status": "alive"}}
    with gunicorn.connect() as connection:
        connection.send(POST + f"Content-Length: {len(hidden) * 100}\r\n\r\n".encode() + hidden * 100)
        connection.finish()
        assert refusal(connection.answer()).status == 413
        assert connection.rest() == b""
    assert nothing_stored(redis)


def test_pipelined_requests_are_answered_in_order(gunicorn: Gunicorn, redis: Redis) -> None:
    with gunicorn.connect() as connection:
        connection.send((POST + b"Content-Length: 2\r\n\r\n{}") * 3 + GET + b"Connection: close\r\n\r\n")
        uids = {accepted(connection.answer()) for _ in range(4)}
        assert connection.is_closed()
    assert redis.llen("rq:queue:default") == len(uids) == 4


# B4: clients that dawdle


def test_b4_a_body_that_breaks_off_is_refused(gunicorn: Gunicorn, redis: Redis) -> None:
    for sent in (POST + b"Content-Length: 10\r\n\r\n{}", CHUNKED + b"\r\n" + chunk(b"{}")):
        with gunicorn.connect() as connection:
            connection.send(sent)
            connection.finish()
            assert refusal(connection.answer()).status == 400
            assert connection.is_closed()
    assert nothing_stored(redis)


def test_b4_clients_that_dawdle_are_let_go_and_keep_nobody_waiting(gunicorn: Gunicorn, redis: Redis) -> None:
    headers, body = POST[:30], POST + b"Content-Length: 10\r\n\r\n{"
    chunks = CHUNKED + b"\r\n" + chunk(b"{")[:-1]
    with (
        many(gunicorn, 70, b"") as silent,
        many(gunicorn, 70, headers) as slow_headers,
        many(gunicorn, 70, body) as slow_bodies,
        many(gunicorn, 70, chunks) as slow_chunks,
    ):
        for _ in range(20):
            accepted(gunicorn.call("open/any", body=b"{}"))
        assert gunicorn.call("/readyz", "GET").status == 200
        assert all(connection.is_waiting() for connection in slow_headers + slow_bodies + slow_chunks)
        for connection in slow_bodies + slow_chunks:
            answer = connection.answer_or_end()
            assert answer is None or refusal(answer).status == 408
        for connection in silent + slow_headers:
            answer = connection.answer_or_end()
            assert answer is None or refusal(answer).status in (400, 408)
    assert redis.llen("rq:queue:default") == 20


# B7, B8


def test_b7_a_compressed_body_is_inflated_within_the_limit_only(gunicorn: Gunicorn, redis: Redis) -> None:
    bomb = gzip.compress(b" " * 1_000_000)
    assert len(bomb) < MAX_BODY
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    assert refusal(gunicorn.call("open/any", body=bomb, headers=headers)).status == 413
    assert nothing_stored(redis)


def test_b8_expect_100_continue_works(gunicorn: Gunicorn) -> None:
    with gunicorn.connect() as connection:
        connection.send(POST + b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        assert connection.line() == "HTTP/1.1 100 Continue"
        connection.send(b"{}")
        accepted(connection.answer())


def test_b8_another_expectation_is_417(gunicorn: Gunicorn, redis: Redis) -> None:
    assert refusal(gunicorn.send(POST + b"Content-Length: 2\r\nExpect: foo\r\n\r\n{}")).status == 417
    assert nothing_stored(redis)


# B9 to B11: verbs


@pytest.mark.parametrize(
    ("method", "status"),
    [("HEAD", 405), ("PUT", 405), ("DELETE", 405), ("TRACE", 405), ("FOO", 405), ("OPTIONS", 200), ("post", 400)],
)
def test_b9_b10_other_verbs_start_nothing(gunicorn: Gunicorn, redis: Redis, method: str, status: int) -> None:
    with gunicorn.connect() as connection:
        connection.send(request(method, path("open/any"), {"Host": "localhost", "Connection": "close"}))
        answer = connection.answer(head=method == "HEAD")
        assert answer.status == status
        if status in (200, 405):
            assert answer.headers["allow"] == "GET, POST"
        if method == "HEAD":
            assert connection.is_closed()  # no body
        elif status >= 400:
            refusal(answer)
    assert nothing_stored(redis)


@pytest.mark.parametrize(
    "line", ["CONNECT localhost:80 HTTP/1.1", "CONNECT /v1/api/open/any/async HTTP/1.1", "OPTIONS * HTTP/1.1"]
)
def test_b10_other_forms_of_the_target_start_nothing(gunicorn: Gunicorn, redis: Redis, line: str) -> None:
    assert refusal(gunicorn.send(f"{line}\r\nHost: localhost\r\n\r\n".encode())).status in (400, 404, 405)
    assert nothing_stored(redis)


def test_b11_a_method_override_is_ignored(gunicorn: Gunicorn, redis: Redis) -> None:
    answer = gunicorn.call("open/post", "GET", headers={"X-HTTP-Method-Override": "POST"})
    assert refusal(answer).status == 405
    assert nothing_stored(redis)


# B13, B14: paths


@pytest.mark.parametrize(
    "target",
    [
        "/v1/api/open%2Fany/async",
        "/v1/api/open/%61ny/async",
        "/v1/api%2fopen/any/async",
        "//v1/api/open/any/async",
        "/v1/api//open//any/async",
        "/v1/api/open/any/async/",
        "/v1/api/Open/any/async",
        "/v1/api/open/any%20/async",
        "/v1/api/open/any;x/async",
        "/v1/api/open/%2e%2e/open/any/async",
        "/v1/api/open/../open/any/async",
        "/v1/api/./open/any/async",
        "/v1/api/open/%EF%BD%81ny/async",
        "/v1/api/open/any%00/async",
        "/v1/api/open/any%0d%0aX:y/async",
        "/v1/api/open/%ff%fe/async",
        "/v1/api/open/any/async%0a",
        "/%0d%0aSet-Cookie:x",
    ],
)
def test_b13_b14_any_other_path_is_404_and_one_line_of_the_log(gunicorn: Gunicorn, redis: Redis, target: str) -> None:
    before = gunicorn.log.count("\n")
    answer = gunicorn.call(target, "GET")
    assert refusal(answer).status == 404
    assert "location" not in answer.headers
    assert "set-cookie" not in answer.headers
    eventually(lambda: gunicorn.log.count("\n") > before)
    assert gunicorn.log.count("\n") == before + 1
    assert nothing_stored(redis)


@pytest.mark.parametrize(
    "target", [b"/v1/api/open/any\x00/async", b"/v1/api/open/\xff/async", b"/v1/api/open/any\t/async"]
)
def test_b14_raw_bytes_that_no_path_has_are_400(gunicorn: Gunicorn, redis: Redis, target: bytes) -> None:
    assert refusal(gunicorn.send(b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")).status == 400
    assert nothing_stored(redis)


# B16, B17: headers that would lead us astray


@pytest.mark.parametrize(
    "header",
    [
        "SCRIPT_NAME: /v1/api/open/any",
        "SCRIPT-NAME: /v1",
        "PATH_INFO: /v1/api/keyed/one/async",
        "Path-Info: /v1/api/keyed/one/async",
        "X-Forwarded-Prefix: /x",
        "X-Original-URL: /v1/api/keyed/one/async",
        "X-Rewrite-URL: /v1/api/keyed/one/async",
        "X-Script-Name: /x",
        "REQUEST_METHOD: PUT",
        "Remote-Addr: 6.6.6.6",
        "X-Forwarded-For: 6.6.6.6",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: evil.example",
        "Forwarded: for=6.6.6.6",
    ],
)
def test_b16_no_header_changes_where_a_call_goes_or_comes_from(gunicorn: Gunicorn, header: str) -> None:
    answer = gunicorn.send(GET + header.encode() + b"\r\n\r\n")
    uid = accepted(answer)
    record = gunicorn.call(f"/v1/executions/{uid}", "GET").json["response"]
    assert (record["module"], record["method"]) == ("open", "any")
    assert "6.6.6.6" not in gunicorn.log
    assert "client=127.0.0.1" in gunicorn.log


@pytest.mark.parametrize("host", ["evil.example", "evil.example:99999", "a b", "", "<script>"])
def test_b17_the_host_is_used_for_no_link(gunicorn: Gunicorn, host: str) -> None:
    answer = gunicorn.call("open/any", headers={"Host": host})
    accepted(answer)
    assert host not in "\n".join(answer.headers.values()) or not host
    refused = gunicorn.call("//open/any", headers={"Host": "evil.example"})
    assert "evil" not in str(refused.headers)


def test_b17_two_hosts_are_400(gunicorn: Gunicorn, redis: Redis) -> None:
    assert refusal(gunicorn.send(GET + b"Host: other\r\n\r\n")).status == 400
    assert nothing_stored(redis)


# B18: limits


@pytest.mark.parametrize(
    ("sent", "statuses"),
    [
        pytest.param(b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", (414,), id="long line"),
        pytest.param(GET + b"".join(b"h%d: x\r\n" % n for n in range(150)) + b"\r\n", (431,), id="150 headers"),
        pytest.param(GET + b"long: " + b"x" * 9000 + b"\r\n\r\n", (431,), id="9 KB header"),
        pytest.param(GET + b"h: " + b"x" * 2_000_000 + b"\r\n\r\n", (431,), id="2 MB header"),
        pytest.param(b"GET /healthz\r\n\r\n", (400,), id="HTTP/0.9"),
        pytest.param(b"GET /healthz HTTP/3.0\r\n\r\n", (400, 505), id="HTTP/3.0"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400, 505), id="h2 preface"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", (400,), id="TLS"),
        pytest.param(b"GET  /healthz HTTP/1.1\r\n\r\n", (400,), id="two blanks"),
        pytest.param(b"\x00\x00\r\n\r\n", (400,), id="junk"),
        pytest.param(GET + b"no colon\r\n\r\n", (400,), id="no colon"),
        pytest.param(GET + b"bad\x00name: x\r\n\r\n", (400,), id="bad name"),
    ],
)
def test_b18_what_breaks_the_limits_or_the_rules_is_refused_in_our_shape(
    gunicorn: Gunicorn, redis: Redis, sent: bytes, statuses: tuple[int, ...]
) -> None:
    with gunicorn.connect() as connection:
        connection.send(sent)
        assert refusal(connection.answer()).status in statuses
        assert connection.is_closed()
    assert nothing_stored(redis)


# B19: multipart


def part(name: str, value: bytes = b"", extra: str = "") -> bytes:
    return f'--b\r\nContent-Disposition: form-data; name="{name}"{extra}\r\n\r\n'.encode() + value + b"\r\n"


@pytest.mark.parametrize(
    ("boundary", "body", "status"),
    [
        pytest.param("; boundary=b", part("name", b"Ada") + b"--b--", 202, id="fields"),
        pytest.param("; boundary=b", part("a") * 2000 + b"--b--", 413, id="2,000 parts"),
        pytest.param("; boundary=b", part("a", b"x" * 600_000) + b"--b--", 413, id="600 KB field"),
        pytest.param("", part("a") + b"--b--", 400, id="no boundary"),
        pytest.param("; boundary=b", part("a", b"x", '; filename="f"') + b"--b--", 415, id="file"),
    ],
)
def test_b19_multipart(gunicorn: Gunicorn, redis: Redis, boundary: str, body: bytes, status: int) -> None:
    answer = gunicorn.call("open/any", body=body, headers={"Content-Type": f"multipart/form-data{boundary}"})
    assert answer.status == status
    assert nothing_stored(redis) == (status != 202)


# B20, B22


def test_b20_there_is_no_control_socket(gunicorn: Gunicorn) -> None:
    assert [path for path in gunicorn.folder.rglob("*") if path.is_socket()] == []


@pytest.mark.parametrize("target", ["/healthz", "/readyz", "/nothing", "/v1/executions/1764072000123456789012345"])
def test_b22_every_answer_has_the_headers_that_browsers_need(gunicorn: Gunicorn, target: str) -> None:
    answer = gunicorn.call(target, "GET")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-type"] == "application/json"
    assert not any(character.isdigit() for character in answer.headers.get("server", ""))
    assert not any(name.startswith("access-control") for name in answer.headers)


# Credentials as bytes


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param(b"token: " + TOKEN.encode(), 202, id="right"),
        pytest.param(b"TOKEN:" + TOKEN.encode(), 202, id="A8 upper case"),
        pytest.param(b"token: \t " + TOKEN.encode() + b" \t ", 202, id="A6 blanks around it"),
        pytest.param(b"token:", 401, id="A2 empty"),
        pytest.param(b"token: \xc3\xa4\xff\x80", 401, id="A3 bytes"),
        pytest.param(b"token: bad\r\ntoken: " + TOKEN.encode(), 400, id="A7 bad and good"),
        pytest.param(b"token: " + TOKEN.encode() + b"\r\ntoken: bad", 400, id="A7 good and bad"),
        pytest.param(b"token: " + TOKEN.encode() + b"\r\nToken: " + TOKEN.encode(), 400, id="A7 twice the same"),
        pytest.param(b"token: " + TOKEN.encode() + b"\r\nAuthorization: Bearer bad", 400, id="beside another Bearer"),
        pytest.param(b"token: " + TOKEN.encode() + b"\xa0", 401, id="A0 behind it"),
        pytest.param(b"Authorization: Bearer " + TOKEN.encode() + b"\xa0", 401, id="A0 behind a Bearer"),
        pytest.param(b"Authorization: Bearer \x85" + TOKEN.encode(), 401, id="85 before a Bearer"),
        pytest.param(b"Authorization: Bearer \t " + TOKEN.encode() + b" \t", 202, id="blanks around a Bearer"),
        pytest.param(b"to_ken: " + TOKEN.encode(), 401, id="A9 underscore"),
        pytest.param(b"HTTP_TOKEN: " + TOKEN.encode(), 401, id="A9 as in WSGI"),
        pytest.param(b"token_: " + TOKEN.encode(), 401, id="A9 trailing underscore"),
        pytest.param(b"token: " + b"x" * 8192, 431, id="A19 8 KB"),
        pytest.param(b"token: a\x00b", 400, id="A19 NUL"),
        pytest.param(b"token: a\rb", 400, id="A19 CR"),
        pytest.param(b"token: a\nb: c", 400, id="A19 LF"),
        pytest.param(b"token:\r\n " + TOKEN.encode(), 400, id="A19 folded"),
        pytest.param(b"token : " + TOKEN.encode(), 400, id="A19 blank before the colon"),
    ],
)
def test_tokens_as_they_come_over_the_wire(gunicorn: Gunicorn, redis: Redis, headers: bytes, status: int) -> None:
    head = GET.replace(path("open/any").encode(), path("keyed/one").encode())
    answer = gunicorn.send(head + headers + b"\r\nConnection: close\r\n\r\n", source=source())
    assert answer.status == status
    assert nothing_stored(redis) == (status != 202)
    assert TOKEN not in gunicorn.log


@pytest.mark.parametrize("name", sorted(ONCE))
def test_a_header_that_may_come_once_is_refused_when_it_comes_twice(
    gunicorn: Gunicorn, redis: Redis, name: str
) -> None:
    """found.md 33: neither is tried, nor both joined, nor the last one taken."""
    twice = f"{name}: a\r\n{name.lower()}: b\r\n\r\n".encode()
    refused = refusal(gunicorn.send(GET + twice, source=source()))
    said = f"The header {name.lower()} came more than once; send it once"
    assert refused == Refusal(400, "requestError.badRequest", said)
    assert nothing_stored(redis)


def test_a_name_and_a_password_are_compared_as_the_bytes_that_were_sent(gunicorn: Gunicorn) -> None:
    head = GET.replace(path("open/any").encode(), path("named/one").encode()) + b"user: ada\r\npassword: "
    accepted(gunicorn.send(head + PASSWORD.encode() + b"\r\n\r\n", source=source()))
    assert refusal(gunicorn.send(head + PASSWORD.encode("latin-1") + b"\r\n\r\n", source=source())).status == 401


def test_a15_brute_force_is_stopped_for_the_one_who_tries_it(gunicorn: Gunicorn, redis: Redis) -> None:
    attacker, processes = source(), 2

    def attempt() -> Answer:
        return gunicorn.call("keyed/two", headers={"token": "guess"}, source=attacker)

    statuses = [attempt().status for _ in range(processes * FAILURES + 40)]
    assert statuses.count(401) <= processes * FAILURES
    assert set(statuses) == {401, 429}
    assert nothing_stored(redis)
    accepted(gunicorn.call("keyed/two", headers={"token": OTHER_TOKEN}, source=source()))


_sources = iter(range(2, 250))


def source() -> str:
    """A loopback address that no other test calls from."""
    return f"127.0.0.{next(_sources)}"


def test_nothing_above_was_our_fault(gunicorn: Gunicorn) -> None:
    assert "status=500" not in gunicorn.log
    assert "Traceback" not in gunicorn.log
