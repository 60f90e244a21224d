"""A run of one stack: a folder, a Redis of its own, web and worker as real processes, and what their jobs did."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal

from redis import Redis

from bench.processes import descendants, running_redis
from bench.stacks import Stack
from bench.venvs import PEERS, folder, python
from trigger.redis_server import RedisServer

Durability = Literal["none", "always"]

TOKEN = "a-token-for-the-benches"  # it opens nothing but the benches' own services
FIRST = 1_000_000  # the number of the first job: all numbers have the same length
INPUT = {"n": FIRST, "text": "x" * 74}
BODY = json.dumps(INPUT).encode()  # 100 bytes
PATIENCE = 120.0

_EFFECT = struct.Struct("<qq")
_TICKS = os.sysconf("SC_CLK_TCK")

_CONFIG = f"""
server: {{backlog: 10000000}}
modules:
  bench:
    methods:
      noop: {{enabled: true, auth: {{mode: token, token: {TOKEN}}}, workflow: work:noop}}
      fibo: {{enabled: true, auth: {{mode: token, token: {TOKEN}}}, workflow: work:fibo}}
"""

_ALLOWED = {"match": {"type": "value", "value": TOKEN, "parameter": {"source": "header", "name": "token"}}}
_HOOKS = [
    {
        "id": f"{name}/async",
        "execute-command": "/bin/date",
        "pass-arguments-to-command": [{"source": "string", "name": "+%s%N"}],
        "success-http-response-code": 202,
        "trigger-rule-mismatch-http-response-code": 401,
        "trigger-rule": _ALLOWED,
        "include-command-output-in-response": name == "timed",
    }
    for name in ("noop", "timed")
]


class Stage:
    """What a run of one stack works with, until it is closed: its folder and its Redis.

    Arguments: `stack`; `durability` of Redis: "none", or "always" for an append-only file that is synced before each
    answer; `config` is added to our own config.
    """

    def __init__(self, stack: Stack, durability: Durability, *, config: str = "") -> None:
        self.stack = stack
        self.durability = durability
        self._exits = ExitStack()
        self.folder = Path(self._exits.enter_context(tempfile.TemporaryDirectory(prefix="trigger-bench-")))
        self._effects = self.folder / "effects"
        self.log = self.folder / "log"
        data = self.folder / "data"
        data.mkdir(mode=0o700)
        (self.folder / "config.yaml").write_text(_CONFIG + config)
        (self.folder / "config.yaml").chmod(0o600)
        (self.folder / "work.py").write_bytes((PEERS / "work.py").read_bytes())
        (self.folder / "hooks.json").write_text(json.dumps(_HOOKS))
        server = RedisServer(data, fsync="always" if durability == "always" else "no")
        server.prepare()
        command = server.command if durability == "always" else [*server.command, "--appendonly", "no"]
        self.redis_process = self._exits.enter_context(running_redis(command, server.url))
        self.redis = self._exits.enter_context(Redis.from_url(server.url))
        self.port = free_port()
        self._environ = {
            **{name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ},
            "PYTHONPATH": str(PEERS),
            "BENCH_EFFECTS": str(self._effects),
            "BENCH_INPUT": json.dumps(INPUT),
            "BENCH_REDIS_SOCKET": str(server.socket),
            "BENCH_TOKEN": TOKEN,
            "TRIGGER_CONFIG": str(self.folder / "config.yaml"),
            "TRIGGER_BIND": f"127.0.0.1:{self.port}",
            "TRIGGER_DATA": str(data),
            "REDIS_URL": server.url,
        }

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    @contextmanager
    def web(self) -> Iterator[subprocess.Popen[bytes]]:
        """The web processes, from when they take a call until they are stopped at the end."""
        with self._running(self.stack.web) as process:
            self._until(process, self._takes_a_call)
            yield process

    @contextmanager
    def workers(self, count: int = 1) -> Iterator[list[subprocess.Popen[bytes]]]:
        """Worker processes, started but perhaps not ready yet, until they are stopped at the end.

        What is answered are the processes that were started, each perhaps with several below it.
        """
        starts = 1 if "{count}" in self.stack.worker else count
        with ExitStack() as exits:
            yield [exits.enter_context(self._running(self.stack.worker, count)) for _ in range(starts)]

    def preload(self, count: int, job: str = "noop") -> None:
        """Queues jobs by the stack's own means."""
        subprocess.run(self._front(job, count), env=self._environ, cwd=self._cwd, check=True)

    def front(self, job: str, count: int) -> subprocess.Popen[str]:
        """A process that queues `count` jobs for each line it is sent, and answers with the time it began, in ns."""
        return subprocess.Popen(
            self._front(job, count, "bursts"),
            env=self._environ,
            cwd=self._cwd,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def effects(self) -> list[tuple[int, int]]:
        """What the jobs have noted so far: their number and when they ran, in ns since 1970."""
        raw = self._effects.read_bytes() if self._effects.exists() else b""
        return list(_EFFECT.iter_unpack(raw))

    def effect_count(self) -> int:
        return self._effects.stat().st_size // _EFFECT.size if self._effects.exists() else 0

    def wait_for_effects(self, count: int, worker: subprocess.Popen[bytes], pause: float = 0.01) -> None:
        """Returns when so many jobs have run; raises RuntimeError when the worker has died or takes too long."""
        self._until(worker, lambda: self.effect_count() >= count, pause)

    def clear(self) -> None:
        """Empties Redis and forgets what the jobs have noted."""
        self.redis.flushall()
        if self._effects.exists():
            os.truncate(self._effects, 0)

    def connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)

    def call(self, connection: http.client.HTTPConnection, path: str, body: bytes) -> bytes:
        """The answer to one call; raises RuntimeError when it is refused."""
        connection.request("POST", path, body, headers())
        answer = connection.getresponse()
        content = answer.read()
        if answer.status != 202:
            raise RuntimeError(f"{self.stack.name} answers {answer.status}: {content[:500]!r}\n{self.last_words()}")
        return content

    @property
    def _cwd(self) -> Path:
        return folder(self.stack)

    def _front(self, *arguments: object) -> list[str]:
        return [str(python(self.stack)), "-m", self.stack.front, *map(str, arguments)]

    @contextmanager
    def _running(self, command: Sequence[str], count: int = 1) -> Iterator[subprocess.Popen[bytes]]:
        hooks = self.folder / "hooks.json"
        words = {"python": python(self.stack), "port": self.port, "hooks": hooks, "count": count}
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [word.format(**words) for word in command],
                env=self._environ,
                cwd=self._cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            stop(process)

    def _takes_a_call(self) -> bool:
        connection = self.connection()
        try:
            self.call(connection, self.stack.path, BODY)
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
        return True

    def _until(self, process: subprocess.Popen[bytes], check: Callable[[], bool], pause: float = 0.02) -> None:
        deadline = time.monotonic() + PATIENCE
        while not check():
            if process.poll() is not None:
                raise RuntimeError(f"{self.stack.name} has stopped\n{self.last_words()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.stack.name} is not done after {PATIENCE:.0f} s\n{self.last_words()}")
            time.sleep(pause)

    def last_words(self) -> str:
        """The end of what the stack's processes have logged."""
        return self.log.read_text(errors="replace")[-3000:]


def headers() -> dict[str, str]:
    """The headers of a call."""
    return {"Content-Type": "application/json", "token": TOKEN}


def stop(process: subprocess.Popen[bytes], patience: float = 10.0) -> None:
    """Tells a process to stop; kills it, with all of its session, when it does not."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            sys.stderr.write(f"{process.args!r} did not stop and is killed\n")
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def cpu_seconds(pid: int) -> float:
    """The processor time of a process and all below it, also of children that have ended."""
    return sum(_cpu(each) for each in (pid, *descendants(pid)))


def _cpu(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return sum(map(int, fields[11:15])) / _TICKS


def free_port() -> int:
    """A TCP port of this machine that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
