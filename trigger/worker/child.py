"""The child of a worker: it takes one execution after the other and runs their workflows.

Nothing here can lose an execution. Waiting for work moves the last entry of the queue onto itself, which changes
nothing and may be broken off at any moment; taking an entry is one atomic step, and so is recording its end. Whatever
kills the child in between, the worker (or, if that is gone too, another worker's reaper) frees the execution.
"""

from __future__ import annotations

import ctypes
import logging
import os
import resource
import signal
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from redis import Redis
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError
from rq.serializers import JSONSerializer
from rq.timeouts import JobTimeoutException, UnixSignalDeathPenalty

from trigger.config.model import Config, Workflow
from trigger.errors import WorkflowError
from trigger.inputs import secret_values
from trigger.worker import outcome, scripts
from trigger.worker.job import Job
from trigger.worker.outcome import Outcome
from trigger.workflows import context, importing

logger = logging.getLogger("trigger.worker")

# How long one wait for work lasts, and the pause after Redis could not be reached, in seconds.
WAIT = 3
PAUSE = 0.25

_PR_SET_PDEATHSIG = 1


class _Interrupted(BaseException):
    """The child was told to stop while it waited. Not an Exception: nobody may swallow it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """When a child makes room for a fresh one: after so many executions, or above so many bytes of memory."""

    executions: int = 10_000
    memory: int = 512 * 1024 * 1024


class Child:
    """Takes and runs executions until it is told to stop.

    Arguments: `worker`, the name of the worker it works for; `queue`; `config`, in force for its whole life; `connect`,
    which gives it a Redis client of its own; `lease`, how long an execution is its own without a beat, in seconds.
    """

    def __init__(
        self, worker: str, queue: str, config: Config, connect: Callable[[], Redis], *, lease: float, limits: Limits
    ) -> None:
        self._worker = worker
        self._queue = queue
        self._key = f"rq:queue:{queue}"
        self._config = config
        self._redis = connect()
        self._take = self._redis.register_script(scripts.TAKE)
        self._finish = self._redis.register_script(scripts.FINISH)
        self._lease = lease
        self._limits = limits
        self._stopping = False
        self._waiting = False
        self._in_touch = True  # the last call of Redis had a reply
        self._unanswered: str | None = None  # the id of a take that has had no reply
        self._callables: dict[str, Callable[[Any], Any]] = {}
        self._unreadable = outcome.failed("UnreadableJob", "The job in Redis can't be read")

    def main(self, parent: int) -> NoReturn:
        """Runs in the forked process, and leaves it without running what the parent registered for its exit."""
        status = 1
        try:
            self._settle(parent)
            self._run()
            status = 0
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
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before we asked to be told
            raise _Interrupted
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self._stop)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, signal.SIGINT))  # which our parent had blocked
        sys.path.insert(0, str(self._config.path.resolve().parent))
        for workflow in self._config.workflows.values():
            for reference in workflow.references:
                try:
                    self._callable(reference)
                except WorkflowError as error:
                    # Its executions will fail saying so; the others are not to suffer.
                    logger.warning("workflow %s: %s", workflow.name, error)

    def _stop(self, signum: int, frame: object) -> None:
        self._stopping = True
        if self._waiting:
            raise _Interrupted

    def _run(self) -> None:
        done = 0
        while not self._stopping and done < self._limits.executions and _memory() < self._limits.memory:
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
            if taken is None:
                continue
            self._execute(*taken)
            done += 1

    def _take_one(self) -> tuple[str, str, dict[bytes, bytes]] | None:
        """Takes the next execution: its uid, the id of this run of it, and the job's hash.

        A call whose reply was lost may have taken one: the next call has the same id, and gets that very execution.
        """
        repeated, execution = self._unanswered is not None, self._unanswered or uuid.uuid4().hex
        self._unanswered = execution
        reply = self._take(
            keys=[self._key],
            args=[
                self._queue,
                execution,
                self._worker,
                int(self._lease * 1000),
                self._unreadable.error,
                self._unreadable.exc_string,
                int(repeated),
            ],
        )
        self._unanswered = None
        if reply is None:
            return None
        if reply == b"suspended":
            self._sleep(1)
            return None
        uid, flat, poisoned = reply
        for entry in poisoned:
            logger.error("put aside as unreadable: %r", entry.decode("utf-8", "replace"))
        return (uid.decode(), execution, dict(zip(flat[::2], flat[1::2], strict=True))) if uid else None

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

    def _execute(self, uid: str, execution: str, fields: dict[bytes, bytes]) -> None:
        started = time.monotonic()
        job = Job(uid, connection=self._redis, serializer=JSONSerializer)
        try:
            job.restore(fields)
        except WorkflowError as error:
            logger.error("execution %s failed: %s", uid, error)  # noqa: TRY400  there is no more to tell
            self._end(uid, execution, outcome.failed("UnreadableJob", f"{error}"), poison=f"{error}")
            return
        result = self._perform(job)
        ended = self._end(uid, execution, result)
        name = f"{job.module}/{job.method}"
        seconds = time.monotonic() - started
        if not ended:
            logger.warning("execution %s of %s was taken over by another worker; this run of it is dropped", uid, name)
        elif result.status == "finished":
            logger.info("execution %s of %s succeeded in %.3f s (attempt %d)", uid, name, seconds, job.attempt)
        elif result.status == "scheduled":
            logger.warning(
                "attempt %d at execution %s of %s failed, the next one is due in %.0f s: %s",
                job.attempt,
                uid,
                name,
                result.pause,
                result.error,
            )
        else:
            logger.warning(
                "execution %s of %s failed in %.3f s (attempt %d): %s", uid, name, seconds, job.attempt, result.error
            )

    def _perform(self, job: Job) -> Outcome:
        """Runs the job's workflow to its outcome; whatever it raises is part of that."""
        secrets = secret_values(job.input, job.secrets)
        workflow = self._config.workflows.get(job.workflow)
        if workflow is None:
            return outcome.failed("WorkflowError", f"The config names no workflow {job.workflow!r} (any more)")
        current = context.CurrentExecution(job.id, job.module, job.method, job.attempt)
        timeout = int(job.timeout or workflow.timeout)
        try:
            job.bound = self._callable(workflow.python or "")
            with UnixSignalDeathPenalty(timeout, JobTimeoutException, job_id=job.id), context.entered(current):
                output = job.perform()
        except JobTimeoutException as error:
            return _tried_again(outcome.timed_out(error, timeout, secrets), job, workflow)
        except WorkflowError as error:
            return outcome.failed("WorkflowError", f"Workflow {workflow.name}: {error}", secrets=secrets)
        except BaseException as error:  # noqa: BLE001
            # The operator's code may raise anything, SystemExit too; it ends this execution and not the worker.
            return _tried_again(outcome.raised(error, secrets), job, workflow)
        return outcome.succeeded(output, secrets)

    def _end(self, uid: str, execution: str, result: Outcome, *, poison: str = "") -> bool:
        """Records the end, trying for as long as it takes; False when the execution was no longer this run's to end.

        `poison` says why the job is put aside as unreadable, if it is. A repeated call whose first reply was lost also
        answers False: then all is recorded already.
        """
        args = outcome.finish_arguments(self._queue, uid, execution, self._worker, result, poison)
        while True:
            try:
                return bool(self._finish(keys=[Job.key_for(uid)], args=args))
            except RedisError as error:
                if self._in_touch:
                    logger.warning("the end of execution %s can't be recorded: %s; trying until it is", uid, error)
                self._in_touch = False
                time.sleep(PAUSE)

    def _callable(self, reference: str) -> Callable[[Any], Any]:
        found = self._callables.get(reference)
        if found is None:
            found = self._callables[reference] = importing.find(reference)
        return found


def _tried_again(result: Outcome, job: Job, workflow: Workflow) -> Outcome:
    """The outcome of a failed attempt: another one later, as long as the workflow's `retry` allows it."""
    pause = workflow.retry.pause(job.failures + 1) if workflow.retry is not None else None
    return result if pause is None else replace(result, status="scheduled", pause=pause)


def _memory() -> int:
    """The most memory this process has had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
