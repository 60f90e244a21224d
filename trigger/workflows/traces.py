"""The traces that work leaves in its process, for the next to stumble over: seen at little cost, or put right."""

from __future__ import annotations

import fcntl
import locale
import logging
import os
import resource
import signal
import socket
import sys
import threading
import time

from trigger.workflows import processes

# By how much the process may have grown, and how large it may be, in kB; and how often it is used.
MAX_GROWTH = 256 * 1024
MAX_SIZE = 512 * 1024
MAX_USES = 10_000

# Descriptors are counted after work that took longer than this, in seconds, and after every so many pieces of work.
LONG = 1.0
EVERY = 20

# What proc_pid_status(5) says of this process, and must go on to say; and its size, in kB.
_STATUS = "/proc/self/status"
_SAME = (b"Umask:", b"Uid:", b"Gid:", b"SigBlk:", b"SigIgn:", b"SigCgt:", b"Threads:")
_SIZE = b"VmRSS:"
_LIMITS = sorted({getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")})
_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
_CAUGHT = (signal.SIGTERM, signal.SIGINT)

# A thread that Python has joined is there for a moment longer; looked for so often, in seconds.
_LOOKS = 4
_MOMENT = 0.0005


class Before:
    """The state of the process before its first work.

    Argument: `descriptors` that it owns, which have to stay what they are.
    """

    def __init__(self, descriptors: tuple[int, ...]) -> None:
        _have_had_a_thread()
        self._descriptors = descriptors
        self._environ = os.environ
        self._variables = _variables().copy()
        self._streams = sys.stdout, sys.stderr
        lines = _status()
        self._kept = [number for number, line in enumerate(lines) if line.startswith(_SAME)]
        (self._size_at,) = [number for number, line in enumerate(lines) if line.startswith(_SIZE)]
        self._lines = self._kept_of(lines)
        self._size = self._size_of(lines)
        self._same = self._all()
        self._open = _count_descriptors()
        self._uses = 0
        self._looked_at = time.monotonic()

    def is_restored(self) -> bool:
        """Takes back what work has done to os.environ. True when all else is the same too: no children, threads or
        timers, the same folder, umask, signals, limits, locale, streams and handlers of logs, now and then also
        descriptors; and the process has not grown much."""
        try:
            return self._is_same() and self._restores_environment()
        except Exception:  # noqa: BLE001
            # What is used here may have been changed by the work as well. It has done its part all the same.
            return False

    def _is_same(self) -> bool:
        self._uses += 1
        if processes.has_children() or self._uses >= MAX_USES or processes.is_stopped(os.getppid()):
            return False
        lines = _status()
        for _ in range(_LOOKS):
            if self._kept_of(lines) == self._lines or threading.active_count() > 1:
                break
            time.sleep(_MOMENT)
            lines = _status()
        size = self._size_of(lines)
        if self._kept_of(lines) != self._lines or size > max(MAX_SIZE, self._size) or size > self._size + MAX_GROWTH:
            return False
        if (sys.stdout, sys.stderr) != self._streams or any(stream.closed for stream in self._streams):
            return False
        return self._all() == self._same and self._has_same_descriptors()

    def _kept_of(self, lines: list[bytes]) -> list[bytes]:
        return [lines[number] for number in self._kept]

    def _size_of(self, lines: list[bytes]) -> int:
        return int(lines[self._size_at].split()[1])

    def _has_same_descriptors(self) -> bool:
        now = time.monotonic()
        took, self._looked_at = now - self._looked_at, now
        if took < LONG and self._uses % EVERY:
            return True
        # Those that modules keep, such as an open connection, are theirs; but they are not to grow without an end.
        return _count_descriptors() - self._open <= 64

    def _restores_environment(self) -> bool:
        if _variables() != self._variables:
            os.environb.clear()
            os.environb.update(self._variables)
        return os.environ is self._environ

    def _all(self) -> tuple[object, ...]:
        root = logging.getLogger()
        return (
            _folder(),
            [signal.getsignal(signum) for signum in _CAUGHT],
            [signal.getitimer(timer) for timer in _TIMERS],
            [resource.getrlimit(kind) for kind in _LIMITS],
            os.getpriority(os.PRIO_PROCESS, 0),
            [_file(descriptor) for descriptor in self._descriptors],
            (root.handlers[:], root.level, root.disabled, root.manager.disable),
            (sys.getrecursionlimit(), locale.setlocale(locale.LC_ALL), socket.getdefaulttimeout()),
        )


def _have_had_a_thread() -> None:
    """Starts a thread, and waits for its end: with the first one of a process, the C library begins to catch a signal
    of its own, which else would be taken for a trace of the work, as of each http step."""
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()
    for _ in range(_LOOKS):
        if b"Threads:\t1" in _status():
            break
        time.sleep(_MOMENT)


def _status() -> list[bytes]:
    file = os.open(_STATUS, os.O_RDONLY)
    try:
        return os.read(file, 8192).split(b"\n")
    finally:
        os.close(file)


def _variables() -> dict[bytes, bytes]:
    """Return the data under os.environ, which itself decodes each variable that is looked at."""
    found: dict[bytes, bytes] = vars(os.environ)["_data"]
    return found


def _count_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def _folder() -> str | None:
    try:
        return os.getcwd()
    except FileNotFoundError:  # it was removed
        return None


def _file(descriptor: int) -> tuple[int, int, int] | None:
    try:
        found = os.fstat(descriptor)
    except OSError:  # it was closed
        return None
    return found.st_dev, found.st_ino, fcntl.fcntl(descriptor, fcntl.F_GETFL)
