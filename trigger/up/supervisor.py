"""A few programs as one service, which starts, heals and stops in order.

supervisord does the work, inside this process and without its HTTP server: it starts the programs, restarts those that
die and stops them by priority. What we add: it looks more often, no program outlives us, programs write to our own
output, restarts wait at most 10 seconds, SIGHUP is a request that the caller answers, programs come and go while the
others run, and the log says all this in our words. A program that is Python of ours runs in a fork of this process: it
starts at once, and what both have loaded takes memory once.
"""

from __future__ import annotations

import copy
import fcntl
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
from typing import Any, NoReturn

from setproctitle import getproctitle, setproctitle
from supervisor import events, loggers, poller
from supervisor.datatypes import RestartUnconditionally
from supervisor.medusa.asyncore_25 import ExitNow
from supervisor.options import ServerOptions
from supervisor.states import STOPPED_STATES, ProcessStates, SupervisorStates
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

# Of a program's `autorestart`, as supervisord has it.
NEVER = False

# What supervisord handles (supervisor.options.ServerOptions.setsignals), beside its children's end.
_HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR2)


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

    def __init__(self, options: _Options) -> None:
        self._options = options
        self._groups: Mapping[str, Any] = {}  # supervisord's, by name
        self._retired: set[str] = set()
        self.forks = True  # False: programs with an `entry` are started as commands too, which loads their code anew

    def __contains__(self, name: str) -> bool:
        return name in self._options.programs

    def add(self, program: Program, *, on_trial: bool = False) -> None:
        """Start one more program. Another one of its rank must be there.

        One that is on trial, until `trust`, is not started again when it dies.
        """
        group = self._groups[_group(program.rank)]
        config = copy.copy(next(iter(group.processes.values())).config)
        config.name, config.command, config.stopwaitsecs = program.name, _shown(program), program.stop_seconds
        config.autorestart = NEVER if on_trial else RestartUnconditionally
        self._options.programs[program.name] = program
        group.processes[program.name] = config.make_process(group)

    def trust(self, name: str) -> None:
        """Start this program again from now on when it dies."""
        self._process(name).config.autorestart = RestartUnconditionally

    def has_died(self, name: str) -> bool:
        """Return whether a program was started and is gone."""
        return self._process(name).state in (ProcessStates.BACKOFF, ProcessStates.EXITED, ProcessStates.FATAL)

    def retire(self, name: str) -> None:
        """Tell a program to stop, and forget it when it is gone."""
        process = self._process(name)
        process.config.autorestart = NEVER  # also where it has just died
        if process.state in (ProcessStates.STARTING, ProcessStates.RUNNING, ProcessStates.BACKOFF):
            process.stop()
        self._retired.add(name)

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a program, if it runs."""
        process = self._process(name)
        if process.state in (ProcessStates.STARTING, ProcessStates.RUNNING):
            process.signal(number)

    def give_time(self, name: str, stop_seconds: int) -> None:
        """Let a program have `stop_seconds` from SIGTERM to SIGKILL."""
        self._process(name).config.stopwaitsecs = stop_seconds

    def serve(self, groups: Mapping[str, Any]) -> None:
        """Stand for these groups of supervisord."""
        self._groups = groups

    def forget_retired(self) -> None:
        """Forget the retired programs that are gone."""
        for name in list(self._retired):
            if self._process(name).state in STOPPED_STATES:
                self._retired.discard(name)
                program = self._options.programs.pop(name)
                del self._groups[_group(program.rank)].processes[name]

    def _process(self, name: str) -> Any:
        return self._groups[_group(self._options.programs[name].rank)].processes[name]


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
    options = _Options({program.name: program for program in programs}, dict(environment or {}), on_hangup)
    options.configfile = io.StringIO(_supervisord_config(programs))
    options.realize(["--nodaemon"])
    for group in options.process_group_configs:
        for process in group.process_configs:
            process.command = _shown(options.programs[process.name])
    options.first = True
    options.test = False
    supervisor = _Supervisor(options, on_look, on_stopping)
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


def _group(rank: int) -> str:
    return f"rank-{rank}"


def _shown(program: Program) -> str:
    return shlex.join(program.command)


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
        sections[f"group:{_group(rank)}"] = {"programs": names, "priority": rank}
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

    def __init__(
        self, programs: dict[str, Program], environment: Mapping[str, str], on_hangup: Callable[[], None]
    ) -> None:
        super().__init__()
        self.programs = programs
        self.environment = environment
        self.on_hangup = on_hangup
        self.fleet = Fleet(self)
        self.poller = _Poller(self)
        self.pid = os.getpid()
        self.statuses: dict[int, int] = {}  # by process id, of those that ended
        self.last_signal: int | None = None

    def make_logger(self) -> None:
        self.logger = loggers.Logger(loggers.LevelsByName.ERRO, [_LogHandler()])

    def usage(self, msg: object) -> NoReturn:
        raise StartError(f"supervisord: {msg}")

    def write_pidfile(self) -> None:
        """None: a file can be stale. Who looks for the service finds the lock of its data folder."""

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
        program = self.programs[env["SUPERVISOR_PROCESS_NAME"]]
        environment = {**env, **self.environment, **program.environment(os.getpid())}
        if program.entry is not None and self.fleet.forks:
            _become(program.entry, _shown(program), environment)
        if program.keep_fd is not None:
            os.set_inheritable(program.keep_fd, True)
        # Out of the way of the numbers they are about to get.
        handed = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3 + len(program.handed)) for fd in program.handed]
        for number, fd in enumerate(handed, 3):
            os.dup2(fd, number)
        super().execve(filename, argv, environment)

    def waitpid(self) -> tuple[int | None, int | None]:
        pid, status = super().waitpid()
        if pid:
            self.statuses[pid] = status
        return pid, status

    def get_signal(self) -> int | None:
        self.last_signal = super().get_signal()
        if self.last_signal == signal.SIGHUP:  # by which supervisord would stop everything
            self.on_hangup()
            return None
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

    def __init__(self, options: _Options, on_look: Callable[[Fleet], None], on_stopping: Callable[[], None]) -> None:
        super().__init__(options)
        self.on_look = on_look
        self.on_stopping = on_stopping
        self.fleet = options.fleet
        self.failure: StartError | None = None

    def runforever(self) -> None:
        events.subscribe(events.ProcessStateExitedEvent, self._say_died)
        events.subscribe(events.ProcessStateBackoffEvent, self._say_died_young)
        events.subscribe(events.SupervisorStoppingEvent, self._begin_to_stop)
        self.fleet.serve(self.process_groups)
        super().runforever()

    def tick(self, now: float | None = None) -> None:
        super().tick(now)
        if self.stopping:
            return
        self.fleet.forget_retired()
        try:
            self.on_look(self.fleet)
        except StartError as error:
            self.failure = error
            self.options.mood = SupervisorStates.SHUTDOWN

    def _begin_to_stop(self, event: object) -> None:
        log.info("stopping")
        self.on_stopping()

    def handle_signal(self) -> None:
        super().handle_signal()
        if self.stopping and self.options.last_signal == signal.SIGINT:
            for group in self.process_groups.values():
                for process in group.processes.values():
                    if process.state == ProcessStates.STOPPING:
                        log.warning("killing %s, which has not stopped yet", process.config.name)
                        process.delay = 0  # the time of its SIGKILL

    def _say_died(self, event: events.ProcessStateEvent) -> None:
        process = event.process
        then = "" if process.config.autorestart is NEVER else ", starting it again"
        log.warning("%s died (%s)%s", process.config.name, self._reason(process), then)

    def _say_died_young(self, event: events.ProcessStateEvent) -> None:
        process = event.process
        if process.config.autorestart is NEVER:
            log.warning("%s died right after its start (%s)", process.config.name, self._reason(process))
            return
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
