"""The guardian of a process that runs work: it stands between that process and the worker, and does nothing else.

A workflow may kill its parent, or its parent's group, and meets the guardian. Whatever it starts, also a daemon in a
session of its own, stays below the guardian, so a worker that kills the guardian's tree kills all of one piece of work
and nothing else (prctl(2), PR_SET_CHILD_SUBREAPER). When the guardian is gone, so is the process.
"""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable, Iterable
from typing import NoReturn

from trigger.lifeline import die_with
from trigger.workflows import processes
from trigger.workflows.channel import ENDED, PID, UNSTARTED, say

_IGNORED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
# A signal between a fork and the child's own handlers would run the parent's.
_BLOCKED = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)


def spawn(main: Callable[[int], NoReturn], sock: int, others: Iterable[int]) -> int:
    """Forks a guardian and returns its process id; it forks a process that calls `main` with that id.

    Both keep, of all descriptors, `sock`, the `others`, and 0 to 2. The guardian says on `sock` the process's id and
    how it has ended, and ends itself when nothing is left below it.

    Raises OSError when there can't be one more process.
    """
    parent = os.getpid()
    unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED)
    try:
        pid = os.fork()
        if pid == 0:
            _guard(parent, main, sock, others)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
    return pid


def _guard(parent: int, main: Callable[[int], NoReturn], sock: int, others: Iterable[int]) -> NoReturn:
    try:
        gc.freeze()  # nothing of the worker's is ever collected here: its connections are not closed a second time
        os.setsid()
        die_with(parent)
        processes.adopt_orphans()
        signal.set_wakeup_fd(-1)
        for signum in _IGNORED:
            signal.signal(signum, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _close_all_but({sock, *others})
        guardian = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            say(sock, UNSTARTED, f"{error.strerror}".encode())
            raise
        if pid == 0:
            main(guardian)
        for descriptor in others:
            os.close(descriptor)
        say(sock, PID, b"%d" % pid)
        _wait_for(pid, sock)
    finally:
        os._exit(0)


def _wait_for(pid: int, sock: int) -> None:
    """Waits until nothing is left below this process."""
    while True:
        try:
            ended, status = os.wait()
        except ChildProcessError:
            return
        if ended == pid:
            say(sock, ENDED, b"%d" % os.waitstatus_to_exitcode(status))


def _close_all_but(kept: set[int]) -> None:
    start = 3
    for descriptor in sorted(kept):
        os.closerange(start, descriptor)
        start = descriptor + 1
    os.closerange(start, os.sysconf("SC_OPEN_MAX"))
