"""The tie of a child process to its parent: when the parent is killed, the child goes too; and who is there at all."""

from __future__ import annotations

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
# Found before any fork: a child should call it and nothing else. Only Linux has it.
_prctl = getattr(ctypes.CDLL(None), "prctl", None)


def die_with(parent: int) -> None:
    """Have the kernel kill this process (SIGKILL) as soon as `parent`, the process that forked it, is gone.

    It holds across exec, but not for children forked later: each calls this itself (prctl(2), PR_SET_PDEATHSIG).
    `parent` must have forked from its main thread: the kernel watches the thread. Elsewhere than on Linux this does
    nothing, and a killed parent leaves its children.
    """
    if _prctl is None:
        return
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it was gone before the kernel knew
        os.kill(os.getpid(), signal.SIGKILL)


def is_there(pid: int) -> bool:
    """Return whether there is a process with this id, be it one that has ended and was not waited for."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
