"""What a hostile client can hold: its own connection, and nothing of others'."""

from __future__ import annotations

import os
import resource
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path

import pytest

from bench.processes import children
from tests.support import ROOT, OwnRedis, eventually
from tests.web.site import CONFIG, FAILURES, PASSWORD, Gunicorn, accepted, path, refusal, request
from trigger.config.secret import hash_secret
from trigger.store.queueing import REPLY_TIMEOUT

# Before, one such client held up everybody for 5 to 9 seconds. On a busy machine a good answer takes a while, too.
PATIENCE = 4.0
FILES = 128
READERS, READS = 10, 12
WEB_PROCESSES = 2


def serve(folder: Path, redis_url: str, config: str = CONFIG, **environ: str) -> Gunicorn:
    (folder / "config.yaml").write_text(config)
    return Gunicorn(folder, redis_url, **environ)


@pytest.fixture(scope="module")
def web(redis_server: OwnRedis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    with serve(tmp_path_factory.mktemp("web"), redis_server.url) as web:
        yield web


@pytest.mark.parametrize("attack", ["pin", "pipeline", "never-read"])
def test_an_attack_holds_up_nobody_else(web: Gunicorn, attack: str) -> None:
    page = web.call("/console/sign-in", "GET").body.decode()
    sheet = page[page.index("/console/static/") :].partition('"')[0]
    url = f"http://127.0.0.1:{web.port}{sheet}"
    command = [sys.executable, "-m", "bench.attacks", "--attack", attack, "--url", url]
    said = subprocess.run([*command, "--seconds", "3"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    words = said.split()
    assert float(words[words.index("s") - 1]) < PATIENCE, said
    assert "WORKER TIMEOUT" not in web.log
    assert "Traceback" not in web.log


def test_wrong_passwords_hold_up_nobody_else(redis_server: OwnRedis, tmp_path: Path) -> None:
    """found.md 11: a good caller waited 2 to 5 s while wrong passwords of a user stored as a hash came."""
    config = CONFIG.replace(f"ada: {PASSWORD}", f'ada: "{hash_secret(PASSWORD)}"').replace(
        f"auth_failures: {FAILURES}", "auth_failures: 100000"
    )
    with serve(tmp_path, redis_server.url, config) as web:
        url = f"http://127.0.0.1:{web.port}{path('named/one')}"
        command = [sys.executable, "-m", "bench.attacks", "--attack", "wrong-passwords", "--url", url, "--seconds", "3"]
        words = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
        assert float(words[words.index("s") - 1]) < PATIENCE, words
        assert "Traceback" not in web.log


# Bodies are wanted only of those who may call


@pytest.mark.parametrize(
    ("target", "status"), [("/nope", 404), (path("keyed/one"), 401), (path("open/off"), 403), ("/healthz", 405)]
)
def test_nobody_is_asked_for_a_body_that_is_not_wanted(web: Gunicorn, target: str, status: int) -> None:
    with web.connect() as connection:
        began = time.monotonic()
        connection.send(request("POST", target, {"Host": "x", "Content-Length": "10", "Expect": "100-continue"}))
        assert connection.line() == f"HTTP/1.1 {status} {dict(REASONS)[status]}"
        assert time.monotonic() - began < PATIENCE


REASONS = {404: "NOT FOUND", 401: "UNAUTHORIZED", 403: "FORBIDDEN", 405: "METHOD NOT ALLOWED"}.items()


@pytest.mark.parametrize(("api", "status"), [("keyed/one", 401), ("open/off", 403), ("open/get", 405), ("no/one", 404)])
def test_a_chunked_body_is_not_read_before_the_call_is_let_in(web: Gunicorn, api: str, status: int) -> None:
    head = request("POST", path(api), {"Host": "x", "Transfer-Encoding": "chunked"})
    answer = web.send(head + b"5\r\nhello")  # and no more
    assert refusal(answer).status == status
    assert answer.headers["connection"] == "close"


# A connection with an unread body ends


def test_a_large_body_that_nobody_reads_ends_the_connection(web: Gunicorn) -> None:
    body = b"x" * 3000 + b" " * 1000
    with web.connect() as connection:
        connection.send(request("POST", "/nope", {"Host": "x", "Content-Length": "200000"}) + body)
        answer = connection.answer()
        assert (refusal(answer).status, answer.headers["connection"]) == (404, "close")
        connection.send(b"x" * 196_000)
        connection.finish()
        assert connection.is_closed()


def test_a_small_body_that_has_come_is_thrown_away_and_the_connection_goes_on(web: Gunicorn) -> None:
    with web.connect() as connection:
        connection.send(request("POST", "/nope", {"Host": "x", "Content-Length": "2000"}) + b"x" * 2000)
        answer = connection.answer()
        assert (refusal(answer).status, answer.headers["connection"]) == (404, "keep-alive")
        connection.send(request("GET", path("open/any"), {"Host": "x"}))
        accepted(connection.answer())


# What HTTP and the kernel can do


def test_a_version_that_nobody_speaks_is_not_repeated(web: Gunicorn) -> None:
    with web.connect() as connection:
        connection.send(b"GET /healthz HTTP/1.9\r\nHost: x\r\n\r\n")
        assert connection.line() == "HTTP/1.1 200 OK"


def test_two_lengths_are_refused_at_once(web: Gunicorn) -> None:
    with web.connect() as connection:
        began = time.monotonic()
        connection.send(b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}")
        assert refusal(connection.answer()).status == 400
        assert time.monotonic() - began < PATIENCE


@pytest.mark.parametrize("begun", [False, True])
def test_no_file_descriptor_left_ends_no_process(redis_server: OwnRedis, tmp_path: Path, begun: bool) -> None:
    """With the limit there from the start, fewer connections are kept; else accepting them fails."""
    with ExitStack() as stack:
        web = serve(tmp_path, redis_server.url)
        with nullcontext() if begun else few_files():
            stack.enter_context(web)
        supervisor = children(os.getpid())[-1]
        (master,) = eventually(lambda: children(supervisor))
        eventually(lambda: len(children(master)) == WEB_PROCESSES)
        processes = children(master)
        for pid in processes if begun else ():
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (FILES, FILES))
        for _ in range(2 * FILES + 60):
            stack.enter_context(socket.create_connection(("127.0.0.1", web.port)))
        for _ in range(5):
            assert web.call("/healthz", "GET").status == 200
        assert children(master) == processes
        assert "Traceback" not in web.log


@contextmanager
def few_files() -> Iterator[None]:
    """What is started meanwhile may open few files: `ulimit -n`."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_while_redis_hangs_most_readers_do_not_wait_for_it(tmp_path: Path) -> None:
    with OwnRedis(tmp_path / "redis") as redis, serve(tmp_path, redis.url) as web:
        uid = accepted(web.call("open/any"))
        assert web.call(f"/v1/executions/{uid}", "GET").status == 200
        os.kill(redis.process.pid, signal.SIGSTOP)

        def read() -> float:
            began = time.monotonic()
            assert refusal(web.call(f"/v1/executions/{uid}", "GET")).status == 503
            return time.monotonic() - began

        with ThreadPoolExecutor(READERS) as pool:
            waited = [reading.result() for reading in [pool.submit(read) for _ in range(READERS * READS)]]
        os.kill(redis.process.pid, signal.SIGCONT)
        # Without a breaker each of them waits as long as Redis may take.
        assert statistics.median(waited) < REPLY_TIMEOUT
        eventually(lambda: web.call(f"/v1/executions/{uid}", "GET").status == 200)


# The end


def test_at_the_end_who_follows_a_log_is_answered(redis_server: OwnRedis, tmp_path: Path) -> None:
    with serve(tmp_path, redis_server.url) as web, ExitStack() as stack:
        uid = accepted(web.call("open/any"))
        clients = [stack.enter_context(web.connect()) for _ in range(10)]
        for client in clients:
            client.send(request("GET", f"/v1/executions/{uid}/logs?wait=3", {"Host": "x"}))
        time.sleep(1)
        assert all(client.is_waiting() for client in clients)
        web.stop()
        answers = [client.answer() for client in clients]
        assert [(answer.status, answer.headers["connection"]) for answer in answers] == [(200, "close")] * 10
