"""A process for steps, forked by the worker's child. What it does can't harm anything but itself.

It leads a session of its own, dies with the child, and adopts what its own children leave behind, so that all it has
started can be found. Templates are rendered here too: one that takes for ever is ended as the step is.

It runs a step, and then others of the same execution for as long as they do well and leave nothing behind. A program
takes its place.
"""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import inspect
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

from trigger.config.model import MISSING, HttpAction, PythonAction, RunAction, Step
from trigger.errors import UnexpectedStatus, WorkflowError
from trigger.lifeline import die_with
from trigger.templates import TemplateError, as_text, render
from trigger.worker import outcome, processes, step_report
from trigger.worker.capture import Capture
from trigger.worker.step_context import Subject
from trigger.worker.step_report import Failure, Report
from trigger.worker.step_traces import Before
from trigger.workflows import context

# What a program finds of the service's own environment.
KEPT = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR")


_OURS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGCHLD, signal.SIGALRM)


@dataclass(frozen=True, slots=True)
class Ends:
    """The ends of pipes that the process writes to, and others that it has no business with."""

    out: int
    err: int
    frames: int
    foreign: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at a step. `number` counts from 1; `seconds` is how long it may take; `folder` is the config's;
    `environ` is the service's environment, of which programs get what KEPT names."""

    step: Step
    number: int
    seconds: float
    subject: Subject
    folder: Path
    environ: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Order:
    """What a process that stands by has to be told of an attempt; the rest it has inherited. `done` are the ends of
    steps that it does not know yet."""

    step: str
    number: int
    seconds: float
    done: Mapping[str, Any] = field(repr=False)
    error: Mapping[str, Any] | None = field(repr=False)

    def encode(self) -> bytes:
        text = json.dumps([self.step, self.number, self.seconds, self.done, self.error]).encode()
        return len(text).to_bytes(4) + text

    @classmethod
    def read(cls, pipe: int) -> Order:
        """The next order; leaves the process when there will be none."""
        size = int.from_bytes(_exactly(pipe, 4))
        return cls(*json.loads(_exactly(pipe, size)))


class StepProcess:
    """What the forked process does. `find` gives the callable of a reference; `capture` is the child's; `steps` are
    all of the workflow's, by name.

    It begins with `attempt`; or it `waits` to be told of one, and this is what all have in common.
    """

    def __init__(
        self,
        attempt: Attempt,
        find: Callable[[str], Callable[..., Any]],
        capture: Capture,
        steps: Mapping[str, Step],
        *,
        waits: bool,
    ) -> None:
        self._attempt = attempt
        self._steps = steps
        self._find = find
        self._capture = capture
        self._waits = waits
        self._pid = 0

    def main(self, parent: int, ends: Ends, orders: int) -> NoReturn:
        """Runs attempts, reports how each ended, and leaves without running what the child registered for its exit."""
        status = 1
        try:
            self._pid = os.getpid()
            descriptors = self._settle(parent, ends)
            if self._waits:
                self._await(orders)
            before = None if isinstance(self._attempt.step.action, RunAction) else Before(descriptors)
            while self._perform(before):
                self._await(orders)
            status = 0
        except SystemExit:  # told to stop while it was not at the step itself
            status = 128 + signal.SIGTERM
        finally:
            os._exit(status)

    def _await(self, orders: int) -> None:
        """Waits for the next attempt; leaves the process when there will be none."""
        order = Order.read(orders)
        subject = self._attempt.subject
        subject = replace(subject, done={**subject.done, **order.done}, error=order.error)
        step = self._steps[order.step]
        self._attempt = replace(self._attempt, step=step, number=order.number, seconds=order.seconds, subject=subject)

    def _perform(self, before: Before | None) -> bool:
        """Runs an attempt and reports; True when the process is to be told of another one."""
        # What a step does to context variables, as decimal's precision is one, ends with it.
        report = contextvars.copy_context().run(self._report)
        self._capture.flush()
        if os.getpid() != self._pid:  # a fork of the step's that came back here: it is not the step
            os._exit(0)
        ready = report.failure is None and before is not None and before.is_restored()
        return self._capture.report(step_report.encode(report), ready=ready)

    def _settle(self, parent: int, ends: Ends) -> tuple[int, ...]:
        """Makes the process one of its own; returns the descriptors of its output."""
        os.setsid()
        signal.set_wakeup_fd(-1)
        for signum in _OURS:
            signal.signal(signum, signal.SIG_DFL)
        die_with(parent)
        processes.adopt_orphans()
        for descriptor in ends.foreign:
            os.close(descriptor)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        descriptors = self._capture.divert(ends.out, ends.err, ends.frames)
        signal.signal(signal.SIGTERM, _stop)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        return 0, *descriptors

    def _report(self) -> Report:
        """Runs the step to its report; whatever it raises is part of that."""
        step, subject = self._attempt.step, self._attempt.subject
        names = subject.context(step.env)
        try:
            if step.when is not None and not render(step.when, names):
                return Report(skipped=True)
            match step.action:
                case PythonAction():
                    return step_report.done(self._call(step.action, names))
                case HttpAction():
                    return step_report.done(self._request(step.action, names))
                case RunAction():
                    self._become(step.action, names)
        except TemplateError as error:
            return Report(failure=Failure("TemplateError", f"{error}", kinds=("TemplateError",), again=False))
        except UnexpectedStatus as error:
            kinds = (*step_report.as_kinds(type(error)), str(error.status))
            return Report(failure=Failure("UnexpectedStatus", f"{error}", kinds=kinds))
        except WorkflowError as error:
            name = type(error).__name__
            return Report(failure=Failure(name, f"{error}", kinds=step_report.as_kinds(type(error))))
        except BaseException as error:  # noqa: BLE001
            # The operator's code may raise anything, SystemExit too: it ends this attempt.
            kind, message, trace = outcome.described(error)
            return Report(failure=Failure(kind, message, trace, step_report.as_kinds(type(error))))

    def _note(self, given: Any) -> None:
        """Says what the step is given, before it begins: so it is known however it ends."""
        self._capture.note(step_report.note(given))

    def _call(self, action: PythonAction, names: Mapping[str, Any]) -> Any:
        attempt, subject = self._attempt, self._attempt.subject
        called = self._find(action.python)
        current = context.CurrentExecution(
            subject.uid, subject.module, subject.method, attempt.number, attempt.step.name, subject.request_id
        )
        with context.entered(current):
            if action.arguments is None:
                result = called(json.loads(json.dumps(subject.input)))  # its own: the next step's stays as it is
            else:
                arguments = render(action.arguments, names)
                self._note(arguments)
                result = called(**arguments)
            if inspect.iscoroutine(result):
                result = asyncio.run(result)
            for thread in threading.enumerate():  # as Python itself does at its end
                if thread is not threading.current_thread() and not thread.daemon:
                    thread.join()
        return result

    def _request(self, action: HttpAction, names: Mapping[str, Any]) -> Any:
        from trigger.workflows.http_action import send  # its client is large; only these steps need it

        rendered = dataclasses.replace(
            action,
            url=as_text(render(action.url, names)),
            **{key: render(getattr(action, key), names) for key in ("headers", "query", "json", "form", "body")},
        )
        # Not the headers: they are where credentials are.
        sent = {key: getattr(rendered, key) for key in ("query", "json", "form", "body")}
        self._note(
            {"method": action.method, "url": rendered.url}
            | {key: value for key, value in sent.items() if value is not MISSING and value != {}}
        )
        # It ends by itself a moment before it would be told to: then it can say what it has waited for.
        return send(rendered, max(0.05, self._attempt.seconds - 0.1))

    def _become(self, action: RunAction, names: Mapping[str, Any]) -> NoReturn:
        """Turns this process into the program. It gets the input on stdin, whole, as a file that nobody writes to."""
        attempt, subject, folder = self._attempt, self._attempt.subject, self._attempt.folder
        program, *arguments = action.argv
        argv = [program, *(as_text(render(argument, names)) for argument in arguments)]
        self._note(argv)
        variables = {name: attempt.environ[name] for name in KEPT if name in attempt.environ}
        variables |= names["env"]
        variables |= {
            "TRIGGER_UID": subject.uid,
            "TRIGGER_REQUEST_ID": subject.request_id,
            "TRIGGER_MODULE": subject.module,
            "TRIGGER_METHOD": subject.method,
            "TRIGGER_STEP": attempt.step.name,
            "TRIGGER_ATTEMPT": str(attempt.number),
        }
        given = os.memfd_create("input")
        _write(given, json.dumps(subject.input).encode())
        os.lseek(given, 0, os.SEEK_SET)
        os.dup2(given, 0)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # which Python ignores, and programs do not expect ignored
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        try:
            os.chdir(folder / action.cwd if action.cwd else folder)
            os.execvpe(str(folder / program) if "/" in program else program, argv, variables)
        except (OSError, ValueError) as error:  # a name with a NUL in it is a ValueError
            why = error.strerror if isinstance(error, OSError) else str(error)
            raise WorkflowError(f"the program {program!r} can't be started: {why}") from error


def _stop(signum: int, frame: object) -> NoReturn:
    """What SIGTERM does to a step in Python: it may clean up. Not an Exception, so nobody swallows it by accident."""
    sys.exit(128 + signum)


def _exactly(pipe: int, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = os.read(pipe, size - len(data))
        if not piece:
            os._exit(0)
        data += piece
    return data


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
