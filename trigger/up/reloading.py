"""How a running service takes up new code without a gap: a new web first, then its workers.

The new web accepts from the same sockets as the old one, which is told to stop when the new one accepts connections. If
the new one does not come to that, it is given up, and all stays as it was. Only then are the workers told: each ends
what it runs, and starts anew.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from trigger.up.supervisor import Fleet, Program
from trigger.web.listening import FIRST_FD, READY_FD, WEB_PROCESSES, Listeners

log = logging.getLogger("trigger.up")

# gunicorn lets what has begun end for 10 seconds.
STOP_SECONDS = 15
# A new web that does not accept connections by then is given up.
PATIENCE_SECONDS = 120.0

COMMAND = [sys.executable, "-m", "trigger"]


class Web:
    """The web, the `number`th in the life of this service: its program, and what its processes say.

    It stops by `rank`, and accepts connections at the `listeners`.
    """

    def __init__(self, number: int, rank: int, listeners: Listeners) -> None:
        self.name = "web" if number == 1 else f"web-{number}"
        self._number, self._rank, self._listeners = number, rank, listeners
        self._hears, self._says = os.pipe()
        for end in (self._hears, self._says):
            os.set_blocking(end, False)
        self._accepting = 0
        # Not forked: gevent has to patch the web before it imports anything, and must leave the workers alone.
        self.program = Program(
            self.name,
            [*COMMAND, "web", "--checked"],
            rank,
            STOP_SECONDS,
            handed=[*listeners.fds, self._says],
            environment=self._environment,
        )

    def _environment(self, pid: int) -> Mapping[str, str]:
        return {**self._listeners.environment(pid), READY_FD: str(FIRST_FD + len(self._listeners.fds))}

    def accepts(self) -> bool:
        """Return whether all of its processes accept connections, or did so before one of them was started again."""
        try:
            self._accepting += len(os.read(self._hears, 4096))
        except BlockingIOError:
            pass
        return self._accepting >= WEB_PROCESSES

    def next(self) -> Web:
        """Return the web that is to follow this one."""
        return Web(self._number + 1, self._rank, self._listeners)

    def close(self) -> None:
        os.close(self._hears)
        os.close(self._says)


class Reloader:
    """Does what SIGHUP asks for, a bit at each look.

    Args:
        web: the first web.
        workers: returns the names of the programs to be told by SIGHUP once there is a new web.
        report: is told how far it is: "reloading", "reloaded" or "not reloaded: …".
    """

    def __init__(
        self,
        web: Web,
        workers: Callable[[], Iterable[str]] = lambda: (),
        report: Callable[[str], None] = lambda said: None,
    ) -> None:
        self.web = web
        self._workers = workers
        self._report = report
        self._is_wanted = False
        self._next: Web | None = None
        self._deadline = 0.0

    def ask(self) -> None:
        """Ask for a reload. If one is going on, another one follows."""
        self._is_wanted = True

    def look(self, fleet: Fleet) -> None:
        """Begin what was asked for, or go on with it."""
        if self._next is None:
            if self._is_wanted and self.web.accepts():
                self._is_wanted = False
                self._begin(fleet)
        elif self._next.accepts():
            self._replace(fleet, self._next)
        elif fleet.has_died(self._next.name):
            self._give_up(fleet, self._next, "the new web processes do not start; the lines above say why")
        elif time.monotonic() > self._deadline:
            self._give_up(fleet, self._next, f"the new web processes are not ready after {PATIENCE_SECONDS:.0f} s")

    def _begin(self, fleet: Fleet) -> None:
        log.info("reloading: new web processes are started beside the old ones")
        self._report("reloading")
        self._next = self.web.next()
        self._deadline = time.monotonic() + PATIENCE_SECONDS
        fleet.add(self._next.program, on_trial=True)

    def _replace(self, fleet: Fleet, new: Web) -> None:
        fleet.trust(new.name)
        fleet.retire(self.web.name)
        self.web.close()
        self.web, self._next = new, None
        fleet.forks = False  # what this process has loaded is the old code
        workers: Sequence[str] = list(self._workers())
        for name in workers:
            fleet.signal(name, signal.SIGHUP)
        log.info("reloaded: calls are taken by new web processes; %d workers follow when they are idle", len(workers))
        self._report("reloaded")

    def _give_up(self, fleet: Fleet, new: Web, why: str) -> None:
        fleet.retire(new.name)
        new.close()
        self._next = None
        log.error("not reloaded: %s; all goes on as before", why)
        self._report(f"not reloaded: {why}")
