"""gunicorn with our settings and our worker, in front of a stand-in for the app, called by raw sockets."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.programs import free_port
from tests.support import ROOT, environment, eventually

# Answers with what it was given; a body that does not arrive in time is its 408, as it is our API's.
APP = """
import json, os

def pieces(those):
    yield from those
    raise ValueError("no more")

def app(environ, start_response):
    try:
        length = environ.get("CONTENT_LENGTH")
        body = environ["wsgi.input"].read(int(length) if length else None)
    except TimeoutError:
        start_response("408 Request Timeout", [("Content-Length", "0")])
        return [b""]
    if environ["PATH_INFO"] == "/large":
        start_response("200 OK", [("Content-Length", "20000000")])
        return [b"x" * 20_000_000]
    if environ["PATH_INFO"] == "/breaks":
        start_response("200 OK", [])
        return pieces([b"one"])
    if environ["PATH_INFO"] == "/endless":
        start_response("200 OK", [])
        return (b"x" * 65536 for _ in iter(int, 1))
    if environ["PATH_INFO"] == "/pieces":
        start_response("200 OK", [])
        return iter([b"one", b"", b"two"])
    seen = {k: v for k, v in environ.items() if isinstance(v, str)} | {"size": len(body), "pid": os.getpid()}
    answer = json.dumps(seen).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(answer)))])
    return [answer]
"""

# Our settings, with another patience where a test would have to wait for it.
SETTINGS = """
exec(compile(open({conf!r}).read(), {conf!r}, "exec"))
import trigger.web.connection
trigger.web.connection.REQUEST_SECONDS = trigger.web.connection.ANSWER_SECONDS = {patience}
"""


class Web:
    """A gunicorn under test and the connections to it."""

    def __init__(
        self,
        folder: Path,
        stack: ExitStack,
        *,
        patience: float = 30,
        unix: Path | None = None,
        worker_connections: int = 800,
    ) -> None:
        self._stack = stack
        self._log = folder / "log"
        self.unix = unix
        self.port = free_port()
        (folder / "echo.py").write_text(APP)
        conf = folder / "conf.py"
        settings = SETTINGS.format(patience=patience, conf=str(ROOT / "gunicorn.conf.py"))
        conf.write_text(f"{settings}worker_connections = {worker_connections}\n")
        bind = f"unix:{unix}" if unix else f"127.0.0.1:{self.port}"
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", "-c", str(conf), "echo:app"],
                env=environment(folder, "", TRIGGER_BIND=bind, PYTHONPATH=f"{ROOT}{os.pathsep}{folder}"),
                cwd=folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        stack.callback(self._end)
        eventually(lambda: self._answers() and len(self.workers()) == 2)

    def _answers(self) -> bool:
        try:
            with self.connect() as connection:
                connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
                return bool(connection.recv(1))
        except OSError:
            return False

    def _end(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def workers(self) -> list[int]:
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in path.read_text().split()]

    def connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX if self.unix else socket.AF_INET)
        connection.settimeout(20)
        self._stack.callback(connection.close)
        connection.connect(str(self.unix) if self.unix else ("127.0.0.1", self.port))
        return connection

    def log(self) -> str:
        return self._log.read_text()


class Answer:
    """One HTTP response, read off a connection."""

    def __init__(self, connection: socket.socket) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = connection.recv(1)
            if not byte:
                raise ConnectionError(f"closed after {head!r}")
            head += byte
        status_line, *lines = head.decode("latin-1").split("\r\n")[:-2]
        self.status = int(status_line.split()[1])
        self.headers = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}
        self.body = b""
        while missing := int(self.headers.get("content-length", 0)) - len(self.body):
            self.body += connection.recv(missing)

    def json(self) -> Any:
        return json.loads(self.body)


def resident(pid: int) -> int:
    """Bytes of memory that a process holds."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def is_closed(connection: socket.socket) -> bool:
    """Whether the other side has closed, once everything it sent is read."""
    try:
        while connection.recv(65536):
            pass
    except ConnectionResetError:
        pass
    return True


@pytest.fixture
def make_web(tmp_path: Path) -> Iterator[Callable[..., Web]]:
    with ExitStack() as stack:
        yield lambda **options: Web(tmp_path, stack, **options)


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with ExitStack() as stack:
        yield Web(tmp_path_factory.mktemp("web"), stack)


def post(body: bytes, *headers: str) -> bytes:
    lines = ["POST /x HTTP/1.1", "Host: h", *headers, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


CHUNKED = b"POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"


# Requests, in whatever pieces they come


@pytest.mark.parametrize(
    ("request_", "size"),
    [
        (b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n", 0),
        (post(b"hello world"), 11),
        (CHUNKED, 11),
        (post(b"\r\n\r\n0\r\n\r\n" * 30), 270),
        (b"POST /x HTTP/1.1\r\nhOST:h\r\nCONTENT-LENGTH:\t 3 \r\n\r\nabc", 3),
    ],
    ids=["get", "length", "chunked", "a body like the end of one", "odd header style"],
)
def test_a_request_is_the_same_whole_or_byte_by_byte(web: Web, request_: bytes, size: int) -> None:
    whole = web.connect()
    whole.sendall(request_)
    assert Answer(whole).json()["size"] == size

    slow = web.connect()
    slow.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in request_:
        slow.sendall(bytes([byte]))
    answer = Answer(slow)
    assert (answer.status, answer.json()["size"]) == (200, size)


def test_a_connection_serves_many_requests(web: Web) -> None:
    connection = web.connect()
    for number in range(50):
        connection.sendall(post(b"x" * number))
        assert Answer(connection).json()["size"] == number


def test_requests_sent_at_once_are_answered_one_after_the_other(web: Web) -> None:
    connection = web.connect()
    connection.sendall(post(b"a") + CHUNKED + post(b"bcd") + b"GET /las")
    assert [Answer(connection).json()["size"] for _ in range(3)] == [1, 11, 3]
    connection.sendall(b"t HTTP/1.1\r\nHost: h\r\n\r\n")
    assert Answer(connection).json()["PATH_INFO"] == "/last"


@pytest.mark.parametrize("size", [65_536, 1024 * 1024, 1024 * 1024 + 1, 5_000_000])
def test_a_large_body_arrives(web: Web, size: int) -> None:
    connection = web.connect()
    connection.sendall(post(b"x" * size))
    assert Answer(connection).json()["size"] == size


def test_a_large_chunked_body_arrives(web: Web) -> None:
    connection = web.connect()
    connection.sendall(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(40):
        connection.sendall(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
    connection.sendall(b"0\r\n\r\n")
    assert Answer(connection).json()["size"] == 40 * 65_536


def test_a_client_that_asks_before_it_sends_is_told_to_go_on(web: Web) -> None:
    connection = web.connect()
    head, _, body = post(b"hello", "Expect: 100-continue").partition(b"\r\n\r\n")
    connection.sendall(head + b"\r\n\r\n")
    assert Answer(connection).status == 100
    connection.sendall(body)
    assert Answer(connection).json()["size"] == 5


def test_both_processes_serve(web: Web) -> None:
    def seen() -> set[int]:
        connection = web.connect()
        connection.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        pids.add(Answer(connection).json()["pid"])
        return pids if len(pids) == 2 else set()

    pids: set[int] = set()
    eventually(seen)


@pytest.mark.parametrize("end", [b"0\r\n\r\n", b"00;a=b\r\n\r\n", b"0\r\nX-Checksum: 1\r\nX-Other: 2\r\n\r\n"])
def test_a_chunked_body_ends_where_the_rules_say(web: Web, end: bytes) -> None:
    connection = web.connect()
    connection.sendall(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
    connection.sendall(b'9;name="v"\r\n\r\n0\r\n\r\n12\r\n')
    connection.sendall(end)
    assert Answer(connection).json()["size"] == 9


@pytest.mark.parametrize("chunk", [b"zz\r\n", b"-5\r\n", b"\r\n", b"5\r\nhelloworld\r\n", b"0x5\r\nhello\r\n"])
def test_a_malformed_chunk_is_not_waited_for(web: Web, chunk: bytes) -> None:
    connection = web.connect()
    connection.settimeout(5)
    connection.sendall(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk)
    assert Answer(connection).status == 400


# Slow clients

DAWDLERS = {
    "silent": b"",
    "in the request line": b"POST /x HT",
    "in the headers": b"POST /x HTTP/1.1\r\nHost: h\r\nX-",
    "in the body": post(b"x" * 1000)[:-500],
    "before the body": post(b"x" * 1000)[:-1000],
    "in a chunk": CHUNKED[:-12],
    "before the last chunk": CHUNKED[:-5],
    "in the second request": post(b"a") + b"POST /x HTTP/1.1\r\nHost",
}


def test_two_hundred_slow_clients_do_not_hold_up_others(make_web: Callable[..., Web]) -> None:
    web = make_web(patience=60)
    for number in range(200):
        web.connect().sendall(list(DAWDLERS.values())[number % len(DAWDLERS)])
    for _ in range(20):
        connection = web.connect()
        connection.settimeout(3)  # gunicorn's own worker keeps a thread for 5 seconds on each of them
        connection.sendall(post(b"hello"))
        assert Answer(connection).json()["size"] == 5


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with ExitStack() as stack:
        yield Web(tmp_path_factory.mktemp("hasty"), stack, patience=0.5)


@pytest.mark.parametrize("stop", ["silent", "in the request line", "in the headers"])
def test_a_client_that_does_not_send_its_headers_in_time_is_cut_off(hasty: Web, stop: str) -> None:
    connection = hasty.connect()
    connection.sendall(DAWDLERS[stop])
    assert is_closed(connection)


@pytest.mark.parametrize("stop", ["in the body", "before the body", "in a chunk", "before the last chunk"])
def test_a_body_that_does_not_come_in_time_is_the_apps_to_refuse(hasty: Web, stop: str) -> None:
    connection = hasty.connect()
    connection.sendall(DAWDLERS[stop])
    assert Answer(connection).status == 408
    assert is_closed(connection)


def test_a_body_that_a_thread_waits_for_has_the_same_deadline(hasty: Web) -> None:
    connection = hasty.connect()
    connection.sendall(post(b"hello", "Expect: 100-continue")[:-5])
    assert Answer(connection).status == 100
    assert Answer(connection).status == 408


def test_one_byte_at_a_time_does_not_extend_the_deadline(hasty: Web) -> None:
    connection = hasty.connect()
    connection.settimeout(0.05)
    connection.sendall(b"GET / HTTP/1.1\r\nX: ")

    def dripped() -> bool:
        try:
            connection.sendall(b"x")
            return connection.recv(1) == b""
        except TimeoutError:
            return False
        except OSError:
            return True

    eventually(dripped)


@pytest.mark.parametrize("path", ["/large", "/endless"])
def test_a_client_that_does_not_read_its_answer_is_cut_off(hasty: Web, path: str) -> None:
    connection = hasty.connect()
    connection.sendall(get(path))
    assert connection.recv(1) == b"H"
    time.sleep(2)  # four times as long as it may take
    came = 1
    with suppress(ConnectionResetError):
        while came < 20_000_000 and (piece := connection.recv(1_000_000)):
            came += len(piece)
    assert came < 20_000_000


def test_a_client_that_reads_slowly_gets_all_of_its_answer(hasty: Web) -> None:
    connection = hasty.connect()
    connection.sendall(b"GET /large HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    came = 0
    while piece := connection.recv(1_000_000):
        came += len(piece)
        time.sleep(0.05)
    assert came > 20_000_000


def test_slow_clients_leave_no_traceback_in_the_log(hasty: Web) -> None:
    for dawdle in DAWDLERS.values():
        connection = hasty.connect()
        connection.sendall(dawdle)
        assert is_closed(connection)
    assert "Traceback" not in hasty.log()


def test_a_client_that_does_not_hang_up_after_its_last_answer_holds_up_nobody(make_web: Callable[..., Web]) -> None:
    """gunicorn's own worker waits 2 seconds for each of them, and does nothing else meanwhile."""
    web = make_web()
    lingering = [web.connect() for _ in range(40)]
    for connection in lingering:
        connection.sendall(b"nonsense\r\n\r\n")
    connection = web.connect()
    connection.settimeout(3)
    connection.sendall(post(b"hello"))
    assert Answer(connection).json()["size"] == 5
    assert [Answer(connection).status for connection in lingering] == [400] * 40


def test_more_connections_than_there_is_room_for_push_the_idle_ones_out(make_web: Callable[..., Web]) -> None:
    web = make_web(patience=60, worker_connections=20)
    idle = [web.connect() for _ in range(100)]
    for _ in range(10):
        connection = web.connect()
        connection.settimeout(3)
        connection.sendall(post(b"hello"))
        assert Answer(connection).json()["size"] == 5
    assert all(map(is_closed, idle[:20]))


def test_bodies_that_never_end_fill_no_memory(make_web: Callable[..., Web]) -> None:
    web = make_web(patience=60)
    before = sum(map(resident, web.workers()))
    for _ in range(100):
        with suppress(OSError):  # it may be pushed out while it sends
            web.connect().sendall(post(b"x" * 1_000_000)[:-1])
    connection = web.connect()
    connection.sendall(post(b"hello"))
    assert Answer(connection).json()["size"] == 5
    assert sum(map(resident, web.workers())) - before < 75_000_000  # 2 processes with 24 MiB each, and a copy of some


# What gunicorn refuses itself

REFUSED = {
    "a long request line": (b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\n\r\n", 414),
    "many headers": (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 150 + b"\r\n", 431),
    "a long header": (b"GET / HTTP/1.1\r\nA: " + b"b" * 9000 + b"\r\n\r\n", 431),
    "no request line": (b"hello\r\n\r\n", 400),
    "a lower-case method": (b"post / HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    "HTTP/0.9": (b"GET /\r\n\r\n", 400),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "two lengths": (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
    "length and chunks": (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "a signed length": (b"POST / HTTP/1.1\r\nContent-Length: +2\r\n\r\nab", 400),
    "an unknown coding": (b"POST / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n", 501),
    "an unknown expectation": (b"POST / HTTP/1.1\r\nExpect: a-miracle\r\nContent-Length: 1\r\n\r\n", 417),
    "a blank before the colon": (b"GET / HTTP/1.1\r\ntoken : canary-4b\r\n\r\n", 400),
    "a folded header": (b"GET / HTTP/1.1\r\ntoken: canary-4b\r\n more\r\n\r\n", 400),
    "a NUL in a header": (b"GET / HTTP/1.1\r\ntoken: canary-4b\0\r\n\r\n", 400),
    "a line without a colon": (b"GET / HTTP/1.1\r\ntoken canary-4b\r\n\r\n", 400),
    "two hosts": (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_broken_request_is_refused_in_the_shape_of_all_errors(web: Web, case: str) -> None:
    request, status = REFUSED[case]
    connection = web.connect()
    connection.sendall(request)
    answer = Answer(connection)
    assert answer.status == status
    assert answer.headers["content-type"] == "application/json"
    error = answer.json()["response"]["error"]
    assert error["code"] == "requestError.badRequest"
    assert error["message"]
    assert set(error) == {"code", "message"}
    assert f" request={answer.headers['x-request-id']}\n" in web.log()
    assert is_closed(connection)


def test_no_refusal_shows_or_logs_what_was_sent(web: Web) -> None:
    for request, _ in REFUSED.values():
        connection = web.connect()
        connection.sendall(request)
        assert b"canary" not in Answer(connection).body
    assert "canary" not in web.log()
    assert re.search(r"status=400 client=127\.0\.0\.1 error=requestError\.badRequest: A header", web.log())


# What no client decides


def test_no_header_changes_scheme_path_or_mount_point(web: Web) -> None:
    lies = ["SCRIPT_NAME: /evil", "Script-Name: /evil", "PATH_INFO: /evil", "X-Forwarded-Prefix: /evil"]
    lies += ["X-Forwarded-Proto: https", "X-Forwarded-Ssl: on", "X-Forwarded-Protocol: ssl", "REMOTE_USER: root"]
    connection = web.connect()
    connection.sendall(post(b"", *lies, "to_ken: 1", "X-Forwarded-For: 6.6.6.6"))
    environ = Answer(connection).json()
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("", "/x")
    assert (environ["wsgi.url_scheme"], environ["REMOTE_ADDR"]) == ("http", "127.0.0.1")
    assert {"REMOTE_USER", "HTTP_TO_KEN", "HTTP_SCRIPT_NAME"} & set(environ) == {"HTTP_SCRIPT_NAME"}


def test_no_version_is_shown(web: Web) -> None:
    connection = web.connect()
    connection.sendall(post(b""))
    assert not re.search(r"\d", Answer(connection).headers.get("server", ""))


# Processes


def test_on_a_unix_socket_both_processes_serve_and_others_can_not_connect(
    make_web: Callable[..., Web], tmp_path: Path
) -> None:
    web = make_web(unix=tmp_path / "web.sock")
    assert (tmp_path / "web.sock").stat().st_mode & 0o007 == 0
    test_both_processes_serve(web)
    lie = web.connect()
    lie.sendall(post(b"", "SCRIPT_NAME: /evil", "X-Forwarded-Proto: https"))
    environ = Answer(lie).json()
    assert (environ["SCRIPT_NAME"], environ["wsgi.url_scheme"]) == ("", "http")


def test_when_the_master_is_killed_its_processes_go_with_it(make_web: Callable[..., Web]) -> None:
    web = make_web()
    workers = web.workers()
    web.process.kill()
    web.process.wait()
    eventually(lambda: not any(Path(f"/proc/{pid}/fd").exists() for pid in workers))


def test_a_process_that_is_killed_is_replaced(make_web: Callable[..., Web]) -> None:
    web = make_web()
    first, second = web.workers()
    os.kill(first, signal.SIGKILL)
    eventually(lambda: second in web.workers() and len(web.workers()) == 2 and first not in web.workers())


def get(path: str, version: str = "1.1") -> bytes:
    return f"GET {path} HTTP/{version}\r\nHost: x\r\n\r\n".encode()


def rest(connection: socket.socket, size: int = 1000) -> bytes:
    """What comes until so much has come, or the end."""
    came = b""
    while len(came) < size and (piece := connection.recv(size - len(came))):
        came += piece
    return came


def test_an_answer_of_no_known_length_is_sent_piece_by_piece(make_web: Callable[..., Web]) -> None:
    web = make_web()
    connection = web.connect()
    connection.sendall(get("/pieces"))
    answer = Answer(connection)
    assert answer.headers["transfer-encoding"] == "chunked"
    whole = b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"
    assert rest(connection, len(whole)) == whole
    connection.sendall(get("/pieces", "1.0"))
    assert "transfer-encoding" not in Answer(connection).headers
    assert rest(connection) == b"onetwo"
    # one that fails is left incomplete
    connection = web.connect()
    connection.sendall(get("/breaks"))
    assert Answer(connection).status == 200
    assert rest(connection) == b"3\r\none\r\n"
    eventually(lambda: "an answer broke off" in web.log())


def test_a_stop_lets_a_request_end_and_does_not_wait_for_silent_clients(make_web: Callable[..., Web]) -> None:
    web = make_web(patience=1000)
    silent = [web.connect() for _ in range(5)]
    sending = web.connect()
    sending.sendall(post(b"hello")[:-1])
    kept = web.connect()
    kept.sendall(post(b""))
    assert Answer(kept).status == 200
    web.process.send_signal(signal.SIGTERM)
    sending.sendall(b"o")
    assert Answer(sending).json()["size"] == 5
    assert web.process.wait(9) == 0  # gunicorn itself would wait its 10 seconds for them
    assert all(map(is_closed, silent))


def test_a_stop_answers_what_the_kernel_has_accepted(make_web: Callable[..., Web]) -> None:
    web = make_web()
    workers = web.workers()
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    waiting = [web.connect() for _ in range(20)]
    for connection in waiting:
        connection.sendall(post(b"x"))
    web.process.send_signal(signal.SIGTERM)
    for pid in workers:
        eventually(lambda pid=pid: has_pending(pid, signal.SIGTERM))  # type: ignore[misc]
        os.kill(pid, signal.SIGCONT)
    assert [Answer(connection).status for connection in waiting] == [200] * 20


def has_pending(pid: int, number: signal.Signals) -> bool:
    """Whether a signal waits for a process, which does not run now."""
    (pending,) = re.findall(r"^ShdPnd:\s*(\w+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return bool(int(pending, 16) & 1 << (number - 1))
