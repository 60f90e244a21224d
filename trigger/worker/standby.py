"""The processes that stand by for the next steps of an execution. A fork takes a while; none is waited for here.

A process that has run a step in Python, and says that it is as it was before, is told the next such step. A program
always gets a process that has run nothing: what runs in the meantime gives the time to fork it.
"""

from __future__ import annotations

import contextlib

from trigger.config.model import RunAction
from trigger.worker.forked import Forked, Means
from trigger.worker.step_process import Attempt


class Standby:
    """Those of one execution. Argument: `means`, what they are started with."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self._fresh: Forked | None = None
        self._used: list[Forked] = []

    @property
    def has_fresh(self) -> bool:
        """Whether there is one that has run nothing yet."""
        return self._fresh is not None

    @property
    def used(self) -> int:
        """How many there are that have run a step."""
        return len(self._used)

    @property
    def open(self) -> set[int]:
        """The child's descriptors for them."""
        return {descriptor for forked in self._all() for descriptor in forked.open}

    @property
    def pids(self) -> set[int]:
        return {forked.pid for forked in self._all()}

    def prepare(self, attempt: Attempt, foreign: set[int]) -> None:
        """Forks a fresh one. `attempt`: what all attempts have in common, with what is known by now."""
        with contextlib.suppress(OSError):  # a step will say what is wrong
            self._fresh = Forked(attempt, self._means, foreign | self.open, waits=True)

    def start(self, attempt: Attempt, foreign: set[int]) -> Forked:
        """The process that runs the attempt: one of these, or a new one. Raises OSError when there can't be one."""
        while self._used and not isinstance(attempt.step.action, RunAction):
            forked = self._used.pop()
            if forked.give(attempt):
                return forked
            forked.discard()
        fresh, self._fresh = self._fresh, None
        if fresh is not None:
            if fresh.give(attempt):
                return fresh
            fresh.discard()
        return Forked(attempt, self._means, foreign | self.open)

    def keep(self, forked: Forked) -> None:
        """Has a process that has run a step stand by for others."""
        self._used.append(forked)

    def discard(self) -> None:
        """Ends all."""
        for forked in self._all():
            forked.discard()
        self._fresh, self._used = None, []

    def _all(self) -> list[Forked]:
        return [*self._used, self._fresh] if self._fresh is not None else self._used
