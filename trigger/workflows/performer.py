"""The process that runs foreign code: plain functions, and the steps of workflows. It owns its end of a socket pair.

It leads a session of its own. The worker tells it what to run; it sends back what that wrote and how it ended. It runs
one piece of work after the other, of any execution, as long as each leaves the process as it was; a program takes the
process's place. Templates are rendered here too, so one that takes forever is ended as the step is.
"""

from __future__ import annotations

import asyncio
import base64
import contextvars
import dataclasses
import errno
import inspect
import json
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from trigger import templates
from trigger.config.model import CALLBACK, CallbackAction, Config, HttpAction, PythonAction, RunAction, Step
from trigger.config.programs import broken_script, on_path
from trigger.errors import ArgumentError, UnexpectedStatus, WorkflowError
from trigger.fields.model import MISSING
from trigger.lifeline import die_with
from trigger.store import outcome
from trigger.templates import TemplateError, render
from trigger.workflows import context, importing, processes, report
from trigger.workflows.arguments import arguments, check_sizes
from trigger.workflows.channel import (
    ALONE,
    CLEAN,
    CROWDED,
    GIVEN,
    LAST,
    MAX_TEXT,
    REPORT,
    SPOILT,
    WARM,
    next_order,
    say,
    write_all,
)
from trigger.workflows.output import Capture
from trigger.workflows.report import Failure, Report
from trigger.workflows.subject import Subject
from trigger.workflows.traces import Before

logger = logging.getLogger("trigger.worker")

# What a program finds of the service's own environment.
KEPT = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR")

_DEFAULT = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGCHLD,
    signal.SIGALRM,
)


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One attempt at a step. `number` counts from 1; `seconds` is how long it may take."""

    step: Step
    number: int
    seconds: float
    subject: Subject = field(repr=False)
    body: str | None = field(default=None, repr=False)  # in base64, of a program that is to get it
    letter: Mapping[str, Any] | None = field(default=None, repr=False)  # of one that calls back


class Performer:
    """The work of the forked process.

    Arguments: `config`, in force for its whole life; `environ`, the service's environment, of which programs get what
    KEPT names; `sock`, its end of the socket pair; `out` and `err`, what is to be its stdout and stderr. A `warm`
    process imports all that the config names before it waits for work.
    """

    def __init__(
        self, config: Config, environ: Mapping[str, str], sock: socket.socket, out: int, err: int, *, warm: bool
    ) -> None:
        self._config = config
        self._folder = config.path.resolve().parent
        self._environ = environ
        self._sock = sock
        self._output = Capture(sock.fileno(), out, err)
        self._warm = warm
        self._pid = 0
        self._running = False  # it may be told to end
        self._run = ""  # the id of the run that `_subject` is of
        self._subject = Subject("", "", "", "", 0, None, {})
        self._steps: dict[str, Step] = {}
        self._callables: dict[str, Callable[..., Any]] = {}
        self._prepared: set[str] = set()  # the workflows whose templates are compiled

    def main(self, guardian: int) -> NoReturn:
        """Runs what it is told, and leaves without running what the worker registered for its exit."""
        status = 1
        try:
            self._settle(guardian)
            if self._warm:
                self._import_all()
                say(self._sock.fileno(), WARM)
            order = next_order(self._sock)
            if order is not None:
                self._begin_first(order)
            status = 0
        except SystemExit:  # told to end while it was not at the work itself
            status = 128 + signal.SIGTERM
        except OSError:  # the socket is gone: closed by the work, or by the worker
            pass
        finally:
            os._exit(status)

    def _settle(self, guardian: int) -> None:
        os.setsid()
        self._pid = os.getpid()
        for signum in _DEFAULT:
            signal.signal(signum, signal.SIG_DFL)
        die_with(guardian)
        processes.adopt_orphans()  # or a daemon would not be noticed
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        sys.path.insert(0, str(self._folder))
        sys.meta_path.insert(0, importing.KeptCode(importing.modules_of(self._config.code)))
        signal.signal(signal.SIGTERM, self._stop)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def _stop(self, signum: int, frame: object) -> None:
        """Handle SIGTERM: the work may clean up. Not an Exception, so nobody swallows it by accident."""
        if self._running:
            sys.exit(128 + signum)

    def _import_all(self) -> None:
        for workflow in self._config.workflows.values():
            for reference in workflow.references:
                try:
                    self._find(reference)
                except WorkflowError as error:
                    # Its executions will fail saying so; the others are not to suffer.
                    logger.warning("workflow %s: %s", workflow.name, error)

    def _find(self, reference: str) -> Callable[..., Any]:
        found = self._callables.get(reference)
        if found is None:
            found = self._callables[reference] = importing.find(reference)
        return found

    def _begin_first(self, order: dict[str, Any]) -> None:
        """Runs the first order and all that follow. What imports leave behind is not held against the work."""
        attempt = self._attempt(order)
        if isinstance(attempt.step.action, PythonAction):
            try:
                self._find(attempt.step.action.python)
            except WorkflowError:
                pass  # the attempt fails with it
        self._output.divert()
        before = None if isinstance(attempt.step.action, RunAction) else Before((0, 1, 2, self._sock.fileno()))
        while True:
            succeeded = self._perform(attempt)
            # A step that has failed is tried again in another process; whatever is broken in this one may be why.
            is_good = succeeded or not attempt.step.name
            if before is None or not is_good or not before.is_restored():
                say(self._sock.fileno(), SPOILT)
                next_order(self._sock)  # there will be none: the worker ends this process
                return
            say(self._sock.fileno(), CLEAN)
            next_ = next_order(self._sock)
            if next_ is None:
                return
            attempt = self._attempt(next_)
            if isinstance(attempt.step.action, RunAction):
                before = None

    def _attempt(self, order: dict[str, Any]) -> _Attempt:
        """Read an order. All that is the same for the steps of a run is only sent once to each process."""
        if order["run"] != self._run:
            self._run = order["run"]
            self._subject = Subject(**order["subject"], done={})
            is_callback = order["workflow"] == CALLBACK.name
            workflow = CALLBACK if is_callback else self._config.workflows[order["workflow"]]
            self._steps = workflow.by_name
            if workflow.name not in self._prepared:
                self._prepared.add(workflow.name)
                for step in self._steps.values():
                    templates.prepare([step.when, step.env, dataclasses.asdict(step.action)])
        known = self._subject
        if order["done"] or order["error"]:
            self._subject = dataclasses.replace(known, done={**known.done, **order["done"]}, error=order["error"])
        given = order.get("body"), order.get("letter")
        return _Attempt(self._steps[order["step"]], order["number"], order["seconds"], self._subject, *given)

    def _perform(self, attempt: _Attempt) -> bool:
        """Runs an attempt and says how it ended; whether it has not failed."""
        # What the work does to context variables, as decimal's precision is one, ends with it.
        ended = contextvars.copy_context().run(self._report, attempt)
        told = report.encode(ended)
        self._output.flush()
        if os.getpid() != self._pid:  # a fork of the work's that came back here: it is not the work
            os._exit(0)
        sock = self._sock.fileno()
        rest = len(told) % MAX_TEXT
        if len(told) > rest:
            say(sock, REPORT, told[: len(told) - rest])
        say(sock, LAST, told[len(told) - rest :], CROWDED if processes.has_children() else ALONE)
        return ended.failure is None

    def _report(self, attempt: _Attempt) -> Report:
        """Runs the step to its report; whatever it raises is part of that."""
        step, subject = attempt.step, attempt.subject
        try:
            self._running = True
            names = subject.context(step.env)
            if step.when is not None and not render(step.when, names):
                return Report(skipped=True)
            match step.action:
                case PythonAction():
                    return report.done(self._call(attempt, step.action, names))
                case HttpAction():
                    return report.done(self._request(attempt, step.action, names))
                case CallbackAction():
                    return report.done(self._deliver(attempt))
                case RunAction():
                    self._become(attempt, step.action, names)
        except (TemplateError, ArgumentError) as error:
            name = type(error).__name__
            return Report(failure=Failure(name, f"{error}", kinds=(name,), again=False))
        except UnexpectedStatus as error:
            kinds = (*report.as_kinds(type(error)), str(error.status))
            return Report(failure=Failure("UnexpectedStatus", f"{error}", kinds=kinds))
        except WorkflowError as error:
            name = type(error).__name__
            return Report(failure=Failure(name, f"{error}", kinds=report.as_kinds(type(error))))
        except BaseException as error:  # noqa: BLE001
            # The operator's code may raise anything, SystemExit too: it ends this attempt.
            kind, message, trace = outcome.described(error)
            return Report(failure=Failure(kind, message, trace, report.as_kinds(type(error))))
        finally:
            self._running = False

    def _note(self, given: Any) -> None:
        """Says what the step is given, before it begins: so it is known however it ends."""
        say(self._sock.fileno(), GIVEN, report.note(given))

    def _call(self, attempt: _Attempt, action: PythonAction, names: Mapping[str, Any]) -> Any:
        subject = attempt.subject
        called = self._find(action.python)
        current = context.CurrentExecution(
            uid=subject.uid,
            module=subject.module,
            method=subject.method,
            attempt=attempt.number,
            step=attempt.step.name,
            request_id=subject.request_id,
            headers=subject.headers,
            caller=subject.caller,
        )
        with context.entered(current):
            if action.arguments is None:
                # A step has its own: the next one's stays as it is.
                result = called(json.loads(json.dumps(subject.input)) if attempt.step.name else subject.input)
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

    def _request(self, attempt: _Attempt, action: HttpAction, names: Mapping[str, Any]) -> Any:
        # Its client is large; only these steps need it.
        from trigger.workflows.http_action import send
        from trigger.workflows.http_url import HIDDEN, shown, url_of

        rendered = dataclasses.replace(
            action,
            url=url_of(action.url, names, attempt.step.fixed),
            **{key: render(getattr(action, key), names) for key in ("headers", "query", "json", "form", "body")},
        )
        # Headers, query and what else may hold credentials is not told.
        sent = {key: getattr(rendered, key) for key in ("json", "form", "body")}
        sent["query"] = dict.fromkeys(rendered.query, HIDDEN)
        self._note(
            {"method": action.method, "url": shown(rendered.url)}
            | {key: value for key, value in sent.items() if value is not MISSING and value != {}}
        )
        # It ends by itself a moment before it would be told to: then it can say what it has waited for.
        return send(rendered, max(0.05, attempt.seconds - 0.1))

    def _deliver(self, attempt: _Attempt) -> Any:
        from trigger.workflows.delivery import deliver

        return deliver(attempt.letter or {}, max(0.05, attempt.seconds - 0.1))

    def _become(self, attempt: _Attempt, action: RunAction, names: Mapping[str, Any]) -> NoReturn:
        """Turns this process into the program. It gets the input, or the request's body, on stdin, whole, as a file
        that nobody writes to."""
        subject, folder = attempt.subject, self._folder
        argv = arguments(action.argv, names, attempt.step.fixed)
        program = argv[0]
        self._note(argv)
        variables = {name: self._environ[name] for name in KEPT if name in self._environ}
        variables |= names["env"]
        variables |= {
            "TRIGGER_UID": subject.uid,
            "TRIGGER_REQUEST_ID": subject.request_id,
            "TRIGGER_MODULE": subject.module,
            "TRIGGER_METHOD": subject.method,
            "TRIGGER_STEP": attempt.step.name,
            "TRIGGER_ATTEMPT": str(attempt.number),
        }
        check_sizes(argv, variables)
        given = os.memfd_create("input")
        write_all(given, _stdin(attempt, action))
        os.lseek(given, 0, os.SEEK_SET)
        os.dup2(given, 0)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # which Python ignores, and programs do not expect ignored
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        processes.adopt_orphans(False)  # programs do not expect what is not theirs
        try:
            os.chdir(folder / action.cwd if action.cwd else folder)
            os.execvpe(str(folder / program) if "/" in program else program, argv, variables)
        except OSError as error:
            if error.errno == errno.E2BIG:
                raise ArgumentError(
                    "the arguments and variables are together larger than the system takes: "
                    "let the program read the input, which is on its stdin"
                ) from None
            path = folder / program if "/" in program else on_path(program, variables.get("PATH", os.defpath))
            why = (path and broken_script(path)) or error.strerror
            raise WorkflowError(f"the program {program!r} can't be started: {why}") from error


def _stdin(attempt: _Attempt, action: RunAction) -> bytes:
    if action.stdin == "input":
        return json.dumps(attempt.subject.input).encode()
    if attempt.body is None:
        raise ArgumentError("the request's body is not there: this was accepted before a step had `stdin: body`")
    return base64.b64decode(attempt.body)
