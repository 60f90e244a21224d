"""What several tests need: waiting for something without sleeping blindly, and real processes of ours."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from redis import Redis
from redis.exceptions import RedisError

from tests import forks
from trigger.config.model import Config, ServerConfig
from trigger.redis_server import Fsync, RedisServer
from trigger.store.keys import TOLD

T = TypeVar("T")

ROOT = forks.ROOT

# What a test's workflows are made of; `work.py` beside its config.
WORKFLOWS = '''
import os, signal, subprocess, sys, time
from pathlib import Path
from typing import TypeVar

from trigger.workflows import current

EVIDENCE = Path(__file__).with_name("evidence")


def note(word):
    """One line in the evidence file, written in one go: what happened is judged by it and not by Redis."""
    line = f"{word} {current().uid}\\n".encode()
    fd = os.open(EVIDENCE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(fd, line)
    os.close(fd)


def echo(value):
    return value


def noted(value):
    note("S")
    time.sleep(value.get("seconds", 0) if isinstance(value, dict) else 0)
    note("D")
    return "done"


def who(value):
    execution = current()
    execution.logger.info("hello from %s", execution.method)
    return [execution.uid, execution.module, execution.method, execution.attempt]


def fails(value):
    raise ValueError(f"no stock of {value.get('sku')}")


def not_json(value):
    return {1, 2, 3}


def big(value):
    return "x" * 3_000_000


def exits(value):
    sys.exit(3)


def leaves(value):
    note("S")
    os._exit(0)


def killed(value):
    note("S")
    os.kill(os.getpid(), signal.SIGKILL)


def killed_once(value):
    note("S")
    if current().attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    note("D")


def flaky(value):
    note("S")
    if current().attempt < value.get("good", 3):
        raise RuntimeError(f"attempt {current().attempt}")
    note("D")
    return current().attempt


def stubborn(value):
    note("S")
    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass


def slow(value):
    time.sleep(60)


async def waits(value):
    return "waited"
'''


# A config in force for tests that submit by themselves.
CONFIG = Config(
    path=Path("config.yaml"),
    server=ServerConfig(backlog=1_000_000),
    retention=3600.0,
    operators={},
    workflows={},
    modules={},
    apis={},
    files=(),
    digest="",
)


def eventually(check: Callable[[], T], *, within: float = 20.0) -> T:
    """The first true answer of `check`, asked again and again; AssertionError when there is none in that time."""
    deadline = time.monotonic() + within
    while True:
        answer = check()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"it did not come about within {within:.0f} s; the last answer was {answer!r}")
        time.sleep(0.02)


def environment(folder: Path, redis_url: str, **more: str) -> dict[str, str]:
    """The environment of a process of ours that works in `folder`."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    ours = {"TRIGGER_CONFIG": str(folder / "config.yaml"), "TRIGGER_DATA": str(folder / "data"), "REDIS_URL": redis_url}
    return {**kept, **ours, "PYTHONUNBUFFERED": "1", **more}


def awaited(redis: Redis) -> set[str]:
    """The uids of the executions that somebody waits for news of."""
    return {channel.decode().removeprefix(TOLD) for channel in redis.pubsub_channels(f"{TOLD}*")}  # type: ignore[union-attr]


@contextmanager
def process(arguments: list[str], environ: Mapping[str, str], log: Path) -> Iterator[forks.Process]:
    """A process of ours (`python -m trigger …`), its output in `log`; told to stop, then killed, at the end."""
    child: forks.Process
    with log.open("ab") as output:
        if arguments[0] == "web":  # see tests/forks.py
            command = [sys.executable, "-m", "trigger", *arguments]
            child = subprocess.Popen(
                command, env=dict(environ), cwd=ROOT, stdout=output, stderr=output, start_new_session=True
            )
        else:
            preload = "trigger.worker" if arguments[0] in ("up", "worker") else "trigger.cli"
            child = forks.start(arguments, environ, preload=preload, stdout=output, stderr=output, new_session=True)
    try:
        yield child
    finally:
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()


def entries(log: Path, uid: str) -> list[dict[str, Any]]:
    """The entries of a log in JSON that name an execution in any way. Every whole line must be an entry."""
    text = log.read_bytes().decode()
    found = [json.loads(line) for line in text[: text.rfind("\n") + 1].split("\n")[:-1]]
    return [entry for entry in found if uid in json.dumps(entry)]


class OwnRedis:
    """A private Redis on a data folder of its own, which a test may stop, kill and start again."""

    def __init__(self, data: Path, *, fsync: Fsync = "always") -> None:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._server = RedisServer(data, fsync=fsync)
        self.url = self._server.url
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        self._server.prepare()
        process = subprocess.Popen(self._server.command, stdin=subprocess.DEVNULL, start_new_session=True)
        client = Redis.from_url(self.url)

        def answers() -> bool:
            if process.poll() is not None:
                raise AssertionError(f"Redis has stopped: {self._server.last_words()}")
            try:
                return bool(client.ping())
            except RedisError:
                return False

        eventually(answers)
        client.close()
        return process

    def kill(self) -> None:
        """kill -9, as a crash."""
        self.process.kill()
        self.process.wait()

    def restart(self) -> None:
        """kill -9 and a fresh start on the same data."""
        self.kill()
        self.process = self._start()

    def start(self) -> None:
        self.process = self._start()

    def __enter__(self) -> OwnRedis:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.kill()
