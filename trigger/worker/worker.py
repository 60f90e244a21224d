"""The worker process: RQ's worker as its tools know it. It takes executions, has them run, and records how they end.

It owns the connection to Redis and runs no foreign code: each piece of work runs in a process of its own (see pool),
which is handed what it needs over a socket pair. The worker has one thread and never waits without listening: to its
processes, to signals and to commands, while it beats for the execution in hand and reaps its queue.

Nothing here can lose an execution. Taking one is one atomic step, and so is recording its end. Whatever is killed in
between, the worker (or, if that is gone, another worker's reaper) frees the execution.
"""

from __future__ import annotations

import logging
import math
import os
import secrets
import signal
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from redis import Redis
from redis.client import PubSub
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from rq.command import parse_payload
from rq.serializers import JSONSerializer
from rq.worker import Worker as RqWorker

from trigger import store
from trigger.config import Config, Watcher
from trigger.config.callbacks import guarded
from trigger.config.model import CALLBACK, MIN_MASKED
from trigger.config.secret import written_forms
from trigger.errors import StartError, Unfinished
from trigger.inputs import secret_values
from trigger.kept_files import KeptFiles
from trigger.startup import check_redis
from trigger.store import Retention, outcome
from trigger.store.exchange import Ended, Exchange, Reply, Taken
from trigger.store.lua import load
from trigger.store.outcome import CRASHED, RELEASED, UNKNOWN, Outcome
from trigger.store.status import FINAL_OF_RQ
from trigger.store.stored import Stored, abouts
from trigger.worker.bell import Bell
from trigger.workflows import events, processes
from trigger.workflows.attempts import Run, Tools, Wanted
from trigger.workflows.calling_back import Receivers, run_callback
from trigger.workflows.loop import Loop
from trigger.workflows.plain import run_function
from trigger.workflows.pool import Pool
from trigger.workflows.runner import Runner

logger = logging.getLogger("trigger.worker")

# The pause after Redis could not be reached, in seconds.
PAUSE = 0.25
# How long the answer to what ends and takes is waited for, in seconds: with a slow disk it takes a while.
PATIENCE = 4.0
# How many earlier versions of the config are kept, for what was accepted by them.
EARLIER = 5
# A worker that lacks workflows lets others take first what comes, for so many seconds, and looks for what is due at
# least so often.
GIVE_WAY = 0.05
LOOK_UNKNOWN = 1.0
# An idle worker keeps no more processes than it needs after so many seconds.
REST = 5.0


@dataclass(frozen=True, slots=True)
class Clocks:
    """The worker's clocks, in seconds. An execution whose worker is dead is free after at most `lease` + `reap`."""

    lease: float = 10.0
    beat: float = 2.5
    reap: float = 2.5
    tick: float = 0.25
    worker_key: int = 15


class QueueWorker(RqWorker):
    """Serves one queue until it is told to stop, whatever becomes of its processes and of Redis.

    Arguments: `queue`, its name; `watcher`, which has the config in force; `connect(reply_timeout)`, which makes Redis
    clients; `timing`, see there; `environ`, the service's, of which programs get a part; `files`, those of forms.
    """

    log_job_description = False

    def __init__(
        self,
        queue: str,
        watcher: Watcher,
        connect: Callable[[float], Redis],
        *,
        timing: Clocks | None = None,
        environ: Mapping[str, str] | None = None,
        files: KeptFiles | None = None,
    ) -> None:
        self._timing = timing or Clocks()
        self._watcher = watcher
        # A name of its own for each life: RQ refuses one whose former bearer was killed and is not yet forgotten.
        super().__init__(
            [queue],
            name=secrets.token_hex(6),
            connection=connect(2.0),
            serializer=JSONSerializer,
            worker_ttl=self._timing.worker_key,
            prepare_for_work=False,
        )
        self.hostname = os.uname().nodename
        self.pid = os.getpid()
        self._queue = queue
        self._beat = load("beat").on(self.connection)
        self._release = load("release").on(self.connection)
        self._take_back = load("reap").on(self.connection)
        self._receivers = Receivers()
        self._kept = Retention(self.connection, callbacks=queue == CALLBACK.queue)
        self._files = files
        self._exchange = Exchange(connect(PATIENCE), queue, self.name, lease=self._timing.lease)
        self._loop = Loop()
        self._bell = Bell(self.connection, self.queues[0].key, self._loop)
        # What calls back is sent by processes that no foreign code has run in.
        self._pool = Pool(self._loop, environ or {}, watcher.current, imports=queue != CALLBACK.queue)
        watcher.meanwhile = self._while_checking
        self._commands: PubSub | None = None
        self._commands_at = -1  # their descriptor
        self._taken: Taken | None = None  # what was taken when the one before was ended
        self._wanted: Wanted | None = None  # of the run in hand
        self._unsaid: Callable[[], None] | None = None  # a line about the one before, for the service's log
        self._edited = False  # the processes are of an earlier config
        self._earlier: deque[Config] = deque(maxlen=EARLIER)  # versions that were needed, or in force before
        self._gives_way = False  # what the bell rings for is to be others' first, if this worker lacks workflows
        self._unknown: set[str] = set()  # workflows that were said to be missing from the config in force
        self._registered = False
        self._in_touch = False  # the last beat was answered
        self._gets_work = True  # so was the last question for work
        self._stop_at: float | None = None
        self._stopping_since = 0.0
        self._told: deque[str] = deque()  # what signals have asked for, and the log does not have yet
        self._idle_since = math.inf
        self._next_look = 0.0
        self._next_beat = 0.0
        self._next_reap = 0.0
        self._not_before = 0.0  # when Redis may be asked for work again

    # --- the loop ---

    def work(self, *args: Any, **kwargs: Any) -> bool:
        """Works until SIGTERM or SIGINT. A second one does not wait for the running execution but puts it back.

        SIGHUP ends it, too, but waits for the running execution however long it takes. True after that.
        """
        signal.signal(signal.SIGHUP, self._on_hangup)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGHUP])
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, self._on_signal)
        signal.signal(signal.SIGCHLD, lambda signum, frame: self._pool.note_child())
        processes.adopt_orphans()  # of a guardian that was killed
        while self._taken or self._stop_at is None:
            if not self._taken and self._edited:
                self._renew()
            if self._taken or (self._pool.is_ready() and self._take()):
                taken, self._taken = self._taken, None
                if taken is not None:
                    self._execute(taken)
                    self._idle_since = time.monotonic()
                continue
            if time.monotonic() - self._idle_since > REST:
                self._idle_since = math.inf
                self._pool.rest()
            self._wait(self._timing.beat)
        self._say_now()
        self._say_told()
        self._pool.discard_idle()
        self._say_goodbye()
        return self._renews

    def _on_hangup(self, signum: int, frame: object) -> None:
        if self._stop_at is None:
            self._told.append("starting anew, when the running execution has ended")
            self._stop_at = math.inf

    @property
    def _renews(self) -> bool:
        """Whether the stop is for a new start."""
        return self._stop_at == math.inf

    def _renew(self) -> None:
        """Has what runs from now on run with the config in force by now."""
        self._edited = False
        self._unknown.clear()
        before, now = self._pool.config, self._watcher.current
        self._earlier.append(before)
        self._pool.renew(now)
        if before.workflows.keys() - now.workflows.keys():
            self._say_stranded(now)

    def _say_stranded(self, config: Config) -> None:
        """Says what waits for workflows that an edit has taken away."""
        try:
            # One of the workers of a queue does; the key tells the others.
            key = store.told_key(self._queue, config.version)
            if self.connection.set(key, "1", nx=True, ex=60):
                found = store.stranded(self.connection, config.workflows, [self._queue])
                events.stranded(found, self._queue, config.version)
        except RedisError as error:
            logger.warning("what waits for workflows that are gone can't be counted: %s", error)

    def _on_signal(self, signum: int, frame: object) -> None:
        now = time.monotonic()
        if self._stop_at is None or self._renews:
            grace = self._watcher.current.stop_grace
            self._told.append(f"stopping; waiting up to {grace:.0f} s for the running execution")
            self._stopping_since, self._stop_at = now, now + grace
        elif now - self._stopping_since > 1:
            # Ctrl-C and a supervisor may both signal at once; only what comes later is meant as "now".
            self._stop_at = now

    def _wait(self, seconds: float) -> None:
        """Does what is due, and waits so many seconds, or until something happens."""
        self._say_now()
        self._say_told()
        self._pool.look_after()
        self._keep_in_touch()
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + self._timing.tick
            if self._stop_at is None:
                self._edited = self._watcher.poll() or self._edited
        if self._stop_at is not None and now >= self._stop_at and self._wanted is not None:
            self._wanted.put_back = True
        due = min(now + seconds, self._next_look, self._next_beat, self._next_reap)
        for moment in (self._stop_at, self._not_before):
            if moment is not None and moment > now:
                due = min(due, moment)
        self._loop.wait(due - now)

    def _say_told(self) -> None:
        """Log what signals have asked for: a handler may have interrupted the log itself."""
        while self._told:
            logger.info("%s", self._told.popleft())

    def _while_checking(self) -> None:
        """Does what can't wait while an edit's imports are tried, which may take half a minute."""
        if self._stop_at is not None:
            raise Unfinished
        self._keep_in_touch()

    def _keep_in_touch(self) -> None:
        """Beats, reaps and listens to commands as each is due; a Redis that can't be reached is tried again."""
        now = time.monotonic()
        if now < min(self._next_beat, self._next_reap):
            return
        try:
            if not self._registered:
                self._register()
            beats = now >= self._next_beat
            if beats:
                self._next_beat = now + self._timing.beat
                self._send_beat()
            if now >= self._next_reap:
                self._next_reap = now + (min(self._timing.reap, LOOK_UNKNOWN) if self._unknown else self._timing.reap)
                if self._stop_at is None or self._renews:
                    self._reap()
            self._subscribe()
        except RedisError as error:
            self._lose_touch(error)
        else:
            if beats and not self._in_touch:
                logger.info("worker %s serves queue %s", self.name, self._queue)
                self._in_touch = True
                self._say_durability()

    def _lose_touch(self, error: RedisError) -> None:
        if self._in_touch:
            logger.warning("Redis can't be reached: %s; trying again until it can", error)
        self._in_touch = False
        self._close_commands()
        self._next_beat = time.monotonic() + self._timing.tick

    def _say_durability(self) -> None:
        """Log how durable this Redis is, at the start and whenever it has been away: it may be another one."""
        try:
            durability = check_redis(self.connection)
        except StartError as error:
            logger.error("executions are not safe here: %s", error)  # noqa: TRY400  there is no more to tell
        except RedisError:
            pass  # it is gone again, which the next turn will say
        else:
            logger.info("%s", durability)
            for warning in durability.warnings:
                logger.warning("%s", warning)

    def _set_connection(self, connection: Redis) -> Redis:
        """Keeps our reply timeout, which RQ would raise to that of a blocking wait for work: the bell waits."""
        return connection

    def _register(self) -> None:
        """Makes the worker known as RQ does; again when Redis has forgotten it."""
        self.connection.delete(self.key)
        try:
            self.register_birth()  # type: ignore[no-untyped-call]
        except ValueError:
            # Our own earlier call, which a Redis that stood still has done after we gave up waiting for its reply.
            return
        self.set_state("idle" if self._wanted is None else "busy")
        self._registered = True

    def _say_goodbye(self) -> None:
        try:
            self.register_death()  # type: ignore[no-untyped-call]
        except RedisError as error:
            logger.warning("Redis can't be told that the worker stops: %s", error)
        self._close_commands()
        self._bell.close()
        logger.info("worker %s has stopped", self.name)

    # --- executions ---

    def _take(self) -> bool:
        """Takes the next execution; False when there is none, and then the bell will ring for one."""
        now = time.monotonic()
        if now < self._not_before:
            return False
        try:
            if self._bell.is_awaited():
                return False
            if self._gives_way and self._unknown:
                self._gives_way, self._not_before = False, now + GIVE_WAY
                return False
            self._note(self._exchange())
            if self._taken is None and now >= self._not_before:
                self._bell.listen()
                self._gives_way = True
        except RedisError as error:
            if self._gets_work:
                logger.warning("Redis can't be asked for work: %s; trying again until it can", error)
            self._gets_work = False
            self._bell.close()
            self._not_before = now + PAUSE
        self._gets_work = self._gets_work or self._taken is not None or self._bell.has_answered
        return self._taken is not None

    def _note(self, reply: Reply) -> None:
        """Keeps what was taken, and says what was put aside."""
        self._taken = reply.taken
        events.put_aside(reply.poisoned)
        if reply.suspended:
            self._not_before = time.monotonic() + 1

    def _execute(self, taken: Taken) -> None:
        """Has an execution run, and records how it ended."""
        started, job, run = time.monotonic(), taken.job, taken.run
        uid, about = job.uid, job.about
        if problem := job.why_not_run():
            events.unreadable(about, problem)
            self._end(Ended(uid, run, outcome.failed("UnreadableJob", problem), poison=problem), about)
            return
        self._wanted = wanted = Wanted(uid, run)
        try:
            result = self._outcome(job, wanted, about)
            seconds = time.monotonic() - started
            if wanted.is_lost or not self._end(Ended(uid, run, result, seconds), about):
                self._say_later(lambda: events.taken_over(about))
            elif not wanted.is_said:
                self._say_later(lambda: events.ended(about, job.attempt, seconds, result))
        finally:
            self._wanted = None

    def _say_later(self, line: Callable[[], None]) -> None:
        """Has a line logged when the next execution, which has been taken already, has begun."""
        self._say_now()
        self._unsaid = line

    def _say_now(self) -> None:
        if self._unsaid is not None:
            say, self._unsaid = self._unsaid, None
            say()

    def _outcome(self, job: Stored, wanted: Wanted, about: events.About) -> Outcome:
        """Runs the job's workflow to its outcome, all that it writes in its log."""
        if job.config_version != self._pool.config.version:
            self._catch_up(job.config_version)
        config = self._config_of(job)  # in force for the whole run
        if job.workflow == CALLBACK.name:
            return self._call_back(job, config, wanted, about)
        workflow = config.workflows.get(job.workflow)
        if workflow is None:
            return self._unknown_workflow(job, wanted, about)
        tools = Tools(self.connection, config, self._pool, wanted, self._wait, self._stops)
        secrets = frozenset((*secret_values(job.input, job.secrets), *config.masked))
        run = Run(wanted.run, job, secrets, _redis_clock(job), about)
        if not workflow.steps:
            return run_function(tools, workflow, run)
        is_said = False
        while True:
            try:
                return Runner(tools, workflow, run).run()
            except RedisError as error:
                if not is_said:
                    logger.warning(
                        "the execution's steps can't be read: %s; trying until they are", error, extra={"fields": about}
                    )
                is_said = True
                if wanted.is_lost or self._stop_at is not None:
                    return Outcome(RELEASED)
                self._wait(PAUSE)

    def _call_back(self, job: Stored, config: Config, wanted: Wanted, about: events.About) -> Outcome:
        """The outcome of an execution that calls back. All that the config says of the callback is in `config`, but it
        is sent by any process."""
        if job.calls_back is None:
            return outcome.failed("UnreadableJob", "the job in Redis does not say whom to call back")
        to, of = job.calls_back
        callback = config.callbacks.get(to)
        if callback is None:
            return self._unknown_workflow(job, wanted, about)
        secrets = {form for text in guarded(callback) if len(text) >= MIN_MASKED for form in written_forms(text)}
        tools = Tools(self.connection, self._pool.config, self._pool, wanted, self._wait, self._stops)
        run = Run(wanted.run, job, frozenset(secrets), _redis_clock(job), about)
        return run_callback(tools, self._receivers, callback, of, run)

    def _catch_up(self, version: str) -> None:
        """Takes up the version of the config that has accepted an execution, if it is in the files already. Web
        processes may see an edit before we do, and what they accept by it is to run by it."""
        if self._watcher.catch_up(version) or self._edited:
            self._renew()

    def _config_of(self, job: Stored) -> Config:
        """The config that an execution runs by: the one in force, or where that lacks its workflow, or callback, (any
        more), the one that has accepted the execution, if that can be had."""
        config = self._pool.config
        known = job.workflow in config.workflows or bool(job.calls_back and job.calls_back[0] in config.callbacks)
        if known or not job.config_version:
            return config
        found = next((one for one in self._earlier if one.version == job.config_version), None)
        if found is None and (found := self._watcher.earlier(job.config_version)) is not None:
            self._earlier.append(found)
        return found or config

    def _unknown_workflow(self, job: Stored, wanted: Wanted, about: events.About) -> Outcome:
        """The outcome of an execution whose workflow, or callback, the config in force lacks. The log says it once for
        each."""
        kind: Literal["workflow", "callback"] = "callback" if job.calls_back else "workflow"
        name = job.calls_back[0] if job.calls_back else job.workflow
        version, now = self._pool.config.version, job.began
        waited = now - job.unknown_since if job.unknown_since is not None else 0.0
        result = outcome.unknown(name, version, job.config_version, waited, kind=kind)
        if result.status == UNKNOWN:
            wanted.is_said = True
            self._next_reap = min(self._next_reap, time.monotonic() + result.pause)
            if name not in self._unknown:
                self._unknown.add(name)
                events.unknown(about, kind, name, version, job.config_version)
        return result

    def _stops(self) -> bool:
        """Whether steps are to begin in another worker, or in processes with the config that is in force by now."""
        return self._stop_at is not None or self._edited

    def _end(self, ended: Ended, about: events.About) -> bool:
        """Records the end, and takes the next execution with it; tries for as long as it takes, but no longer than a
        stop may: then the lease runs out.

        False when the execution was no longer this run's to end. A repeated call whose first reply was lost also
        answers False: then all is recorded already.
        """
        is_said = False
        while True:
            try:
                if ended.result.status in (RELEASED, CRASHED):
                    return self._free(ended.uid, ended.run, ended.result.status, about)
                takes = self._stop_at is None and not self._edited and self._pool.is_ready()
                reply = self._exchange(ended, take=takes)
            except RedisError as error:
                if not is_said:
                    logger.warning(
                        "the execution's end can't be recorded: %s; trying until it is", error, extra={"fields": about}
                    )
                is_said = True
                if self._stop_at is not None and time.monotonic() >= self._stop_at:
                    return True
                self._wait(PAUSE)
            else:
                self._note(reply)
                if reply.ended and self._files is not None and ended.result.status in FINAL_OF_RQ:
                    self._files.remove(ended.uid)
                return reply.ended

    def _free(self, uid: str, run: str, why: str, about: events.About) -> bool:
        """Puts an execution back; one that has lost its process counts that, and waits a while if it was not the first
        time."""
        answer: bytes = self._release(
            job=store.JOB + uid,
            held=self.executions_key,
            queue=self._queue,
            uid=uid,
            run=run,
            why="crash" if why == CRASHED else "stop",
            **self._budget(),
        )
        wanted = self._wanted
        if answer != b"lost" and wanted is not None and (why == CRASHED or wanted.put_back):
            events.interrupted(about, "crash" if why == CRASHED else "stop", answer.decode())
            wanted.is_said = True
        self._next_reap = min(self._next_reap, time.monotonic() + 1.0)
        return answer != b"lost"

    # --- beats, reaping, commands ---

    def _send_beat(self) -> None:
        uid, run = (self._wanted.uid, self._wanted.run) if self._wanted is not None else ("", "")
        known, ours, cancel = self._beat(
            worker=self.key,
            held=self.executions_key,
            queue=self._queue,
            lease=int(self._timing.lease * 1000),
            life=self._timing.worker_key,
            uid=uid,
            run=run,
        )
        if not known:
            self._register()
        if self._wanted is not None:
            self._wanted.is_lost = not ours
            self._wanted.cancel = self._wanted.cancel or bool(cancel)

    def _reap(self) -> None:
        """Frees what nobody owns. One pass costs the same however long the queue is."""
        reaped, spent, due, oldest, poisoned = self._take_back(
            list=self.queues[0].key,
            queue=self._queue,
            grace=int(self._timing.lease * 1000),
            retention=int(self._watcher.current.retention * 1000),
            **self._budget(),
        )
        found = [(uid.decode(), "queued") for uid in reaped] + [(uid.decode(), "failed") for uid in spent]
        uids = [uid for uid, _ in found]
        for (_, state), about in zip(found, abouts(self.connection, uids), strict=True):
            events.reaped(about, state, oldest / 1000)
        if due:
            logger.info("%d executions are due for their next attempt", len(due))
        events.put_aside(entry.decode("utf-8", "replace") for entry in poisoned)
        self._kept.enforce(self._watcher.current.retention, self._watcher.current.keep)
        if self._files is not None:
            self._files.sweep(store.is_uid, self._are_over)

    def _are_over(self, uids: Sequence[str]) -> list[bool | None]:
        return [None if status is None else status in store.FINAL for status in store.statuses(self.connection, uids)]

    def _budget(self) -> dict[str, Any]:
        """After how many deaths of its worker an execution fails, and with which error."""
        crashes = self._watcher.current.crashes
        spent = outcome.failed("WorkerDied", f"its worker died {crashes} times")
        return {"budget": crashes, "error": spent.error, "exc_string": spent.exc_string}

    def _subscribe(self) -> None:
        """Listens to the commands that RQ's tools send (rq.command)."""
        if self._commands is not None:
            return
        commands = self.connection.pubsub(ignore_subscribe_messages=True)
        commands.subscribe(self.pubsub_channel_name)
        self._commands, self._commands_at = commands, _descriptor(commands)
        self._loop.add(self._commands_at, self._hear)

    def _hear(self) -> None:
        """Does what a command says."""
        while self._commands is not None:
            try:
                message = self._commands.get_message(timeout=0)
                if _descriptor(self._commands) != self._commands_at:
                    raise RedisConnectionError("the connection for commands was lost")  # redis-py has made another
            except RedisError as error:
                self._lose_touch(error)
                return
            if message is None:
                return
            try:
                payload: Any = parse_payload(message)
            except ValueError:
                payload = None
            self._obey(payload)

    def _obey(self, payload: Any) -> None:
        match payload:
            case {"command": "shutdown"}:
                self._on_signal(signal.SIGTERM, None)
            case {"command": "kill-horse"}:
                self._pool.kill_busy()
            case {"command": "stop-job" | "stop-execution", "job_id": wanted}:
                if self._wanted is not None and self._wanted.uid == wanted:
                    self._wanted.cancel = True
            case _:
                logger.warning("a command that nobody understands was ignored")

    def _close_commands(self) -> None:
        if self._commands is not None:
            self._loop.remove(self._commands_at)
            try:
                self._commands.close()
            except RedisError:
                pass
            self._commands = None


def _descriptor(commands: PubSub) -> int:
    """Return the descriptor that can be read when a command comes; -1 where there is no connection."""
    connection: Any = commands.connection
    sock = connection._sock if connection is not None else None
    return sock.fileno() if sock is not None else -1


def _redis_clock(job: Stored) -> Callable[[], int]:
    """Redis' time in ms, from what it was when the job was taken: the times of its steps add up with the job's own."""
    offset = job.began - time.monotonic()
    return lambda: int((time.monotonic() + offset) * 1000)


def run(queue: str, watcher: Watcher, connect: Callable[[float], Redis], **options: Any) -> bool:
    """Runs a worker for `queue` until it is told to stop; whether by SIGHUP, for a new start.

    Then SIGHUP is blocked: one that comes before the new start is complete is for the new worker.
    """
    renews = QueueWorker(queue, watcher, connect, **options).work()
    if renews:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
    return renews
