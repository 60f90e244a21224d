"""Commands of ours as processes that start at once: each is a fork of one process that has loaded the code.

They are as real as those that are started anew, and `up` starts its workers so, too: each has its own environment,
folder, session and descriptors, runs what `python -m` would run, and ends as an interpreter does. What is loaded before
the fork is what every command loads before it knows which one it is, and for workers their code; only that second of
the processor is saved. `web` can't be forked: gevent patches what it loads.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import IO, Protocol

from setproctitle import getproctitle, setproctitle

ROOT = Path(__file__).resolve().parents[1]

File = int | IO[bytes] | IO[str]


class Process(Protocol):
    """A process that a test has started: subprocess.Popen, or a Fork."""

    pid: int
    returncode: int | None

    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int) -> None: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...


class Fork:
    """A command that runs in a fork; asked and told as subprocess.Popen is."""

    def __init__(self, connection: socket.socket, command: Sequence[str]) -> None:
        self._said = connection.makefile("rb")
        self._connection = connection
        self._command = command
        self.pid = int(self._said.readline())
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return how it has ended, or None."""
        return self._ended(0.0)

    def wait(self, timeout: float | None = None) -> int:
        """Return how it has ended, when it has. Raises TimeoutExpired."""
        ended = self._ended(timeout)
        if ended is None:
            raise subprocess.TimeoutExpired(self._command, timeout or 0.0)
        return ended

    def send_signal(self, sig: int) -> None:
        """Send it a signal, if it has not ended."""
        if self.poll() is None:
            os.kill(self.pid, sig)

    def terminate(self) -> None:
        """Tell it to stop."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill it."""
        self.send_signal(signal.SIGKILL)

    def _ended(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._connection], [], [], timeout)[0]:
            self.returncode = int(self._said.readline())
            self._said.close()
            self._connection.close()
        return self.returncode


def start(
    arguments: Sequence[str],
    environ: Mapping[str, str],
    *,
    module: str = "trigger",
    preload: str = "trigger.cli",
    cwd: Path = ROOT,
    stdin: File | None = None,
    stdout: File,
    stderr: File,
    new_session: bool = False,
) -> Fork:
    """Start `python -m MODULE ARGUMENTS` in a fork of a process that has imported `preload`."""
    command = [sys.executable, "-m", module, *arguments]
    ours, theirs = socket.socketpair()
    with theirs, open(os.devnull) as nothing:
        files = [f if isinstance(f, int) else f.fileno() for f in (nothing if stdin is None else stdin, stdout, stderr)]
        socket.send_fds(_forker(preload), [b"x"], [theirs.fileno(), *files])
    asked = {"command": command, "environ": dict(environ), "cwd": str(cwd), "new_session": new_session}
    ours.sendall(json.dumps(asked).encode() + b"\n")
    return Fork(ours, command)


def run(
    arguments: Sequence[str],
    environ: Mapping[str, str],
    *,
    module: str = "trigger",
    cwd: Path = ROOT,
    stdin: str = "",
    timeout: float = 120,
) -> subprocess.CompletedProcess[str]:
    """Run `python -m MODULE ARGUMENTS` in a fork to its end, and return what it has said."""
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write(stdin.encode())
        given.seek(0)
        child = start(arguments, environ, module=module, cwd=cwd, stdin=given, stdout=out, stderr=err)
        try:
            status = child.wait(timeout)
        finally:
            child.kill()
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode())
    return subprocess.CompletedProcess([*arguments], status, *texts)


@cache
def _forker(preload: str) -> socket.socket:
    """The connection to a process that forks, which ends when this one does."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", __name__, str(theirs.fileno()), preload],
            cwd=ROOT,
            env=kept,
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
    atexit.register(process.wait)
    atexit.register(ours.close)
    return ours


# --- the process that forks ---


def serve(asking: socket.socket) -> str:
    """Fork for each that asks and tell it how the fork has ended. Return the module to run, in the fork."""
    running: dict[int, tuple[int, int]] = {}  # a descriptor of each fork: its process id, and who is to be told
    while True:
        for ready in select.select([asking.fileno(), *running], [], [])[0]:
            if ready in running:
                pid, told = running.pop(ready)
                _tell(told, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
                os.close(told)
                os.close(ready)
                continue
            message, descriptors, _, _ = socket.recv_fds(asking, 1, 4)
            if not message:
                sys.exit()
            told = descriptors[0]
            with open(told, "rb", closefd=False) as request:
                asked = json.loads(request.readline())
            pid = os.fork()
            if pid == 0:
                asking.detach()
                return _become(descriptors[1:], **asked)
            running[os.pidfd_open(pid)] = (pid, told)
            for descriptor in descriptors[1:]:
                os.close(descriptor)
            _tell(told, pid)


def _tell(told: int, number: int) -> None:
    try:
        os.write(told, b"%d\n" % number)
    except BrokenPipeError:  # nobody waits for it any more
        pass


def _become(files: Sequence[int], command: Sequence[str], environ: dict[str, str], cwd: str, new_session: bool) -> str:
    """Make this fork the process that `command` would have begun; the module that it is to run."""
    if new_session:
        os.setsid()
    for number, descriptor in enumerate(files):
        os.dup2(descriptor, number)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    setproctitle(" ".join(command).encode(errors="replace").decode())
    os.environ.clear()
    os.environ.update(environ)
    os.chdir(cwd)
    sys.path[:1] = [cwd, *filter(None, environ.get("PYTHONPATH", "").split(os.pathsep))]
    sys.argv, sys.orig_argv = ["-m", *command[3:]], list(command)
    return command[2]


if __name__ == "__main__":
    import_module(sys.argv[2])
    getproctitle()  # finds the memory that holds the title, before any environment is changed
    gc.freeze()
    runpy.run_module(serve(socket.socket(fileno=int(sys.argv[1]))), run_name="__main__", alter_sys=True)
