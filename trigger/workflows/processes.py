"""Processes below this one: none is lost sight of, and none is left behind (prctl(2), proc(5))."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Collection
from pathlib import Path

from trigger.lifeline import is_there

_PR_SET_CHILD_SUBREAPER = 36

# How often what is left is looked for, and for how long killed processes are waited for, in seconds.
_PASSES = 100
_PATIENCE = 2.0

_prctl = ctypes.CDLL(None).prctl


def adopt_orphans(adopt: bool = True) -> None:
    """Makes this process the parent of all below it whose own parents end, so that they can be found."""
    _prctl(_PR_SET_CHILD_SUBREAPER, int(adopt), 0, 0, 0)


def children(pid: int) -> set[int]:
    """The children of a process, also those that have ended and were not waited for."""
    found: set[int] = set()
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            found.update(map(int, Path(f"/proc/{pid}/task/{task}/children").read_text().split()))
    except FileNotFoundError:
        if Path("/proc/self/task").exists() and not Path(f"/proc/self/task/{os.getpid()}/children").exists():
            return _children_by_parent(pid)  # a kernel without CONFIG_PROC_CHILDREN
    except ProcessLookupError:
        pass  # it ended meanwhile
    return found


def _children_by_parent(parent: int) -> set[int]:
    found = set()
    for entry in filter(str.isdigit, os.listdir("/proc")):
        stat = _stat(int(entry))
        if stat and int(stat[1]) == parent:
            found.add(int(entry))
    return found


def _stat(pid: int) -> list[str]:
    """The fields of proc_pid_stat(5) from the state on; none when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def is_running_in(pid: int, group: int) -> bool:
    """Whether a process is one of a process group, and has not ended."""
    stat = _stat(pid)
    return bool(stat) and stat[0] not in "ZX" and int(stat[2]) == group


def session(pid: int) -> int:
    """The session that a process is in; 0 when there is no such process."""
    stat = _stat(pid)
    return int(stat[3]) if stat else 0


def is_stopped(pid: int) -> bool:
    """Whether a process stands still because of a signal."""
    return _stat(pid)[:1] == ["T"]


def descendants(pid: int) -> set[int]:
    """All processes below one."""
    found: set[int] = set()
    open_pids = [pid]
    while open_pids:
        new = children(open_pids.pop()) - found
        found |= new
        open_pids += new
    return found


def send(pid: int, signum: signal.Signals) -> None:
    """Sends a signal to a process, if it is there and ours."""
    try:
        os.kill(pid, signum)
    except (ProcessLookupError, PermissionError):
        pass


def send_group(group: int, signum: signal.Signals) -> None:
    """Sends a signal to a process group, if it is there and ours."""
    try:
        os.killpg(group, signum)
    except (ProcessLookupError, PermissionError):
        pass


def kill_tree(pid: int) -> set[int]:
    """Kills a process and all below it, and returns which those are. They are stopped first: what stands still starts
    no others meanwhile."""
    seen = {pid}
    send(pid, signal.SIGSTOP)
    for _ in range(_PASSES):
        new = descendants(pid) - seen
        if not new:
            break
        for one in new:
            send(one, signal.SIGSTOP)
        seen |= new
    for one in seen:
        send(one, signal.SIGKILL)
    return seen


def await_end(pids: Collection[int]) -> None:
    """Waits until killed processes are gone: children, and what comes to this process as its subreaper."""
    deadline = time.monotonic() + _PATIENCE
    for pid in pids:
        # What can't be killed (it sleeps in the kernel, or is another user's) is not waited for.
        while is_there(pid) and time.monotonic() < deadline:
            if not is_gone(pid):
                time.sleep(0.0005)


def has_children() -> bool:
    """Whether this process has children that run. Of those that have ended, note is taken."""
    try:
        while os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG) is not None:
            pass
    except ChildProcessError:
        return False
    return True


def is_gone(pid: int) -> bool:
    """Whether a child has ended, which is taken note of; False for what is not a child of this process (yet)."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return False
