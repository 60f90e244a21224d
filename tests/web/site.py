"""What the tests of the web share: a config, ways to call the service, and how an answer is looked at."""

from __future__ import annotations

import base64
import itertools
import json
import select
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from redis import Redis
from werkzeug.test import TestResponse

from tests.programs import free_port
from tests.support import environment, eventually, process
from trigger.config import Watcher, hash_secret
from trigger.web.flask_app import App

TOKEN = "t0ken-of-the-tests"
OTHER_TOKEN = "another-t0ken-of-the-tests"
PASSWORD = "pässword-of-the-tests"
HASHED = "known-by-its-hash-only"
OPERATOR = "0perator-of-the-tests"

# How many bytes a body may have, and how often a client may be wrong, under CONFIG.
MAX_BODY = 4096
FAILURES = 6

CONFIG = f"""\
server:
  max_body: {MAX_BODY}
  auth_failures: {FAILURES}
  backlog: 50
operators:
  admin: {OPERATOR}
workflows:
  hello: examples.hello:greet
modules:
  open:
    methods:
      any: {{enabled: true, auth: {{mode: none}}, workflow: hello}}
      get: {{enabled: true, verbs: [GET], auth: {{mode: none}}, workflow: hello}}
      post: {{enabled: true, verbs: [POST], auth: {{mode: none}}, workflow: hello}}
      off: {{auth: {{mode: none}}, workflow: hello}}
      order:
        enabled: true
        auth: {{mode: none}}
        workflow: hello
        input:
          fields:
            sku: {{type: string, required: true, max_length: 20}}
            count: {{type: integer, default: 1, min: 1}}
            tags: {{type: list, of: {{type: string}}}}
            card: {{type: string, secret: true}}
  keyed:
    methods:
      one: {{enabled: true, auth: {{mode: token, token: {TOKEN}}}, workflow: hello}}
      two: {{enabled: true, auth: {{mode: token, tokens: {{ci: {TOKEN}, backup: {OTHER_TOKEN}}}}}, workflow: hello}}
      other: {{enabled: true, auth: {{mode: token, token: {OTHER_TOKEN}}}, workflow: hello}}
      hashed: {{enabled: true, auth: {{mode: token, token: "{hash_secret(HASHED)}"}}, workflow: hello}}
      off: {{auth: {{mode: token, token: {TOKEN}}}, workflow: hello}}
      order:
        enabled: true
        auth: {{mode: token, token: {TOKEN}}}
        workflow: hello
        input: {{fields: {{sku: {{type: string, required: true}}}}}}
  named:
    methods:
      one: {{enabled: true, auth: {{mode: password, users: {{ada: {PASSWORD}, bob: {OTHER_TOKEN}}}}}, workflow: hello}}
      hashed: {{enabled: true, auth: {{mode: password, users: {{ada: "{hash_secret(HASHED)}"}}}}, workflow: hello}}
"""

_ADDRESSES = (f"192.0.2.{last}" if last < 256 else f"198.51.{last >> 8}.{last & 255}" for last in itertools.count(1))


def address() -> str:
    """A client address that was not used before: what one test fails at must not count for another."""
    return next(_ADDRESSES)


def path(api: str) -> str:
    """Where the API "module/method" is called."""
    return f"/v1/api/{api}/async"


def basic(user: str, password: str) -> dict[str, str]:
    """HTTP Basic, in UTF-8."""
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


@dataclass
class Site:
    """The app, called in this process from the address `client`."""

    flask: App
    watcher: Watcher
    config: Path
    client: str = field(default_factory=address)

    def call(self, target: str, method: str = "POST", **options: Any) -> TestResponse:
        """A request as werkzeug.test.EnvironBuilder takes it; `target` is a path, or an API as "module/method"."""
        target = target if target.startswith("/") else path(target)
        overrides = {"REMOTE_ADDR": self.client, **options.pop("environ_overrides", {})}
        return self.flask.test_client(use_cookies=False).open(
            target, method=method, environ_overrides=overrides, **options
        )

    def edit(self, old: str, new: str) -> None:
        """Changes the config, and waits until the change is in force."""
        text = self.config.read_text()
        assert old in text
        digest = self.watcher.current.digest
        self.config.write_text(text.replace(old, new))
        eventually(lambda: self.watcher.poll() or self.watcher.current.digest != digest)


@dataclass(frozen=True)
class Answer:
    """An answer, wherever it came from."""

    status: int
    headers: dict[str, str]  # names in lower case; what came more than once is joined with ", "
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def seen(response: TestResponse) -> Answer:
    """What the Flask test client was answered."""
    return Answer(response.status_code, {k.lower(): v for k, v in response.headers}, response.data)


@dataclass(frozen=True)
class Refusal:
    """What a refusal says."""

    status: int
    code: str
    message: str
    details: Any = None


def refusal(answer: Answer | TestResponse) -> Refusal:
    """What an answer says that must be an error in the one shape of all errors."""
    if isinstance(answer, TestResponse):
        answer = seen(answer)
    assert answer.status >= 400, answer
    assert answer.headers["content-type"] == "application/json", answer
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json.keys() == {"response"}
    assert answer.json["response"].keys() == {"error"}
    error = answer.json["response"]["error"]
    assert error.keys() - {"details"} == {"code", "message"}
    ours = answer.status >= 500 and answer.status != 501
    assert error["code"].startswith("serverError." if ours else "requestError.")
    assert error["message"]
    return Refusal(answer.status, **error)


def accepted(answer: Answer | TestResponse) -> str:
    """The uid that a call was answered."""
    if isinstance(answer, TestResponse):
        answer = seen(answer)
    assert answer.status == 202, answer.body
    uid = answer.json["response"]["uid"]
    assert answer.json == {"response": {"uid": uid}}
    assert answer.headers["location"] == f"/v1/executions/{uid}"
    return str(uid)


def stored(redis: Redis) -> set[bytes]:
    """The keys there are, but for the figures and the refused calls, which every call may leave."""
    return {key for key in redis.scan_iter() if not key.startswith((b"trigger:figures:", b"trigger:refused"))}


def nothing_stored(redis: Redis) -> bool:
    return not stored(redis)


class Server:
    """Something that listens on 127.0.0.1, and raw connections to it."""

    port: int

    def connect(self, source: str = "127.0.0.1") -> Connection:
        return Connection(self.port, source)

    def send(self, request: bytes, *, source: str = "127.0.0.1") -> Answer:
        """The first answer to these bytes, on a connection of their own."""
        with self.connect(source) as connection:
            connection.send(request)
            return connection.answer()

    def call(
        self,
        target: str,
        method: str = "POST",
        *,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        source: str = "127.0.0.1",
    ) -> Answer:
        """A well-formed request; `target` is a path, or an API as "module/method"."""
        target = target if target.startswith("/") else path(target)
        lines = {"Host": "localhost", "Connection": "close", **(headers or {})}
        if method == "POST":
            lines = {"Content-Length": str(len(body)), **lines}
        return self.send(request(method, target, lines) + body, source=source)


def request(method: str, target: str, headers: dict[str, str]) -> bytes:
    """The head of a request; text outside of ASCII goes as UTF-8."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode()


class Connection:
    """A TCP connection on which requests are written byte by byte. What is not answered in 15 seconds is a failure."""

    def __init__(self, port: int, source: str, tls: ssl.SSLContext | None = None) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=15, source_address=(source, 0))
        if tls is not None:
            self._socket = tls.wrap_socket(self._socket, server_hostname="localhost")
        self._came = b""

    def send(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the answer is there before all was sent

    def is_waiting(self) -> bool:
        """Whether nothing has come by now, neither an answer nor the end."""
        look = select.poll()  # which knows descriptors of any number
        look.register(self._socket, select.POLLIN)
        return not look.poll(0)

    def finish(self) -> None:
        """Says that nothing more will be sent."""
        self._socket.shutdown(socket.SHUT_WR)

    def line(self) -> str:
        """The next line of a head whose other lines do not matter."""
        return self.until(b"\r\n\r\n").decode("latin-1").partition("\r\n")[0]

    def answer_or_end(self) -> Answer | None:
        """The next answer; None when the connection is closed without one."""
        self._came += self._receive()
        return self.answer() if self._came else None

    def answer(self, *, head: bool = False) -> Answer:
        """The next answer, which has no body when it is one to HEAD; interim answers (1xx) are skipped."""
        while True:
            lines = self.until(b"\r\n\r\n").decode("latin-1").split("\r\n")
            status = int(lines[0].split(" ")[1])
            if status >= 200:
                break
        headers: dict[str, str] = {}
        for line in lines[1:-2]:
            name, _, value = line.partition(":")
            name = name.lower()
            headers[name] = f"{headers[name]}, {value.strip()}" if name in headers else value.strip()
        if head:
            return Answer(status, headers, b"")
        if "content-length" in headers:
            return Answer(status, headers, self._take(int(headers["content-length"])))
        return Answer(status, headers, self.rest())

    def rest(self) -> bytes:
        """What comes until the connection is closed."""
        while piece := self._receive():
            self._came += piece
        came, self._came = self._came, b""
        return came

    def is_closed(self) -> bool:
        """Whether the other side closes without another word; waits for it."""
        return self.rest() == b""

    def until(self, end: bytes) -> bytes:
        """What comes up to these bytes, and they."""
        while end not in self._came:
            piece = self._receive()
            assert piece, f"closed after {self._came!r}"
            self._came += piece
        return self._take(self._came.index(end) + len(end))

    def _take(self, size: int) -> bytes:
        while len(self._came) < size:
            piece = self._receive()
            assert piece, f"closed after {self._came!r}"
            self._came += piece
        taken, self._came = self._came[:size], self._came[size:]
        return taken

    def _receive(self) -> bytes:
        try:
            return self._socket.recv(65536)
        except ConnectionResetError:
            return b""

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Gunicorn(Server):
    """`python -m trigger web` in `folder`, whose config.yaml is there already, with more in the environment."""

    def __init__(self, folder: Path, redis_url: str, **environ: str) -> None:
        self.folder = folder
        self.port = free_port()
        # HOME and the runtime folder: what else the processes make is made here too.
        homes = {"HOME": str(folder), "XDG_RUNTIME_DIR": str(folder)}
        self._environ = environment(folder, redis_url, TRIGGER_BIND=f"127.0.0.1:{self.port}", **homes, **environ)
        self._stack = ExitStack()

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def start(self) -> None:
        child = self._stack.enter_context(process(["web"], self._environ, self.folder / "log"))
        self.pid = child.pid

        def answers() -> bool:
            assert child.poll() is None, self.log
            try:
                return self.call("/healthz", "GET").status == 200
            except ConnectionRefusedError:
                return False

        eventually(answers)

    def stop(self) -> None:
        self._stack.close()

    def __enter__(self) -> Gunicorn:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


@contextmanager
def many(server: Server, count: int, first: bytes) -> Iterator[list[Connection]]:
    """So many connections at once, on each of which these bytes were sent and no more."""
    with ExitStack() as stack:
        connections = [stack.enter_context(server.connect()) for _ in range(count)]
        for connection in connections:
            connection.send(first)
        yield connections
