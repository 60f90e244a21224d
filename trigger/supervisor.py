"""A few programs as one service, which starts, heals and stops in order.

supervisord does the work, inside this process and without its HTTP server: it starts the programs, restarts those that
die and stops them by priority. What we add: it looks more often, no program outlives us, programs write to our own
output, restarts wait at most 10 seconds, and the log says all this in our words. A program that is Python of ours runs
in a fork of this process: it starts at once, and what both have loaded takes memory once.
"""

from __future__ import annotations

import gc
import io
import logging
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, NoReturn

from setproctitle import getproctitle, setproctitle
from supervisor import events, loggers, poller
from supervisor.medusa.asyncore_25 import ExitNow
from supervisor.options import ServerOptions
from supervisor.states import ProcessStates, SupervisorStates
from supervisor.supervisord import Supervisor

from trigger.errors import StartError
from trigger.lifeline import die_with

log = logging.getLogger("trigger.up")

# supervisord looks once a second, which would make every start, restart and step of the stop a second longer.
LOOK_SECONDS = 0.1
# A process that dies sooner than this after its start waits before the next one, each time twice as long.
YOUNG_SECONDS = 2
FIRST_WAIT_SECONDS = 0.1
LONGEST_WAIT_SECONDS = 10.0

# What supervisord handles (supervisor.options.ServerOptions.setsignals), beside its children's end.
_HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR2)


@dataclass(frozen=True, slots=True)
class Program:
    """One process of the service: `command`, or in its place `entry`, called with the environment in a fork of this
    process, whose return is its end; it is then shown as `command` all the same.

    Programs start at once and stop by descending `rank`: the next rank is told to stop when all of this one are gone.
    `stop_seconds` is the time from SIGTERM to SIGKILL. `keep_fd` is an open file of ours that the process inherits.
    `last_words`, when given, is asked for the reason after the process died.
    """

    name: str
    command: Sequence[str]
    rank: int
    stop_seconds: int
    keep_fd: int | None = None
    last_words: Callable[[], str] | None = None
    entry: Callable[[Mapping[str, str]], object] | None = None


def run(
    programs: Sequence[Program],
    folder: Path,
    *,
    environment: Mapping[str, str] | None = None,
    on_look: Callable[[], None] = lambda: None,
) -> int:
    """Run the programs in the foreground until SIGINT, SIGTERM or SIGHUP, then stop them in order.

    A second SIGINT kills what has not stopped yet. A program that dies is started again, for ever. If this process
    is killed, its programs are killed with it.

    Args:
        programs: what to run; names are unique.
        folder: a private folder that exists, for supervisord's pid file.
        environment: variables for the programs, on top of ours.
        on_look: called about 10 times a second, between starting and stopping processes; it should not take long.
            A StartError it raises stops everything.

    Returns: the exit status, 0: everything has stopped because it was told to.

    Raises:
        StartError: what `on_look` raised, after everything has stopped.
    """
    options = _Options({program.name: program for program in programs}, dict(environment or {}))
    options.configfile = io.StringIO(_supervisord_config(programs))
    options.realize(["--nodaemon", "--pidfile", str(folder / "supervisord.pid")])
    for group in options.process_group_configs:
        for process in group.process_configs:
            process.command = shlex.join(options.programs[process.name].command)
    options.first = True
    options.test = False
    supervisor = _Supervisor(options, on_look)
    getproctitle()  # finds the memory that holds the title, before any environment is changed
    # What is there now stays: left alone by the collector, its pages are shared with those who are forked.
    gc.collect()
    gc.freeze()
    try:
        supervisor.main()
    except ExitNow:  # how supervisord's loop ends after a stop
        pass
    if supervisor.failure is not None:
        raise supervisor.failure
    return 0


def _supervisord_config(programs: Sequence[Program]) -> str:
    """The programs as supervisord reads them (http://supervisord.org/configuration.html).

    Without their command lines, which this format can't hold whatever is in them (line ends, " ;", "%").
    """
    sections: dict[str, dict[str, Any]] = {
        "supervisord": {
            "logfile": "/dev/null",  # never opened: `_Options.make_logger`
            "nocleanup": "true",
            # It closes file descriptors up to minfds in each child; ours are close-on-exec, but for `keep_fd`.
            "minfds": 3,
            "minprocs": 1,
        }
    }
    if os.getuid() == 0:
        sections["supervisord"]["user"] = "root"  # it warns unless told that this is meant
    for program in programs:
        sections[f"program:{program.name}"] = {
            "command": "put in later",
            "autorestart": "true",
            "startsecs": YOUNG_SECONDS,
            "startretries": 2**31,
            "stopsignal": "TERM",
            "stopwaitsecs": program.stop_seconds,
            "killasgroup": "true",
            "stdout_logfile": "NONE",
            "stderr_logfile": "NONE",
        }
    # Groups stop one after the other, the members of one together.
    ranked = sorted(programs, key=lambda program: program.rank)
    for rank, members in groupby(ranked, key=lambda program: program.rank):
        names = ",".join(program.name for program in members)
        sections[f"group:rank-{rank}"] = {"programs": names, "priority": rank}
    return "\n".join(
        f"[{name}]\n" + "".join(f"{key}={value}\n" for key, value in settings.items())
        for name, settings in sections.items()
    )


class _Poller(poller.Poller):
    def poll(self, timeout: float) -> Any:
        return super().poll(min(timeout, LOOK_SECONDS))


class _LogHandler:
    """Passes what supervisord itself finds alarming on to our log."""

    level = loggers.LevelsByName.ERRO

    def emit(self, record: loggers.LogRecord) -> None:
        log.error("supervisord: %s", record.msg)

    def close(self) -> None:
        pass


class _Options(ServerOptions):
    """supervisord's settings and, by its design, the system calls it makes."""

    def __init__(self, programs: Mapping[str, Program], environment: Mapping[str, str]) -> None:
        super().__init__()
        self.programs = programs
        self.environment = environment
        self.poller = _Poller(self)
        self.pid = os.getpid()
        self.statuses: dict[int, int] = {}  # by process id, of those that ended
        self.last_signal: int | None = None

    def make_logger(self) -> None:
        self.logger = loggers.Logger(loggers.LevelsByName.ERRO, [_LogHandler()])

    def usage(self, msg: object) -> NoReturn:
        raise StartError(f"supervisord: {msg}")

    def make_pipes(self, stderr: bool = True) -> dict[str, int | None]:
        """No pipes: the programs write to our own output, so that no line passes through this process."""
        return {
            "child_stdin": os.open(os.devnull, os.O_RDONLY),
            "child_stdout": os.dup(1),
            "child_stderr": os.dup(2),
            "stdin": None,
            "stdout": None,
            "stderr": None,
        }

    def setpgrp(self) -> None:
        """The first call in a forked child: its own process group, so that a Ctrl-C reaches us alone."""
        super().setpgrp()
        die_with(self.pid)

    def execve(self, filename: str, argv: Sequence[str], env: dict[str, str]) -> None:
        """The last call in a forked child."""
        program, environment = self.programs[env["SUPERVISOR_PROCESS_NAME"]], {**env, **self.environment}
        if program.entry is not None:
            _become(program.entry, shlex.join(program.command), environment)
        if program.keep_fd is not None:
            os.set_inheritable(program.keep_fd, True)
        super().execve(filename, argv, environment)

    def waitpid(self) -> tuple[int | None, int | None]:
        pid, status = super().waitpid()
        if pid:
            self.statuses[pid] = status
        return pid, status

    def get_signal(self) -> int | None:
        self.last_signal = super().get_signal()
        return self.last_signal


def _become(entry: Callable[[Mapping[str, str]], object], title: str, environment: Mapping[str, str]) -> NoReturn:
    """Makes this forked process another program, as an exec would, but with what is loaded already."""
    status = 1
    try:
        for number in (*_HANDLED, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
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


class _Supervisor(Supervisor):
    """supervisord's loop, with our words and our look at the service in it."""

    def __init__(self, options: _Options, on_look: Callable[[], None]) -> None:
        super().__init__(options)
        self.on_look = on_look
        self.failure: StartError | None = None

    def runforever(self) -> None:
        events.subscribe(events.ProcessStateExitedEvent, self._say_died)
        events.subscribe(events.ProcessStateBackoffEvent, self._say_died_young)
        events.subscribe(events.SupervisorStoppingEvent, lambda _: log.info("stopping"))
        super().runforever()

    def tick(self, now: float | None = None) -> None:
        super().tick(now)
        if self.stopping:
            return
        try:
            self.on_look()
        except StartError as error:
            self.failure = error
            self.options.mood = SupervisorStates.SHUTDOWN

    def handle_signal(self) -> None:
        super().handle_signal()
        if self.stopping and self.options.last_signal == signal.SIGINT:
            for group in self.process_groups.values():
                for process in group.processes.values():
                    if process.state == ProcessStates.STOPPING:
                        log.warning("killing %s, which has not stopped yet", process.config.name)
                        process.delay = 0  # the time of its SIGKILL

    def _say_died(self, event: events.ProcessStateEvent) -> None:
        log.warning("%s died (%s), starting it again", event.process.config.name, self._reason(event.process))

    def _say_died_young(self, event: events.ProcessStateEvent) -> None:
        process = event.process
        # supervisord waits one second longer each time, without end.
        wait = min(FIRST_WAIT_SECONDS * 2.0 ** (process.backoff - 1), LONGEST_WAIT_SECONDS)
        process.delay = time.time() + wait
        log.warning(
            "%s died right after its start (%s), starting it again in %.1f s",
            process.config.name,
            self._reason(process),
            wait,
        )

    def _reason(self, process: Any) -> str:
        """Why a process ended: the signal or exit status, and what it said itself."""
        status = self.options.statuses.pop(process.pid, None)
        if status is None:
            return str(process.spawnerr)  # it did not even start
        code = os.waitstatus_to_exitcode(status)
        reason = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        last_words = self.options.programs[process.config.name].last_words
        said = last_words() if last_words is not None and code > 0 else ""
        return f"{reason}: {said}" if said else reason
