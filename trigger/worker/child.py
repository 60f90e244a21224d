"""The child of a worker: it takes one execution after the other and runs their workflows.

Nothing here can lose an execution. Waiting for work moves the last entry of the queue onto itself, which changes
nothing and may be broken off at any moment; taking an entry is one atomic step, and so is recording its end. Whatever
kills the child in between, the worker (or, if that is gone too, another worker's reaper) frees the execution.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC
from typing import Any, NoReturn

from redis import Redis
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError
from rq.serializers import JSONSerializer
from rq.timeouts import JobTimeoutException, UnixSignalDeathPenalty

from trigger import templates
from trigger.config.model import Config, Workflow
from trigger.errors import WorkflowError
from trigger.executions import tracing
from trigger.inputs import secret_values
from trigger.lifeline import die_with
from trigger.worker import events, outcome, scripts
from trigger.worker.capture import Capture
from trigger.worker.exchange import Ended, Exchange, Reply, Taken
from trigger.worker.job import Job
from trigger.worker.orders import SIGNAL, Orders
from trigger.worker.outcome import RELEASED, Outcome
from trigger.worker.runner import Run, Runner, Tools
from trigger.workflows import context, importing

logger = logging.getLogger("trigger.worker")

# How long one wait for work lasts, and the pause after Redis could not be reached, in seconds.
WAIT = 3
PAUSE = 0.25

# The exit status of a child that has ended a workflow by force: what it has started is to end too.
SPOILT = 3


class _Interrupted(BaseException):
    """The child was told to stop while it waited. Not an Exception: nobody may swallow it."""


class _Cancelled(BaseException):
    """The running workflow is to end. Not an Exception: what a workflow catches by accident must not swallow it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """When a child makes room for a fresh one: after so many executions, or above so many bytes of memory."""

    executions: int = 10_000
    memory: int = 512 * 1024 * 1024


class Child:
    """Takes and runs executions until it is told to stop.

    Arguments: `worker`, the name of the worker it works for; `queue`; `config`, in force for its whole life; `connect`,
    which gives it a Redis client of its own; `lease`, how long an execution is its own without a beat, in seconds;
    `orders`, what the worker wants of it; `capture`, where output goes; `environ`, of the service.
    """

    def __init__(
        self,
        worker: str,
        queue: str,
        config: Config,
        connect: Callable[[], Redis],
        *,
        lease: float,
        limits: Limits,
        orders: Orders,
        capture: Capture,
        environ: Mapping[str, str],
    ) -> None:
        self._worker = worker
        self._queue = queue
        self._key = f"rq:queue:{queue}"
        self._config = config
        self._redis = connect()
        self._blank = Job("blank", connection=self._redis, serializer=JSONSerializer)
        self._exchange = Exchange(self._redis, queue, worker, lease=lease)
        self._taken: Taken | None = None  # what was taken when the one before was ended
        self._limits = limits
        self._orders = orders
        self._capture = capture
        self._tools = Tools(
            self._redis, config, capture, self._callable, environ, orders.cancels, lambda: self._stopping
        )
        self._cancellable: str | None = None  # the run whose workflow may be broken off at any moment
        self._prepared: set[str] = set()  # the workflows whose templates are compiled
        self._spoilt = False
        self._release = self._redis.register_script(scripts.RELEASE)
        self._stopping = False
        self._waiting = False
        self._in_touch = True  # the last call of Redis had a reply
        self._done = 0
        self._callables: dict[str, Callable[[Any], Any]] = {}

    def main(self, parent: int) -> NoReturn:
        """Runs in the forked process, and leaves it without running what the parent registered for its exit."""
        status = 1
        try:
            self._settle(parent)
            self._run()
            status = SPOILT if self._spoilt else 0
        except _Interrupted:
            status = 0
        except Exception:
            logger.exception("the worker's child failed and will be replaced")
        finally:
            logging.shutdown()
            sys.stdout.flush()
            os._exit(status)

    def _settle(self, parent: int) -> None:
        """Makes the process a child in good standing: its own group, its own signals, dead when the worker is."""
        os.setpgrp()
        die_with(parent)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(SIGNAL, self._obey)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, signal.SIGINT))  # which our parent had blocked
        sys.path.insert(0, str(self._config.path.resolve().parent))
        for workflow in self._config.workflows.values():
            for reference in workflow.references:
                try:
                    self._callable(reference)
                except WorkflowError as error:
                    # Its executions will fail saying so; the others are not to suffer.
                    logger.warning("workflow %s: %s", workflow.name, error)
        self._capture.install()

    def _stop(self, signum: int, frame: object) -> None:
        self._stopping = True
        if self._waiting:
            raise _Interrupted

    def _obey(self, signum: int, frame: object) -> None:
        if self._cancellable is not None and self._orders.cancels(self._cancellable):
            self._cancellable = None
            raise _Cancelled

    @contextlib.contextmanager
    def _may_be_cancelled(self, execution: str) -> Iterator[None]:
        """For the block, the worker's order breaks off what runs."""
        try:
            self._cancellable = execution
            if self._orders.cancels(execution):  # it was told before
                raise _Cancelled
            yield
        finally:
            self._cancellable = None

    def _run(self) -> None:
        while self._taken or self._goes_on():
            try:
                taken = self._take_one()
                if taken is None:
                    self._wait()
                self._in_touch = True
            except RedisError as error:
                if self._in_touch:
                    logger.warning("Redis can't be asked for work: %s; trying again until it can", error)
                self._in_touch = False
                self._sleep(PAUSE)
                continue
            if taken is not None:
                self._execute(taken)

    def _goes_on(self) -> bool:
        """Whether this process is to take another execution."""
        limits = self._limits
        return not (self._stopping or self._spoilt) and self._done < limits.executions and _memory() < limits.memory

    def _take_one(self) -> Taken | None:
        """Takes the next execution, if that has not been done when the one before ended; None when nothing waits."""
        if self._taken is None:
            self._note(self._exchange())
        taken, self._taken = self._taken, None
        return taken

    def _note(self, reply: Reply) -> None:
        """Keeps what was taken, and says what was put aside."""
        self._taken = reply.taken
        events.put_aside(reply.poisoned)
        if reply.suspended:
            self._sleep(1)

    def _wait(self) -> None:
        """Blocks until the queue holds something: its last entry is moved onto itself, which changes nothing."""
        self._interruptible(lambda: self._redis.blmove(self._key, self._key, WAIT, "RIGHT", "RIGHT"))

    def _sleep(self, seconds: float) -> None:
        self._interruptible(lambda: time.sleep(seconds))

    def _interruptible(self, call: Callable[[], object]) -> None:
        self._waiting = True
        try:
            if not self._stopping:
                call()
        except RedisTimeoutError:
            pass
        finally:
            self._waiting = False

    def _execute(self, taken: Taken) -> None:
        self._done += 1
        started, uid, execution = time.monotonic(), taken.uid, taken.execution
        job = self._blank.with_id(uid)
        try:
            job.restore(taken.fields)
        except WorkflowError as error:
            about = tracing.of_job(uid, taken.fields.get(b"meta"), taken.fields.get(b"description"))
            events.unreadable(about, f"{error}")
            self._end(Ended(uid, execution, outcome.failed("UnreadableJob", f"{error}"), poison=f"{error}"), about)
            return
        about = tracing.named(uid, job.request, job.module, job.method, job.workflow)
        result = self._perform_captured(job, execution, about)
        seconds = time.monotonic() - started
        if self._end(Ended(uid, execution, result, seconds), about):
            events.ended(about, job.attempt, seconds, result)
        else:
            events.taken_over(about)

    def _perform_captured(self, job: Job, execution: str, about: events.About) -> Outcome:
        """Runs the job's workflow to its outcome, all that it writes in its log."""
        workflow = self._config.workflows.get(job.workflow)
        if workflow is None:
            return outcome.failed("WorkflowError", f"The config names no workflow {job.workflow!r} (any more)")
        secrets = {*secret_values(job.input, job.secrets), *self._config.masked}
        if workflow.steps:
            return self._perform_steps(job, execution, workflow, frozenset(secrets), about)
        self._capture.begin(job.id, job.request, execution, job.attempt, secrets)
        result = self._perform(job, execution, workflow, secrets)
        while not self._capture.end():
            time.sleep(PAUSE)
        return result

    def _perform(self, job: Job, execution: str, workflow: Workflow, secrets: set[str]) -> Outcome:
        """Runs a Python workflow to its outcome; whatever it raises is part of that."""
        current = context.CurrentExecution(job.id, job.module, job.method, job.attempt, request_id=job.request)
        timeout = int(job.timeout or workflow.timeout)
        try:
            job.bound = self._callable(workflow.python or "")
            with (
                self._may_be_cancelled(execution),
                UnixSignalDeathPenalty(timeout, JobTimeoutException, job_id=job.id),
                context.entered(current),
            ):
                output = job.perform()
        except _Cancelled:
            signal.alarm(0)  # whatever it has been broken off in
            self._spoilt = True
            return outcome.cancelled()
        except JobTimeoutException as error:
            return outcome.tried_again(outcome.timed_out(error, timeout, secrets), workflow.retry, job.failures)
        except WorkflowError as error:
            return outcome.failed("WorkflowError", f"Workflow {workflow.name}: {error}", secrets=secrets)
        except BaseException as error:  # noqa: BLE001
            # The operator's code may raise anything, SystemExit too; it ends this execution and not the worker.
            return outcome.tried_again(outcome.raised(error, secrets), workflow.retry, job.failures)
        return outcome.succeeded(output, secrets)

    def _perform_steps(
        self, job: Job, execution: str, workflow: Workflow, secrets: frozenset[str], about: events.About
    ) -> Outcome:
        """Runs the job's steps, trying for as long as it takes to ask Redis for them."""
        if workflow.name not in self._prepared:
            self._prepared.add(workflow.name)
            for step in (*workflow.steps, *workflow.on_failure):
                templates.prepare([step.when, step.env, dataclasses.asdict(step.action)])
        run = Run(
            uid=job.id,
            request_id=job.request,
            execution=execution,
            module=job.module,
            method=job.method,
            attempt=job.attempt,
            failures=job.failures,
            timeout=int(job.timeout or workflow.timeout),
            input=job.input,
            secrets=secrets,
            now=_redis_clock(job),
            about=about,
        )
        while True:
            try:
                return Runner(self._tools, workflow, run).run()
            except RedisError as error:
                if self._in_touch:
                    logger.warning(
                        "the execution's steps can't be read: %s; trying until they are", error, extra={"fields": about}
                    )
                self._in_touch = False
                if self._stopping:
                    return Outcome(RELEASED)
                time.sleep(PAUSE)

    def _end(self, ended: Ended, about: events.About) -> bool:
        """Records the end, and takes the next execution with it; tries for as long as it takes.

        False when the execution was no longer this run's to end. A repeated call whose first reply was lost also
        answers False: then all is recorded already.
        """
        while True:
            try:
                if ended.result.status == RELEASED:
                    return self._hand_back(ended.uid, ended.execution)
                reply = self._exchange(ended, take=self._goes_on())
            except RedisError as error:
                if self._in_touch:
                    logger.warning(
                        "the execution's end can't be recorded: %s; trying until it is", error, extra={"fields": about}
                    )
                self._in_touch = False
                time.sleep(PAUSE)
            else:
                self._note(reply)
                return reply.ended

    def _hand_back(self, uid: str, execution: str) -> bool:
        """Puts the execution back in front of its queue; nothing has gone wrong with it."""
        keys = [Job.key_for(uid), f"rq:worker:{self._worker}:executions"]
        answer: bytes = self._release(keys=keys, args=[self._queue, uid, execution, "stop", 1, "", ""])
        return answer != b"lost"

    def _callable(self, reference: str) -> Callable[[Any], Any]:
        found = self._callables.get(reference)
        if found is None:
            found = self._callables[reference] = importing.find(reference)
        return found


def _redis_clock(job: Job) -> Callable[[], int]:
    """Redis' time in ms, from what it was when the job was taken: the times of its steps add up with the job's own."""
    taken = job.started_at
    began = taken.replace(tzinfo=UTC).timestamp() if taken is not None else time.time()
    offset = began - time.monotonic()
    return lambda: int((time.monotonic() + offset) * 1000)


def _memory() -> int:
    """The most memory this process has had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
