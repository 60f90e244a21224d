"""A rig whose workers, and whose Redis, can be made to fail."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest
from redis import Redis

from bench.processes import children, descendants, is_alive
from tests import forks
from tests.forks import Process
from tests.programs import needs_program
from tests.support import ROOT, OwnRedis, environment, eventually
from tests.worker.conftest import Rig
from trigger import store
from trigger.store import Record, Status

# A worker's clocks, shortened where a test is not about those that are in force by default.
SHORT = {"lease": 2.0, "beat": 0.4, "reap": 0.4, "tick": 0.05}

MORE_WORKFLOWS = '''

def slow_first(value):
    """Takes long the first time, so that it can be interrupted; from then on it ends at once."""
    note("S")
    if current().attempt == 1:
        time.sleep(value["seconds"])
    note("D")


def reports(value):
    """Answers which attempt this was, and when it was not interrupted says so in the evidence."""
    note("S")
    time.sleep(value.get("seconds", 0))
    note("D")
    return current().attempt
'''


class FaultRig(Rig):
    """The workers' rig, with workers that can be told where to die, and with the workflows above."""

    def __init__(self, folder: Path, redis: Redis, url: str) -> None:
        super().__init__(folder, redis, url)
        with (folder / "work.py").open("a") as file:
            file.write(MORE_WORKFLOWS)
        self.configure(
            "  slow_first: work:slow_first\n"
            "  reports: work:reports\n"
            "  again: {python: 'work:fails', retry: {attempts: 2, backoff: 1s}}\n"
        )

    def start_with(
        self, timing: Mapping[str, float] = SHORT, *, url: str | None = None, queue: str = "default", **fault: str
    ) -> Process:
        """Starts a worker with these clocks, and waits until Redis knows it.

        `fault`: `point` and `scope` of tests.faults.faulty_worker, to be lit by `light`, and variables of its
        environment.
        """
        environ = environment(self.folder, url or self.url)
        environ |= {"FAULT_TIMING": json.dumps(timing), "FAULT_QUEUE": queue, "FAULT_FUSE": str(self.fuse)}
        names = {"point": "FAULT_POINT", "scope": "FAULT_SCOPE"}
        environ |= {names.get(name, name): value for name, value in fault.items()}
        before = self.workers(queue)
        module = "tests.faults.faulty_worker"
        worker: Process
        with (self.folder / "log").open("ab") as log:
            if "LD_PRELOAD" in environ:  # only a program that starts heeds it
                worker = started([sys.executable, "-m", module], environ, log)
            else:
                worker = forks.start(
                    [], environ, module=module, preload="trigger.worker", stdout=log, stderr=log, new_session=True
                )
        self._stack.enter_context(stopping(worker))
        eventually(lambda: self.workers(queue) - before)
        return worker

    def workers(self, queue: str = "default") -> set[bytes]:
        """The keys of the workers that Redis knows; those of dead ones stay for a while."""
        members: set[bytes] = self.redis.smembers(f"rq:workers:{queue}")  # type: ignore[assignment]  # undecoded
        return members

    @property
    def fuse(self) -> Path:
        return self.folder / "fuse"

    def light(self) -> None:
        """From now on, the first worker that reaches its point dies there."""
        self.fuse.touch()

    def has_burnt(self) -> bool:
        return not self.fuse.exists()

    def started(self, uid: str, times: int = 1, within: float = 20) -> None:
        """Waits until the workflow of an execution has begun so many times."""
        eventually(lambda: self.evidence()[f"S {uid}"] >= times, within=within)

    def succeeded(self, uid: str, within: float = 20) -> Record:
        """The record of an execution that has succeeded, by it and by its own evidence."""
        record = self.ended(uid, within=within)
        assert record.status is Status.SUCCEEDED, record.error
        assert self.evidence()[f"D {uid}"] >= 1
        return record

    def is_tidy(self, queue: str = "default") -> None:
        """Waits until nothing waits or runs, and no trace of what has run is left."""
        keys = [
            f"rq:queue:{queue}",
            f"rq:wip:{queue}",
            store.waiting_key(queue),
            store.leased_key(queue),
            *self.redis.keys("rq:execution*:*"),
        ]
        eventually(lambda: not self.redis.exists(*keys))


def started(command: list[str], environ: Mapping[str, str], log: IO[bytes]) -> Process:
    """A process in a session of its own."""
    return subprocess.Popen(command, env=dict(environ), cwd=ROOT, stdout=log, stderr=log, start_new_session=True)


@contextmanager
def stopping(process: Process) -> Iterator[None]:
    """The process is told to stop at the end, then killed with all that it has started."""
    try:
        yield
    finally:
        below = descendants(process.pid)
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for pid in below:
            eventually(lambda pid=pid: not is_alive(pid))  # type: ignore[misc]


def child_of(worker: Process) -> int:
    """The process id of a worker's oldest child: the guardian of the process that runs a plain function."""
    return eventually(lambda: children(worker.pid))[0]


def send_all(worker: Process, signum: signal.Signals) -> None:
    """Sends a signal to a worker and all below it, as the end of their machine or container would."""
    for pid in (worker.pid, *descendants(worker.pid)):
        try:
            os.kill(pid, signum)
        except ProcessLookupError:
            pass


def kill_both(worker: Process) -> None:
    """SIGKILLs a worker and all of its processes."""
    send_all(worker, signal.SIGKILL)
    worker.wait()


@pytest.fixture
def rig(tmp_path: Path, redis: Redis, redis_server: OwnRedis) -> Iterator[FaultRig]:
    """A rig on the Redis that all tests share: it is not to be killed."""
    rig = FaultRig(tmp_path, redis, redis_server.url)
    yield rig
    rig.close()


@pytest.fixture
def own_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnRedis]:
    """A Redis of the test's own, which confirms nothing before it is on the disk."""
    with OwnRedis(tmp_path_factory.mktemp("redis") / "data") as server:
        yield server


@pytest.fixture
def own_rig(tmp_path: Path, own_redis: OwnRedis) -> Iterator[FaultRig]:
    """A rig on a Redis of the test's own."""
    client = Redis.from_url(own_redis.url)
    rig = FaultRig(tmp_path, client, own_redis.url)
    yield rig
    rig.close()
    client.close()


@pytest.fixture(scope="session")
def preload(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Compiles one of the C files beside this one, and answers the library for LD_PRELOAD."""
    compiler = needs_program("gcc")
    folder = tmp_path_factory.mktemp("preload")

    def build(name: str) -> str:
        library = folder / f"{name}.so"
        if not library.exists():
            source = Path(__file__).with_name(f"{name}.c")
            subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
        return str(library)

    return build
