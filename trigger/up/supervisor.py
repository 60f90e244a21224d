"""A few programs as one service, which starts, heals and stops in order.

A loop starts what is due, hears what has died, and tells what is to stop, a rank at a time. The programs write to our
own output, and none outlives us. One that is Python of ours runs in a fork of this process: it starts at once, and what
both have loaded takes memory once.
"""

from __future__ import annotations

import fcntl
import gc
import logging
import os
import select
import shlex
import shutil
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import NoReturn

from setproctitle import getproctitle, setproctitle

from trigger.errors import StartError
from trigger.lifeline import die_with

log = logging.getLogger("trigger.up")

LOOK_SECONDS = 0.1
# A process that dies sooner than this after its start waits before the next one, each time twice as long.
YOUNG_SECONDS = 2.0
FIRST_WAIT_SECONDS = 0.1
LONGEST_WAIT_SECONDS = 10.0

_STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
_HEARD = (*_STOPS, signal.SIGHUP, signal.SIGCHLD)


@dataclass(frozen=True, slots=True)
class Program:
    """One process of the service: `command`, or in its place `entry`, called with the environment in a fork of this
    process, whose return is its end; it is then shown as `command` all the same.

    Programs start at once and stop by descending `rank`: the next rank is told to stop when all of this one are gone.
    `stop_seconds` is the time from SIGTERM to SIGKILL. `keep_fd` is an open file of ours that the process inherits.
    `handed` are open files that it finds as descriptors 3, 4, …; `environment` is called with its process id, and gives
    variables of its own. `last_words`, when given, is asked for the reason after the process died.
    """

    name: str
    command: Sequence[str]
    rank: int
    stop_seconds: int
    keep_fd: int | None = None
    handed: Sequence[int] = ()
    environment: Callable[[int], Mapping[str, str]] = lambda pid: {}
    last_words: Callable[[], str] | None = None
    entry: Callable[[Mapping[str, str]], object] | None = None


class Fleet:
    """The programs of a running service, for `on_look` and `on_hangup`."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._members: dict[str, _Member] = {}
        self.forks = True  # False: programs with an `entry` are started as commands too, which loads their code anew

    def add(self, program: Program, *, on_trial: bool = False) -> None:
        """Start one more program. One that is on trial, until `trust`, is not started again when it dies."""
        self._members[program.name] = _Member(program, is_trusted=not on_trial)

    def trust(self, name: str) -> None:
        """Start this program again from now on when it dies."""
        self._members[name].is_trusted = True

    def has_died(self, name: str) -> bool:
        """Return whether a program was started and is gone."""
        return self._members[name].is_gone

    def retire(self, name: str) -> None:
        """Tell a program to stop, and forget it when it is gone."""
        self._members[name].stop()

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a program, if it runs."""
        self._members[name].signal(number)

    def give_time(self, name: str, stop_seconds: int) -> None:
        """Let a program have `stop_seconds` from SIGTERM to SIGKILL."""
        self._members[name].stop_seconds = stop_seconds

    def turn(self) -> None:
        """Start what is due, kill what had its time to stop, and forget what was told to stop and is gone."""
        self._hear_deaths()
        for name, member in list(self._members.items()):
            if member.is_stopping and member.pid is None:
                del self._members[name]
            elif member.is_late:
                member.kill()
            elif member.is_due:
                member.start(self._environment, forks=self.forks)

    def stop(self) -> bool:
        """Tell the highest rank to stop; whether none is left."""
        last = max((member.program.rank for member in self._members.values()), default=None)
        for member in self._members.values():
            if member.program.rank == last and not member.is_stopping:
                member.stop()
        return last is None

    def hurry(self) -> None:
        """Kill at the next turn what was told to stop and has not."""
        for name, member in self._members.items():
            if member.is_stopping and member.pid is not None:
                log.warning("killing %s, which has not stopped yet", name)
                member.kill_at = 0.0

    def _hear_deaths(self) -> None:
        """Wait for all children that have ended, also for those that this process got from others as process 1."""
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                for member in self._members.values():
                    if member.pid == ended[0]:
                        member.hear(ended[1])


class _Member:
    """A program, and its process while it has one."""

    def __init__(self, program: Program, *, is_trusted: bool) -> None:
        self.program = program
        self.stop_seconds = program.stop_seconds
        self.is_trusted = is_trusted
        self.is_stopping = False
        self.pid: int | None = None
        self.kill_at: float | None = None
        self._started_at = 0.0
        self._due: float | None = 0.0  # when it is started, by the monotonic clock; None for never
        self._deaths = 0  # right after its start, one after the other

    @property
    def is_gone(self) -> bool:
        return self.pid is None and self._due != 0.0

    @property
    def is_due(self) -> bool:
        return self.pid is None and self._due is not None and time.monotonic() >= self._due

    @property
    def is_late(self) -> bool:
        return self.pid is not None and self.kill_at is not None and time.monotonic() >= self.kill_at

    def start(self, environment: Mapping[str, str], *, forks: bool) -> None:
        """Start its process. One that can't be started counts as one that has died."""
        program = self.program
        self._started_at = time.monotonic()
        as_fork = program.entry is not None and forks
        try:
            if not as_fork and shutil.which(program.command[0]) is None:
                raise OSError(f"can't find command {program.command[0]!r}")  # noqa: TRY301  as an exec would
            self.pid = _forked(lambda: _begin(program, environment, as_fork=as_fork))
        except OSError as error:
            self._note_death(f"{error}")

    def stop(self) -> None:
        """Tell it to stop, for good."""
        self.is_stopping = True
        self.kill_at = time.monotonic() + self.stop_seconds
        self.signal(signal.SIGTERM)

    def signal(self, number: signal.Signals) -> None:
        if self.pid is not None:
            os.kill(self.pid, number)  # it is there, be it as one that has ended: nobody else waits for it

    def kill(self) -> None:
        """Kill it, with all of its process group."""
        if self.pid is not None:
            self.kill_at = None
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    def hear(self, status: int) -> None:
        """Take note of how its process has ended."""
        self.pid = None
        if self.is_stopping:
            return
        code = os.waitstatus_to_exitcode(status)
        reason = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        said = self.program.last_words() if self.program.last_words is not None and code > 0 else ""
        self._note_death(f"{reason}: {said}" if said else reason)

    def _note_death(self, reason: str) -> None:
        name, now = self.program.name, time.monotonic()
        is_young = now - self._started_at < YOUNG_SECONDS
        self._deaths = self._deaths + 1 if is_young else 0
        how = "died right after its start" if is_young else "died"
        if not self.is_trusted:
            self._due = None
            log.warning("%s %s (%s)", name, how, reason)
            return
        wait = min(FIRST_WAIT_SECONDS * 2.0 ** (self._deaths - 1), LONGEST_WAIT_SECONDS) if is_young else 0.0
        self._due = now + wait
        when = f" in {wait:.1f} s" if is_young else ""
        log.warning("%s %s (%s), starting it again%s", name, how, reason, when)


def run(
    programs: Sequence[Program],
    *,
    environment: Mapping[str, str] | None = None,
    on_look: Callable[[Fleet], None] = lambda fleet: None,
    on_hangup: Callable[[], None] = lambda: None,
    on_stopping: Callable[[], None] = lambda: None,
) -> int:
    """Run the programs in the foreground until SIGINT or SIGTERM, then stop them in order.

    A second SIGINT kills what has not stopped yet. A program that dies is started again, for ever. If this process
    is killed, its programs are killed with it.

    Args:
        programs: what to run; names are unique.
        environment: variables for the programs, on top of ours.
        on_look: called about 10 times a second, between starting and stopping processes; it should not take long.
            A StartError it raises stops everything.
        on_hangup: called after each SIGHUP.
        on_stopping: called when the stop begins.

    Returns: the exit status, 0: everything has stopped because it was told to.

    Raises:
        StartError: what `on_look` raised, after everything has stopped.
    """
    fleet = Fleet(environment or {})
    for program in programs:
        fleet.add(program)
    getproctitle()  # finds the memory that holds the title, before any environment is changed
    # What is there now stays: left alone by the collector, its pages are shared with those who are forked.
    gc.collect()
    gc.freeze()
    failure: StartError | None = None
    is_stopping = False
    with _Ears() as ears:
        while not (is_stopping and fleet.stop()):
            fleet.turn()
            heard = set(ears.wait(LOOK_SECONDS))
            if signal.SIGHUP in heard and not is_stopping:
                on_hangup()
            if is_stopping:
                if signal.SIGINT in heard:
                    fleet.hurry()
                continue
            try:
                on_look(fleet)
            except StartError as error:
                failure = error
            if failure is not None or heard.intersection(_STOPS):
                log.info("stopping")
                on_stopping()
                is_stopping = True
    if failure is not None:
        raise failure
    return 0


class _Ears:
    """Hears the signals of the service, each in its turn, instead of being interrupted by them."""

    def __init__(self) -> None:
        self._heard: deque[int] = deque()
        self._undo = ExitStack()

    def __enter__(self) -> _Ears:
        self._pipe, end = os.pipe()
        for fd in (self._pipe, end):
            os.set_blocking(fd, False)
            self._undo.callback(os.close, fd)
        self._undo.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(end, warn_on_full_buffer=False))
        for number in _HEARD:
            before = signal.signal(number, lambda number, frame: self._heard.append(number))
            self._undo.callback(signal.signal, number, before)
        return self

    def __exit__(self, *error: object) -> None:
        self._undo.close()

    def wait(self, seconds: float) -> Sequence[int]:
        """Return the signals since the last call; if there was none, wait so many seconds for one."""
        if not self._heard:
            select.select([self._pipe], [], [], seconds)
        with suppress(BlockingIOError):
            os.read(self._pipe, 4096)
        return [self._heard.popleft() for _ in range(len(self._heard))]


def _forked(begin: Callable[[], NoReturn]) -> int:
    """Return the process id of a fork in which `begin` is called. No signal meant for one reaches the other."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HEARD)
    try:
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            try:
                signal.set_wakeup_fd(-1)
                for number in _HEARD:
                    signal.signal(number, signal.SIG_DFL)
                os.setpgid(0, 0)  # a Ctrl-C reaches us alone
                die_with(parent)
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
                begin()
            except BaseException:
                log.exception("a program could not be started")
            finally:
                os._exit(127)
        with suppress(OSError):
            os.setpgid(pid, pid)  # whoever of the two comes first: who is killed is killed with its group
        return pid
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(program: Program, environment: Mapping[str, str], *, as_fork: bool) -> NoReturn:
    """Make this forked process the program."""
    variables = {**os.environ, **environment, **program.environment(os.getpid())}
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    if as_fork and program.entry is not None:
        _become(program.entry, shlex.join(program.command), variables)
    if program.keep_fd is not None:
        os.set_inheritable(program.keep_fd, True)
    # Out of the way of the numbers they are about to get.
    handed = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3 + len(program.handed)) for fd in program.handed]
    for number, fd in enumerate(handed, 3):
        os.dup2(fd, number)
    os.execvpe(program.command[0], list(program.command), variables)


def _become(entry: Callable[[Mapping[str, str]], object], title: str, environment: Mapping[str, str]) -> NoReturn:
    """Makes this forked process another program, as an exec would, but with what is loaded already."""
    status = 1
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # as Python itself begins
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        setproctitle(title)
        entry(environment)
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except KeyboardInterrupt:
        status = 128 + signal.SIGINT
    except BaseException:
        log.exception("%s failed", title)
    finally:
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(status)
