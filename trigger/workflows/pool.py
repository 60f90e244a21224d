"""The processes of a worker that run foreign code, or stand ready for it.

A process that has run something, and says that it is as it was before, runs the next work in Python, of any execution.
A program always gets a process that has run nothing, for it takes its place.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections import deque
from collections.abc import Mapping
from time import monotonic

from trigger.config.model import Action, Config, RunAction
from trigger.workflows import processes
from trigger.workflows.loop import Loop
from trigger.workflows.process import Process

logger = logging.getLogger("trigger.worker")

# How many that have run something are kept.
KEPT = 4
# For so long a process may look whether it is as it was before, and import what the config names, in seconds.
LOOK = 1.0
IMPORTING = 30.0
# Of how many that were let go the output is still read.
LET_GO = 16


class Pool:
    """Arguments: `loop`, which tells when processes write; `environ`, the service's; `config`, for all of them;
    `imports`, whether they are to run what the config names."""

    def __init__(self, loop: Loop, environ: Mapping[str, str], config: Config, *, imports: bool = True) -> None:
        self._loop = loop
        self._environ = environ
        self.config = config
        self._idle: list[Process] = []
        self._of_earlier: Process | None = None  # one that has run something of another config, and is kept for more
        self._busy: set[Process] = set()
        self._ending: set[Process] = set()
        self._let_go: deque[Process] = deque()
        self._left: set[int] = set()  # ids of processes and sessions that plain functions have left behind
        self._imports = imports
        self._can_import = imports  # False when importing all that the config names has ended a process
        self._child_ended = False

    def renew(self, config: Config) -> None:
        """Has a process with this config take the place of each that stands ready."""
        self.config = config
        self._can_import = self._imports
        self.discard_idle()

    def is_ready(self) -> bool:
        """Whether there is a process for work in Python; if not, one gets ready."""
        if self._idle and self._idle[-1].seems_ready:
            return True
        for process in list(self._idle):
            late = process.is_warming and monotonic() - process.born > IMPORTING
            if process.has_ended or process.is_clean is False or late:
                if process.is_warming:
                    self._can_import = False
                    logger.warning("importing the workflows does not end, or ends its process; they are imported later")
                self._idle.remove(process)
                self.discard(process)
        fit = [process for process in self._idle if process.is_fit or not self._can_import]
        if not fit:
            with contextlib.suppress(OSError):  # the next look tries again
                self._idle.append(Process(self.config, self._environ, self._loop, warm=self._can_import))
        return any(not process.is_warming for process in fit)

    def take(self, action: Action, config: Config) -> Process:
        """A process for a piece of work of this config, which may be an earlier one. Raises OSError when there can't be
        one more."""
        process = None
        if config is not self.config:
            process = self._earlier_one(action, config) or Process(config, self._environ, self._loop, warm=False)
            self._busy.add(process)
            return process
        if not isinstance(action, RunAction):
            process = self._clean_one()
        if process is None:
            process = next((process for process in self._idle if not process.is_fit), None)
            if process is not None:
                self._idle.remove(process)
        if process is None or process.has_ended:
            process = Process(self.config, self._environ, self._loop, warm=False)
        self._busy.add(process)
        return process

    def _clean_one(self) -> Process | None:
        for process in [process for process in reversed(self._idle) if process.is_fit and not process.is_warming]:
            self._idle.remove(process)
            if process.await_look(LOOK):
                return process
            self.discard(process)
        return None

    def _earlier_one(self, action: Action, config: Config) -> Process | None:
        """The process that has run something of an earlier config, if it is of that one."""
        process = self._of_earlier
        if process is None or process.config is not config or isinstance(action, RunAction):
            return None
        self._of_earlier = None
        if process.await_look(LOOK):
            return process
        self.discard(process)
        return None

    def prepare(self) -> None:
        """Forks a process for the next program, if none stands ready."""
        if all(process.is_fit for process in self._idle):
            with contextlib.suppress(OSError):  # whoever needs it will say what is wrong
                self._idle.append(Process(self.config, self._environ, self._loop, warm=False))

    def put(self, process: Process) -> None:
        """Takes back a process whose work has ended and left no children. It is about to look what else was left."""
        process.collected = None
        self._busy.discard(process)
        if process.config is not self.config:
            if self._of_earlier is not None:
                self.discard(self._of_earlier)
            self._of_earlier = process
            return
        self._idle.append(process)
        self._keep(KEPT)

    def rest(self) -> None:
        """Ends all but one of those that have run something, and one that has not."""
        self._keep(1)
        if self._of_earlier is not None:
            self.discard(self._of_earlier)
            self._of_earlier = None

    def _keep(self, count: int) -> None:
        used = [process for process in self._idle if process.is_fit]
        for process in used[: len(used) - count]:
            self._idle.remove(process)
            self.discard(process)

    def discard(self, process: Process) -> None:
        """Ends a process with all it has started."""
        self._busy.discard(process)
        process.end()
        process.close()
        if not process.is_gone:
            self._ending.add(process)

    def let_go(self, process: Process) -> None:
        """Ends a process, but not what it has started."""
        self._busy.discard(process)
        self._left |= process.let_go()
        self._let_go.append(process)
        if len(self._let_go) > LET_GO:
            oldest = self._let_go.popleft()
            oldest.close()
            if not oldest.is_gone:
                self._ending.add(oldest)

    def discard_idle(self) -> None:
        """Ends all that stand ready."""
        if self._of_earlier is not None:
            self._idle.append(self._of_earlier)
            self._of_earlier = None
        for process in self._idle:
            self.discard(process)
        self._idle.clear()

    def kill_busy(self) -> None:
        """Kills all that run something, as if somebody else had."""
        for process in self._busy:
            process.kill()

    def note_child(self) -> None:
        """Takes note that a child of the worker has ended; `look_after` finds out which."""
        self._child_ended = True

    def look_after(self) -> None:
        """Finds out which processes have ended, and kills what those have left behind whose guardian was killed."""
        if not self._child_ended:
            return
        self._child_ended = False
        earlier = () if self._of_earlier is None else (self._of_earlier,)
        known = (*self._idle, *self._busy, *self._ending, *self._let_go, *earlier)
        ours = {process for process in known if not process.is_gone}
        for process in ours:
            if processes.is_gone(process.guardian):
                process.note_end()
        self._ending = {process for process in self._ending if not process.is_gone}
        adopted = processes.children(os.getpid()) - {process.guardian for process in ours}
        for pid in adopted:
            if processes.is_gone(pid):
                continue
            if self._left.isdisjoint((pid, processes.session(pid))):
                processes.await_end(processes.kill_tree(pid))
            else:
                self._left |= {pid, processes.session(pid), *processes.descendants(pid)}
        if not adopted and all(process.is_gone for process in self._let_go):
            self._left.clear()
