"""The whole service as `make run` runs it, for tests that look at it from outside."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests import forks
from tests.programs import free_port, needs_program
from tests.support import ROOT, eventually

COMMAND = [sys.executable, "-m", "trigger", "up"]
UID = re.compile(r"[0-9]{25}")

# One of each, as `ps` knows them: what the service consists of.
REDIS, WEB, WEB_CHILD, WORKER, WORKER_CHILD = "redis", "web", "web child", "worker", "worker child"


class Running:
    """A service that runs on the shipped config, and the curl lines sent to it."""

    def __init__(self, folder: Path, port: int, **environ: str) -> None:
        self.folder = folder
        self.address = f"http://127.0.0.1:{port}"
        self.config = folder / "config.yaml"
        if not self.config.exists():
            self.config.write_bytes((ROOT / "config.yaml").read_bytes())
        self.log = folder / "log"
        self.log.touch()
        before = self.log.stat().st_size
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        ours = {
            "TRIGGER_CONFIG": str(self.config),
            "TRIGGER_DATA": str(folder / "data"),
            "TRIGGER_BIND": f"127.0.0.1:{port}",
            "PYTHONPATH": str(ROOT),
        }
        self.environ = kept | ours | environ
        self.root = self.environ["PYTHONPATH"]  # whose code it runs
        self.process: forks.Process
        with self.log.open("ab") as log:
            if self.root == str(ROOT):
                self.process = forks.start(
                    ["up"], self.environ, preload="trigger.worker", stdout=log, stderr=log, new_session=True
                )
            else:
                self.process = subprocess.Popen(
                    COMMAND, cwd=self.root, env=self.environ, stdout=log, stderr=log, start_new_session=True
                )

        def ready() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            said = self.log.read_text()[before:]
            return "Ctrl-C stops it." in said or '"event": "Trigger is ready on ' in said

        eventually(ready, within=60)
        self.said = self.log.read_text()[before:]

    def curl(self, *arguments: str) -> Any:
        """The JSON that one curl command gets."""
        path, *options = reversed(arguments)
        command = [needs_program("curl"), "-sS", *reversed(options), self.address + path]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        if done.returncode != 0:
            raise ConnectionError(done.stderr)
        return json.loads(done.stdout)["response"]

    def uid(self, *arguments: str) -> str:
        answer = self.curl(*arguments)
        assert UID.fullmatch(answer["uid"]), answer
        return str(answer["uid"])

    def record(self, uid: str, *credentials: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.curl(*credentials, f"/v1/executions/{uid}")
        return answer

    def succeeds(self, uid: str, *credentials: str) -> None:
        """The execution ends well, soon."""

        def status() -> str | None:
            try:
                return self.record(uid, *credentials).get("status")
            except ConnectionError:
                return None

        eventually(lambda: status() in ("succeeded", "failed", "cancelled"), within=60)
        assert status() == "succeeded"

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`python -m trigger` and these words, where the service is."""
        if self.root == str(ROOT):
            return forks.run(words, self.environ)
        return subprocess.run(
            [sys.executable, "-m", "trigger", *words],
            cwd=self.root,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def processes(self) -> dict[int, tuple[int, str]]:
        """Every process of the service but the supervisor: its parent and its command line."""
        found: dict[int, tuple[int, str]] = {}
        family = {self.process.pid}
        table = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    parent = int((entry / "stat").read_text().rpartition(") ")[2].split()[1])
                    command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                except (FileNotFoundError, ProcessLookupError):
                    continue
                table[int(entry.name)] = (parent, command)
        while grown := {pid for pid, (parent, _) in table.items() if parent in family} - family:
            family |= grown
            found |= {pid: table[pid] for pid in grown}
        return found

    def pid(self, kind: str) -> int:
        """One process of a kind."""
        ours = self.processes()
        for pid, (parent, command) in ours.items():
            direct = parent == self.process.pid
            if (
                (kind == REDIS and "-server" in command)
                or (kind == WEB and direct and "gunicorn" in command)
                or (kind == WEB_CHILD and not direct and "gunicorn" in command)
                or (kind == WORKER and direct and "worker --" in command)
                or (kind == WORKER_CHILD and not direct and "worker --" in command)
            ):
                return pid
        raise AssertionError(f"there is no {kind} among {ours}")

    def stop(self, number: signal.Signals = signal.SIGTERM, *, group: bool = False) -> int:
        """Tell the service to stop, and see that no process of it is left."""
        family = self.processes()
        (os.killpg if group else os.kill)(self.process.pid, number)
        status = self.process.wait(60)
        eventually(lambda: not any(is_running(pid) for pid in family))
        return status

    def kill(self) -> None:
        family = self.processes()
        self.process.kill()
        self.process.wait()
        eventually(lambda: not any(is_running(pid) for pid in family))


@contextmanager
def starting(folder: Path) -> Iterator[Callable[..., Running]]:
    """Starts the service, always on the same folder and port; at the end none of it is left."""
    port = free_port()
    started: list[Running] = []

    def start(**environ: str) -> Running:
        started.append(Running(folder, port, **environ))
        return started[-1]

    try:
        yield start
    finally:
        for running in started:
            if running.process.poll() is None:
                running.kill()


def is_running(pid: int) -> bool:
    """Whether a process runs; one that has ended but was not fetched by its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False
