"""deploy/nginx.conf, as it is in the repository, in a real nginx in front of the real web processes."""

from __future__ import annotations

import json
import re
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from bench.nginx import SHIPPED, configure
from tests.programs import free_port, needs_program
from tests.support import ROOT, OwnRedis, awaited, eventually
from tests.web.site import (
    CONFIG,
    FAILURES,
    MAX_BODY,
    OPERATOR,
    OTHER_TOKEN,
    PASSWORD,
    TOKEN,
    Answer,
    Connection,
    Gunicorn,
    Refusal,
    Server,
    accepted,
    basic,
    many,
    nothing_stored,
    path,
    refusal,
    request,
)
from trigger.config import Settings
from trigger.config.model import ServerConfig

LIMIT = ServerConfig().max_body

BAD_REQUEST = "requestError.badRequest"
UNAVAILABLE = "serverError.unavailable"


class Nginx(Server):
    """An nginx in `folder` with the shipped file included, in which only addresses and the log's path are others.

    `edits` are further changes: what a test needs the operator to have edited.
    """

    def __init__(self, folder: Path, upstream: int, edits: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.port = free_port()
        self.access_log = folder / "access.log"
        self._arguments = configure(folder, self.port, upstream, edits)

    def __enter__(self) -> Nginx:
        command = [needs_program("nginx"), *self._arguments]
        with (self.folder / "output").open("wb") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)

        def listens() -> bool:
            assert self._process.poll() is None, (self.folder / "output").read_text()
            try:
                self.connect().close()
            except ConnectionRefusedError:
                return False
            return True

        eventually(listens)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()


@pytest.fixture(scope="module")
def web(redis_server: OwnRedis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    """The web processes with the shipped limit on bodies, behind one trusted proxy."""
    folder = tmp_path_factory.mktemp("web")
    server = f"max_body: {LIMIT}\n  proxies: 1"
    (folder / "config.yaml").write_text(CONFIG.replace(f"max_body: {MAX_BODY}", server))
    with Gunicorn(folder, redis_server.url) as web:
        yield web


@pytest.fixture(scope="module")
def module_nginx(web: Gunicorn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    with Nginx(tmp_path_factory.mktemp("nginx"), web.port) as nginx:
        yield nginx


@pytest.fixture
def nginx(module_nginx: Nginx, redis: Redis) -> Nginx:
    """The shipped nginx.conf in front of the web processes, with an empty Redis behind them."""
    return module_nginx


_sources = iter(range(2, 250))


def source() -> str:
    """A loopback address that no other test calls from."""
    return f"127.0.0.{next(_sources)}"


def test_what_the_file_repeats_is_what_trigger_defaults_to() -> None:
    assert "client_max_body_size 1m;" in SHIPPED
    assert LIMIT == 1024**2
    assert f"location ~ ^{ServerConfig().prefix}/ {{" in SHIPPED
    settings = Settings.from_environ({})
    assert f"server {settings.host}:{settings.port};" in SHIPPED
    keepalive = re.search(r"^keepalive = (\d+)", (ROOT / "gunicorn.conf.py").read_text(), re.MULTILINE)
    assert keepalive
    assert int(keepalive[1]) == 5
    assert "keepalive_timeout 4s;" in SHIPPED


# What passes


def test_a_call_passes_and_its_record_can_be_read(nginx: Nginx) -> None:
    uid = accepted(nginx.call("open/any", body=b'{"name":"Ada"}'))
    answer = nginx.call(f"/v1/executions/{uid}", "GET")
    assert answer.json["response"]["input"] == {"name": "Ada"}
    assert answer.headers["cache-control"] == "no-store"
    assert nginx.call("/healthz", "GET").json == {"response": {"status": "alive"}}
    assert nginx.call("/readyz", "GET").status == 200


def test_the_figures_do_not_pass(nginx: Nginx, web: Gunicorn) -> None:
    assert refusal(web.call("/metrics", "GET")).status == 401
    for target in ("/metrics", "/metrics/", "/healthz/../metrics", "//metrics"):
        assert refusal(nginx.call(target, "GET")).status == 404


def test_the_description_of_the_apis_passes_and_so_does_its_page(nginx: Nginx) -> None:
    who = basic("admin", OPERATOR)
    assert nginx.call("/openapi.json", "GET", headers=who).json["openapi"] == "3.1.0"
    page = nginx.call("/docs", "GET", headers=who)
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    script = nginx.call("/docs/swagger-ui-bundle.js", "GET", headers={**who, "Accept-Encoding": "gzip"})
    assert (script.status, script.headers["content-encoding"]) == (200, "gzip")
    etag = {"If-None-Match": script.headers["etag"]}
    assert nginx.call("/docs/swagger-ui-bundle.js", "GET", headers={**who, **etag}).status == 304
    assert refusal(nginx.call("/docs", "GET")).status == 401


def test_a_get_passes_with_its_query(nginx: Nginx) -> None:
    uid = accepted(nginx.call(path("open/any") + "?name=A%26a&x=%C3%A4", "GET"))
    assert nginx.call(f"/v1/executions/{uid}", "GET").json["response"]["input"] == {"name": "A&a", "x": "ä"}


def test_the_largest_body_passes_and_a_chunked_one_too(nginx: Nginx) -> None:
    accepted(nginx.call("open/any", body=b"{}" + b" " * (LIMIT - 2)))
    head = request("POST", path("open/any"), {"Host": "localhost", "Transfer-Encoding": "chunked"})
    accepted(nginx.send(head + b"2\r\n{}\r\n" + b"8000\r\n" + b" " * 0x8000 + b"\r\n0\r\n\r\n"))


@pytest.mark.parametrize(
    ("api", "headers"),
    [
        ("keyed/one", {"token": TOKEN}),
        ("keyed/one", {"TOKEN": TOKEN}),
        ("keyed/one", {"Authorization": f"Bearer {TOKEN}"}),
        ("named/one", {"user": "ada", "password": PASSWORD}),
        ("named/one", basic("ada", PASSWORD)),
    ],
)
def test_credentials_pass_in_every_form(nginx: Nginx, api: str, headers: dict[str, str]) -> None:
    accepted(nginx.call(api, headers=headers))


@pytest.mark.parametrize(
    ("target", "method", "sent", "expected"),
    [
        ("keyed/one", "POST", {}, Refusal(401, "requestError.invalidParams", "Token is required")),
        (
            "named/one",
            "POST",
            {"headers": basic("ada", "wrong")},
            Refusal(401, "requestError.unauthorized", "User/Password is invalid"),
        ),
        ("keyed/none", "POST", {}, Refusal(404, "requestError.apiNotFound", "There is no such API")),
        ("open/off", "POST", {}, Refusal(403, "requestError.apiNotEnabled", "API is not enabled")),
        ("open/get", "POST", {}, Refusal(405, "requestError.methodNotAllowed", "The API accepts GET")),
        (
            "open/order",
            "POST",
            {"body": b"{}"},
            Refusal(400, "requestError.invalidParams", "The input is invalid", {"fields": {"sku": ["is required"]}}),
        ),
    ],
)
def test_triggers_own_errors_pass_as_they_are(
    nginx: Nginx, redis: Redis, target: str, method: str, sent: dict[str, Any], expected: Refusal
) -> None:
    answer = nginx.call(target, method, **sent)
    assert refusal(answer) == expected
    assert ("www-authenticate" in answer.headers) == (expected.status == 401)
    assert ("allow" in answer.headers) == (expected.status == 405)
    assert nothing_stored(redis)


# The client's address


def last_line(web: Gunicorn, word: str) -> str:
    """The line of the service's log that has `word`, once it is there."""
    return eventually(lambda: next((line for line in reversed(web.log.splitlines()) if word in line), ""))


def test_the_clients_address_reaches_the_log_and_cannot_be_made_up(nginx: Nginx, web: Gunicorn) -> None:
    client = source()
    for spoof in ({}, {"X-Forwarded-For": "6.6.6.6"}, {"X_Forwarded_For": "6.6.6.6"}, {"Forwarded": "for=6.6.6.6"}):
        uid = accepted(nginx.call("open/any", headers=spoof, source=client))
        assert f" client={client} " in last_line(web, f"uid={uid}")
    assert "6.6.6.6" not in web.log


def test_brute_force_is_stopped_for_the_client_who_tries_it_and_no_other(nginx: Nginx, redis: Redis) -> None:
    attacker, processes = source(), 2

    def attempt(number: int) -> Answer:
        spoof = {"token": "guess", "X-Forwarded-For": f"6.6.6.{number}"}
        return nginx.call("keyed/two", headers=spoof, source=attacker)

    answers = [attempt(number) for number in range(processes * FAILURES + 40)]
    assert {answer.status for answer in answers} == {401, 429}
    assert sum(answer.status == 401 for answer in answers) <= processes * FAILURES
    assert int(answers[-1].headers["retry-after"]) > 0
    assert refusal(answers[-1]).code == "requestError.tooManyRequests"
    assert nothing_stored(redis)
    accepted(nginx.call("keyed/two", headers={"token": OTHER_TOKEN}, source=source()))


# What nginx refuses itself


def test_bodies_that_nobody_reads_break_no_call_of_others(nginx: Nginx) -> None:
    """nginx uses its connections to Trigger for all of its clients."""
    stop = threading.Event()
    refused: list[int] = []

    def attack() -> None:
        body = b" " * 200_000
        while not stop.is_set():
            refused.append(nginx.call("no/such", body=body).status)

    attacker = threading.Thread(target=attack)
    attacker.start()
    try:
        eventually(lambda: len(refused) > 3)
        statuses = [nginx.call("open/get", "GET").status for _ in range(150)]
    finally:
        stop.set()
        attacker.join()
    assert set(refused) == {404}
    assert set(statuses) <= {202, 429}


def test_a_body_over_the_limit_is_413_in_our_shape_and_does_not_reach_trigger(
    nginx: Nginx, web: Gunicorn, redis: Redis
) -> None:
    before = web.log.count("\n")
    too_large = Refusal(413, "requestError.bodyTooLarge", "The body is too large")
    declared = request("POST", path("open/any"), {"Host": "localhost", "Content-Length": str(LIMIT + 1)})
    assert refusal(nginx.send(declared)) == too_large
    chunked = request("POST", path("open/any"), {"Host": "localhost", "Transfer-Encoding": "chunked"})
    pieces = b"20000\r\n" + b" " * 0x20000 + b"\r\n"
    assert refusal(nginx.send(chunked + pieces * 9)) == too_large
    accepted(nginx.call("open/any"))  # and is the only line of the log
    eventually(lambda: web.log.count("\n") > before)
    assert web.log.count("\n") == before + 1
    assert redis.llen("rq:queue:default") == 1


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        pytest.param(b"GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n", 400, BAD_REQUEST, id="bad escape"),
        pytest.param(b"GET /v1/api/\0 HTTP/1.1\r\nHost: x\r\n\r\n", 400, BAD_REQUEST, id="NUL"),
        pytest.param(b"GET /v1/api/%00 HTTP/1.1\r\nHost: x\r\n\r\n", 400, BAD_REQUEST, id="escaped NUL"),
        pytest.param(b"GET /../x HTTP/1.1\r\nHost: x\r\n\r\n", 400, BAD_REQUEST, id="above the root"),
        pytest.param(b"GET /healthz HTTP/1.1\r\n\r\n", 400, BAD_REQUEST, id="no Host"),
        pytest.param(b"GET /healthz HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400, BAD_REQUEST, id="two Hosts"),
        pytest.param(b"junk\r\n\r\n", 400, BAD_REQUEST, id="junk"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400, BAD_REQUEST, id="TLS"),
        pytest.param(b"get /healthz HTTP/1.1\r\nHost: x\r\n\r\n", 400, BAD_REQUEST, id="lower case"),
        pytest.param(b"GET /healthz HTTP/2.0\r\nHost: x\r\n\r\n", 505, BAD_REQUEST, id="version"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, BAD_REQUEST, id="h2 preface"),
        pytest.param(
            b"POST /v1/api/x HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            400,
            BAD_REQUEST,
            id="B5 two lengths",
        ),
        pytest.param(
            b"POST /v1/api/x HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
            BAD_REQUEST,
            id="B5 both",
        ),
        pytest.param(
            b"POST /v1/api/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n", 501, BAD_REQUEST, id="coding"
        ),
        pytest.param(
            b"POST /v1/api/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            400,
            BAD_REQUEST,
            id="B3 bad chunk",
        ),
        pytest.param(b"GET /v1/api/" + b"x" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414, BAD_REQUEST, id="long line"),
        pytest.param(
            b"GET /healthz HTTP/1.1\r\nHost: x\r\nh: " + b"x" * 9000 + b"\r\n\r\n", 431, BAD_REQUEST, id="long header"
        ),
        pytest.param(
            b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"h: 123456789\r\n" * 3000 + b"\r\n",
            431,
            BAD_REQUEST,
            id="many headers",
        ),
        pytest.param(
            b"TRACE /v1/api/open/any/async HTTP/1.1\r\nHost: x\r\n\r\n",
            405,
            "requestError.methodNotAllowed",
            id="TRACE",
        ),
        pytest.param(b"GET /trigger-error HTTP/1.1\r\nHost: x\r\n\r\n", 404, "requestError.notFound", id="error page"),
    ],
)
def test_what_nginx_refuses_has_our_shape(nginx: Nginx, redis: Redis, sent: bytes, status: int, code: str) -> None:
    answer = nginx.send(sent)
    assert answer.headers["server"] == "nginx"
    assert answer.status == status
    if status == 505:
        assert answer.json["response"]["error"]["code"] == code
    else:
        assert refusal(answer).code == code
    assert ("allow" in answer.headers) == (status == 405)
    assert nothing_stored(redis)


@pytest.mark.parametrize("target", ["/", "/nope", "/trigger-error", "/healthz", "/console/", path("open/any")])
@pytest.mark.parametrize(
    ("method", "sent", "statuses"),
    [
        ("POST", b"Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n", {400}),
        ("POST", b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n", {400}),
        ("POST", b"Transfer-Encoding: chunked\r\nContent-Length: 99999999\r\n\r\n0\r\n\r\n", {400, 413}),
        ("POST", b"Content-Length: 99999999\r\n\r\n", {413}),
        ("POST", b"Expect: 100-continue\r\nContent-Length: 99999999\r\n\r\n", {413}),
        ("POST", b"Content-Length: 99999999999999999999999\r\n\r\n", {400}),
        ("POST", b"Content-Length: x\r\n\r\n", {400}),
        ("POST", b"Transfer-Encoding: xchunked\r\n\r\n", {501}),
        ("TRACE", b"\r\n", {405}),
        ("CONNECT", b"\r\n", {400, 405}),
        ("GET", b"Host: y\r\n\r\n", {400}),
        ("GET", b"h: " + b"x" * 9000 + b"\r\n\r\n", {431}),
    ],
    ids=lambda value: value[:40].decode().strip() if isinstance(value, bytes) else None,
)
def test_what_nginx_refuses_has_our_shape_on_every_path(
    nginx: Nginx, redis: Redis, target: str, method: str, sent: bytes, statuses: set[int]
) -> None:
    """found.md 34: also where the page of the error is refused in its turn, for it has the same body."""
    answer = nginx.send(f"{method} {target} HTTP/1.1\r\nHost: x\r\n".encode() + sent)
    assert answer.status in statuses
    assert "html" not in answer.headers["content-type"]
    error = answer.json["response"]["error"]
    assert error["code"].startswith("requestError.")
    assert nothing_stored(redis)


def test_a_request_of_http_0_9_gets_our_shape_too(nginx: Nginx) -> None:
    with nginx.connect() as connection:
        connection.send(b"GET /nope\r\n")  # the answer to which has no head
        assert json.loads(connection.rest())["response"]["error"]["code"] == "requestError.notFound"


def test_the_list_the_log_and_the_acts_are_passed_on(nginx: Nginx, redis: Redis) -> None:
    uid = accepted(nginx.call("open/any"))
    operator = basic("admin", OPERATOR)
    listed = nginx.call("/v1/executions?limit=1", "GET", headers=operator).json["response"]
    assert [row["uid"] for row in listed["executions"]] == [uid]
    assert nginx.call(f"/v1/executions/{uid}/logs?wait=0", "GET").json["response"]["lines"] == []
    own = {"Origin": "http://localhost"}  # what a browser sends from a page of the service itself
    cancelled = nginx.call(f"/v1/executions/{uid}/cancel", headers={**operator, **own})
    assert cancelled.json["response"] == {"uid": uid, "status": "cancelled"}


def test_the_console_is_passed_on(nginx: Nginx, redis: Redis) -> None:
    arrival = nginx.call("/", "GET", headers={"Accept": "text/html"})
    assert (arrival.status, arrival.headers["location"]) == (303, "/console/")
    form = nginx.call("/console/sign-in", "GET")
    assert form.status == 200
    assert form.headers["content-type"] == "text/html; charset=utf-8"
    own = {"Origin": "http://localhost", "Content-Type": "application/x-www-form-urlencoded"}
    signed_in = nginx.call("/console/sign-in", body=f"user=admin&password={OPERATOR}".encode(), headers=own)
    assert (signed_in.status, signed_in.headers["location"]) == (303, "/console/")
    cookie = signed_in.headers["set-cookie"].partition(";")[0]
    assert nginx.call("/console/system", "GET", headers={"Cookie": cookie}).status == 200
    assert nginx.call("/console/system", "GET").status == 303


def test_between_nginxs_limits_and_triggers_own_it_is_trigger_who_refuses_in_the_same_shape(nginx: Nginx) -> None:
    assert refusal(nginx.call("/v1/api/" + "x" * 5000, "GET")).status == 414
    assert refusal(nginx.call("open/any", headers={f"h{number}": "x" for number in range(150)})).status == 431


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/index.html",
        "/v1",
        "/v1/",
        "/v1/api",
        "/v1/executionsx",
        "/healthz/",
        "/healthz;x",
        "/Healthz",
        "/metrics",
        "/V1/api/open/any/async",
        "/v1/API/open/any/async",
        "/v1/api;x/open/any/async",
        "/v1;/api/open/any/async",
        "/v1/api/open/any/async/",
        "/v1/api/Open/any/async",
        "/v1/api/open/any;/async",
        "/v1/api%2Fopen/any/async",
        "/v1/api/open%2Fany/async",
        "/v1%2fapi/open/any/async",
        "/v1/api/open/%61ny/async",
        "//v1/api/open/any/async",
        "/v1//api/open/any/async",
        "/v1/api/open//any/async",
        "/pub/../v1/api/open/any/async",
        "/v1/api/../api/open/any/async",
        "/v1/api/open/any/async/../async",
        "/v1/api/./open/any/async",
        "/%76%31/api/open/any/async",
        "/v1/api/open/any%20/async",
        "/v1/api/open/any%0d%0aX:y/async",
    ],
)
def test_b15_however_a_path_is_written_only_the_exact_one_is_an_api(nginx: Nginx, redis: Redis, target: str) -> None:
    answer = nginx.call(target, "GET")
    assert refusal(answer).status == 404
    assert "location" not in answer.headers
    assert nothing_stored(redis)


@pytest.mark.parametrize(
    "target",
    [
        "/v1/api/keyed/./one/async",
        "/v1/api/keyed//one/async",
        "/x/../v1/api/keyed/one/async",
        "/v1/api/keyed%2Fone/async",
    ],
)
def test_b15_no_spelling_of_a_path_gets_around_the_token(nginx: Nginx, redis: Redis, target: str) -> None:
    assert refusal(nginx.call(target)).status in (400, 401, 404)
    assert nothing_stored(redis)


# When Trigger isn't there, or slow


def test_without_trigger_it_is_502_in_our_shape(tmp_path: Path) -> None:
    with Nginx(tmp_path, upstream=free_port()) as nginx:
        answer = nginx.call("open/any", body=b"{}")
        assert refusal(answer).status == 502
        assert refusal(answer).code == UNAVAILABLE
        assert int(answer.headers["retry-after"]) > 0
        assert refusal(nginx.call("/other", "GET")).status == 404


class Upstream:
    """A server in the place of Trigger that keeps what it was sent, and answers what it is told to."""

    def __init__(self, reply: Callable[[BaseHTTPRequestHandler], object]) -> None:
        self.heads: list[tuple[str, dict[str, str]]] = []
        self.connections = 0
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                upstream.connections += 1
                super().setup()

            def do_GET(self) -> None:
                upstream.heads.append((self.requestline, {k.lower(): v for k, v in self.headers.items()}))
                reply(self)

            def do_POST(self) -> None:
                self.do_GET()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def __enter__(self) -> Upstream:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def fine(handler: BaseHTTPRequestHandler) -> None:
    handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
    handler.send_response(200)
    handler.send_header("Content-Length", "2")
    handler.end_headers()
    handler.wfile.write(b"{}")


def test_calls_share_connections_to_trigger(tmp_path: Path) -> None:
    with Upstream(fine) as upstream, Nginx(tmp_path, upstream.port) as nginx:
        for _ in range(10):
            assert nginx.call("open/any", body=b"{}").status == 200
        assert len(upstream.heads) == 10
        assert upstream.connections < 10
    assert all("connection" not in headers for _, headers in upstream.heads)


def test_what_trigger_gets_to_see(tmp_path: Path) -> None:
    client = source()
    sent = {
        "token": "t",
        "user": "u",
        "password": "pä",
        "Authorization": "Bearer b",
        "Idempotency-Key": "k",
        "Content-Type": "application/json",
        "X-Forwarded-For": "6.6.6.6",
        "X-Request-Id": "forged",
        "to_ken": "underscore",
        "SCRIPT_NAME": "/x",
    }
    with Upstream(fine) as upstream, Nginx(tmp_path, upstream.port) as nginx:
        nginx.call(path("open/any") + "?a=%2F&b", headers=sent, body=b"{}", source=client)
    line, headers = upstream.heads[0]
    assert line == f"POST {path('open/any')}?a=%2F&b HTTP/1.1"
    for name in ("token", "user", "Authorization", "Idempotency-Key", "Content-Type"):
        assert headers[name.lower()] == sent[name]
    assert headers["password"].encode("latin-1").decode() == "pä"
    assert headers["x-forwarded-for"] == client
    assert re.fullmatch(r"[0-9a-f]{32}", headers["x-request-id"])
    assert headers["host"] == "localhost"
    assert not {"to_ken", "script_name", "to-ken"} & headers.keys()


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_call_whose_answer_is_lost_is_not_sent_twice(tmp_path: Path, method: str) -> None:
    def break_off(handler: BaseHTTPRequestHandler) -> None:
        if len(upstream.heads) % 2:
            fine(handler)  # so that the next one comes on a connection that is kept
        else:
            handler.connection.shutdown(socket.SHUT_RDWR)
            handler.close_connection = True

    with Upstream(break_off) as upstream, Nginx(tmp_path, upstream.port) as nginx:
        assert nginx.call("open/any", method).status == 200
        answer = nginx.call("open/any", method)
        assert (refusal(answer).status, refusal(answer).code) == (502, UNAVAILABLE)
        assert len(upstream.heads) == 2


def test_an_answer_that_does_not_come_is_504_in_our_shape(tmp_path: Path) -> None:
    given_up = threading.Event()
    with (
        Upstream(lambda _: given_up.wait(30)) as upstream,
        Nginx(tmp_path, upstream.port, {"proxy_read_timeout 15s;": "proxy_read_timeout 1s;"}) as nginx,
    ):
        answer = nginx.call("open/any", "GET")
        given_up.set()
    assert (refusal(answer).status, refusal(answer).code) == (504, UNAVAILABLE)
    assert int(answer.headers["retry-after"]) > 0


def test_b4_two_hundred_slow_clients_keep_nobody_waiting_and_are_let_go(
    web: Gunicorn, redis: Redis, tmp_path: Path
) -> None:
    before = web.log.count("\n")
    line = f"POST {path('open/any')} HTTP/1.1\r\n".encode()
    shorter = {"client_header_timeout 10s;": "client_header_timeout 4s;", "body_timeout 10s;": "body_timeout 4s;"}
    with (
        Nginx(tmp_path, web.port, shorter) as nginx,
        many(nginx, 100, line) as slow_headers,
        many(nginx, 50, line + b"Host: x\r\nContent-Length: 10\r\n\r\n{") as slow_bodies,
        many(nginx, 50, line + b"Host: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{") as slow_chunks,
    ):
        for _ in range(30):
            accepted(nginx.call("open/any", body=b"{}"))
        slow = slow_headers + slow_bodies + slow_chunks
        assert all(connection.is_waiting() for connection in slow)
        for connection in slow:
            answer = connection.answer_or_end()
            assert answer is None or refusal(answer).status == 408
    eventually(lambda: web.log.count("\n") == before + 30)  # none of the others has reached Trigger
    assert redis.llen("rq:queue:default") == 30


# What operators may switch on


def test_the_limits_that_are_commented_out_refuse_in_our_shape(web: Gunicorn, redis: Redis, tmp_path: Path) -> None:
    edits = {"#limit_": "limit_", "rate=50r/s": "rate=1r/s", "burst=100": "burst=2"}
    with Nginx(tmp_path, web.port, edits) as nginx:
        answers = [nginx.call("open/any") for _ in range(8)]
        assert [answer.status for answer in answers].count(202) in (3, 4)
        limited = next(answer for answer in answers if answer.status != 202)
        assert refusal(limited).status == 429
        assert refusal(limited).code == "requestError.tooManyRequests"
        assert int(limited.headers["retry-after"]) > 0


def test_tls_can_be_switched_on(web: Gunicorn, redis: Redis, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    make = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    files = ["-keyout", str(key), "-out", str(certificate), "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([needs_program("openssl"), *make, *files, *names], check=True, capture_output=True)
    secure = free_port()
    edits = {
        "    #listen [::]:443 ssl;\n": "",
        "#listen 443 ssl;": f"listen 127.0.0.1:{secure} ssl;",
        "#ssl_": "ssl_",
        "/etc/ssl/trigger/fullchain.pem": str(certificate),
        "/etc/ssl/trigger/privkey.pem": str(key),
    }
    with Nginx(tmp_path / "nginx", web.port, edits) as nginx:
        context = ssl.create_default_context(cafile=str(certificate))
        with Connection(secure, source(), context) as connection:
            headers = {"Host": "localhost", "Content-Length": "0", "token": TOKEN}
            connection.send(request("POST", path("keyed/one"), headers))
            accepted(connection.answer())
        nginx.port = secure
        plain = nginx.call("open/any")
        assert (refusal(plain).status, refusal(plain).code) == (400, BAD_REQUEST)


# The log


def test_the_access_log_has_neither_queries_nor_credentials(nginx: Nginx, web: Gunicorn) -> None:
    secrets = {"token": "hidden-token", "user": "hidden-user", "password": "hidden-password", "Cookie": "hidden-cookie"}
    for headers in (secrets, basic("hidden-basic", "hidden-password"), {"Authorization": "Bearer hidden-bearer"}):
        client = source()
        nginx.call(path("keyed/one") + "?token=hidden-query", headers=headers, source=client)
        nginx.call("/nothing?token=hidden-query", headers=headers, source=client)
        lines = eventually(partial(found, nginx, client, 2))
        assert f" POST {path('keyed/one')} 401 " in lines[0]
        assert " POST /nothing 404 " in lines[1]
        assert lines[0].split()[-1] in last_line(web, f"client={client}"), "the same request id in both logs"
    nginx.send(b"GET /%zz?hidden-query HTTP/1.1\r\nHost: x\r\ntoken: hidden-token\r\n\r\n", source=source())
    assert "hidden" not in nginx.access_log.read_text()
    assert "hidden" not in web.log


def found(nginx: Nginx, client: str, count: int) -> list[str]:
    """The lines of the access log for a client, once there are so many."""
    lines = [line for line in nginx.access_log.read_text().splitlines() if line.startswith(f"{client} ")]
    return lines if len(lines) == count else []


def test_a_forged_line_end_in_a_path_is_no_line_of_the_access_log(nginx: Nginx) -> None:
    client = source()
    nginx.call('/v1/api/a%0a"b\\x/async', "GET", source=client)
    assert "%0a" in eventually(partial(found, nginx, client, 1))[0]


def test_nothing_above_was_our_fault(nginx: Nginx, web: Gunicorn) -> None:
    assert "status=500" not in web.log
    assert "Traceback" not in web.log
    errors = (nginx.folder / "error.log").read_text()
    assert "[emerg]" not in errors
    assert "[alert]" not in errors
    assert "[crit]" not in errors


def test_events_pass_as_they_come_and_who_hangs_up_is_let_go(nginx: Nginx, redis: Redis) -> None:
    uid = accepted(nginx.call("open/any"))
    with nginx.connect() as connection:
        connection.send(request("GET", f"/v1/executions/{uid}/events", {"Host": "localhost"}))
        assert connection.line() == "HTTP/1.1 200 OK"
        assert connection.until(b"\n\n").endswith(b"retry: 1000\n\n")
        assert b'event: status\ndata: {"uid":"%b","status":"queued"' % uid.encode() in connection.until(b"\n\n")
        assert awaited(redis) == {uid}  # it goes on
    eventually(lambda: not awaited(redis))
