"""The worker process: RQ's worker as its tools know it, with a warm child that runs the executions.

It keeps no job in its own hands. The child takes, runs and ends executions; the worker forks it, beats for whatever the
child holds (Redis knows what that is), kills it when an execution overruns, is stopped or was taken over, frees what a
dead child held, and reaps its queue. It has one thread, so that it may fork at any time.
"""

from __future__ import annotations

import gc
import logging
import os
import secrets
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from redis import Redis
from redis.client import PubSub
from redis.exceptions import RedisError
from rq.command import parse_payload
from rq.serializers import JSONSerializer
from rq.worker import Worker as RqWorker

from trigger.config import Config, Watcher
from trigger.errors import StartError
from trigger.executions import Retention, tracing
from trigger.startup import check_redis
from trigger.worker import events, outcome, processes, scripts
from trigger.worker.child import SPOILT, Child, Limits
from trigger.worker.collector import Collector
from trigger.worker.exchange import Ended, Exchange
from trigger.worker.job import Job
from trigger.worker.orders import SIGNAL, Orders

logger = logging.getLogger("trigger.worker")

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True, slots=True)
class Timing:
    """The worker's clocks, in seconds.

    An execution whose worker and child are dead is free after at most `lease` + `reap`. `overrun` is how long a
    workflow that ignores its timeout may go on before it is killed, `slack` how much longer than the config's
    `cancel_grace` one may that was told to end.
    """

    lease: float = 10.0
    beat: float = 2.5
    reap: float = 2.5
    tick: float = 0.25
    overrun: float = 5.0
    slack: float = 1.0
    worker_key: int = 15


class Worker(RqWorker):
    """Serves one queue until it is told to stop, whatever becomes of its child and of Redis.

    Arguments: `queue`, its name; `watcher`, which has the config in force; `connect(reply_timeout)`, which makes Redis
    clients; `timing` and `limits`, see there; `environ`, the service's, of which programs get a part.
    """

    log_job_description = False

    def __init__(
        self,
        queue: str,
        watcher: Watcher,
        connect: Callable[[float], Redis],
        *,
        timing: Timing | None = None,
        limits: Limits | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._timing = timing or Timing()
        self._limits = limits or Limits()
        self._environ = environ or {}
        self._watcher = watcher
        self._connect = connect
        # A name of its own for each life: RQ refuses one whose former bearer was killed and is not yet forgotten.
        super().__init__(
            [queue],
            name=secrets.token_hex(6),
            connection=connect(2.0),
            job_class=Job,
            serializer=JSONSerializer,
            worker_ttl=self._timing.worker_key,
            prepare_for_work=False,
        )
        self.hostname = os.uname().nodename
        self.pid = os.getpid()
        self._queue = queue
        self._beat = self.connection.register_script(scripts.BEAT)
        self._release = self.connection.register_script(scripts.RELEASE)
        self._reap_script = self.connection.register_script(scripts.REAP)
        self._kept = Retention(self.connection)
        self._commands: PubSub | None = None
        self._collector: Collector | None = None  # of the child, until what it held is free
        self._orders = Orders()
        self._cancelling: tuple[str, str, float] | None = None  # uid, run, and when it is ended by force
        self._registered = False
        self._in_touch = False
        self._to_free: str | None = None  # why what a dead child held is to be freed, until that is done
        self._stop_at: float | None = None
        self._stopping_since = 0.0
        self._next_beat = 0.0
        self._next_reap = 0.0

    # --- the loop ---

    def work(self, *args: Any, **kwargs: Any) -> bool:
        """Works until SIGTERM or SIGINT. A second one does not wait for the running execution but puts it back."""
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)
        processes.adopt_orphans()  # what a killed child had started comes to us
        while True:
            self._collect_child()
            self._end_what_ignores_its_cancel()
            if self._stop_at is not None:
                if not self._horse_pid:
                    break
                if time.monotonic() >= self._stop_at:
                    self._kill_child("stop")
                    break
            elif not self._horse_pid and self._to_free is None:
                self._fork()
            if self._watcher.poll():
                self._signal_child(signal.SIGTERM)  # a fresh child, with the new config, follows it
            self._keep_in_touch()
        self._say_goodbye()
        return True

    def _on_signal(self, signum: int, frame: object) -> None:
        now = time.monotonic()
        if self._stop_at is None:
            grace = self._watcher.current.stop_grace
            logger.info("stopping; waiting up to %.0f s for the running execution", grace)
            self._stopping_since, self._stop_at = now, now + grace
            self._signal_child(signal.SIGTERM)
        elif now - self._stopping_since > 1:
            # Ctrl-C and a supervisor may both signal at once; only what comes later is meant as "now".
            self._stop_at = now

    def _keep_in_touch(self) -> None:
        """Beats, reaps and listens to commands as each is due; a Redis that can't be reached is tried again."""
        try:
            now = time.monotonic()
            if not self._registered:
                self._register()
            if self._to_free is not None:
                self._free_held(self._to_free)
            if now >= self._next_beat:
                self._next_beat = now + self._timing.beat
                self._send_beat()
            if now >= self._next_reap and self._stop_at is None:
                self._next_reap = now + self._timing.reap
                self._reap()
            self._listen()
        except RedisError as error:
            if self._in_touch:
                logger.warning("Redis can't be reached: %s; trying again until it can", error)
            self._in_touch = False
            self._close_commands()
            self._next_beat = 0.0
            time.sleep(self._timing.tick)
        else:
            if not self._in_touch:
                logger.info("worker %s serves queue %s", self.name, self._queue)
                self._in_touch = True
                self._say_durability()

    def _say_durability(self) -> None:
        """What this Redis promises, said at the start and whenever it has been away: it may be another one."""
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
        """Keeps our reply timeout, which RQ would raise to that of a blocking wait for work: the child waits."""
        return connection

    def _register(self) -> None:
        """Makes the worker known as RQ does; again when Redis has forgotten it."""
        self.connection.delete(self.key)
        try:
            self.register_birth()  # type: ignore[no-untyped-call]
        except ValueError:
            # Our own earlier call, which a Redis that stood still has done after we gave up waiting for its reply.
            return
        self.set_state("busy" if self.connection.exists(self.executions_key) else "idle")
        self._registered = True

    def _say_goodbye(self) -> None:
        try:
            self.register_death()  # type: ignore[no-untyped-call]
        except RedisError as error:
            logger.warning("Redis can't be told that the worker stops: %s", error)
        self._close_commands()
        logger.info("worker %s has stopped", self.name)

    # --- the child ---

    def _fork(self) -> None:
        child_config: Config = self._watcher.current
        parent = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        gc.freeze()  # what is there now is never garbage: leaving it alone keeps its pages shared
        collector = Collector(self.connection, limit=child_config.logs, secrets=child_config.masked)
        # A signal between the fork and its end would not reach the child, or find ours in place of its handlers.
        unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        try:
            if self._stop_at is not None:
                return
            pid = os.fork()
            if pid == 0:
                Child(
                    self.name,
                    self._queue,
                    child_config,
                    lambda: self._connect(10.0),
                    lease=self._timing.lease,
                    limits=self._limits,
                    orders=self._orders,
                    capture=collector.in_child(),
                    environ=self._environ,
                ).main(parent)
            os.setpgid(pid, pid)  # the child does so too: whoever comes first, killing its group never meets ours
            self._horse_pid = pid
            collector.in_worker()
            self._collector = collector
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)

    def _signal_child(self, signum: signal.Signals) -> None:
        if self._horse_pid:
            try:
                os.kill(self._horse_pid, signum)
            except ProcessLookupError:
                pass

    def _collect_child(self) -> None:
        """Notices a child that has ended, and frees what it still held."""
        processes.reap({self._horse_pid})
        if not self._horse_pid:
            return
        pid, status = os.waitpid(self._horse_pid, os.WNOHANG)
        if pid:
            self._horse_pid = 0
            if status and os.waitstatus_to_exitcode(status) != SPOILT:
                logger.warning("the worker's child died: %s", _death(status))
            if status:
                processes.kill_strays()
            self._free_held("crash")

    def _kill_child(self, why: str) -> None:
        """Kills the child with all it started, and frees what it held: 'crash' counts against it, 'stop' does not."""
        if not self._horse_pid:
            return
        self._end_child()
        self._free_held(why)

    def _end_child(self) -> None:
        """Kills the child with all it started, and waits until they are gone."""
        if self._horse_pid:
            self.kill_horse(signal.SIGKILL)
            os.waitpid(self._horse_pid, 0)
            self._horse_pid = 0
        processes.kill_strays()

    def _held(self) -> list[tuple[str, str]]:
        """The executions this worker holds, as Redis knows them: (uid, id of the run)."""
        members = cast(set[bytes], self.connection.smembers(self.executions_key))
        pairs = (member.decode("utf-8", "replace").partition(":") for member in members)
        return [(uid, execution) for uid, _, execution in pairs]

    def _free_held(self, why: str) -> None:
        """Frees what a dead child held. Until that is done there is no beat, which would keep it, and no new child."""
        self._to_free = why
        try:
            self._take_last_words()
            for uid, execution in self._held():
                answer = self._release(
                    keys=[Job.key_for(uid), self.executions_key],
                    args=[self._queue, uid, execution, why, *self._budget()],
                )
                events.interrupted(self._about(uid), why, answer.decode())
        except RedisError as error:
            logger.warning("what the child held can't be freed now: %s", error)
        else:
            self._to_free = None

    def _about(self, uid: str) -> events.About:
        """What log lines carry about an execution that the child has, or had."""
        return tracing.look_up(self.connection, [uid])[0]

    def _take_last_words(self) -> None:
        """Writes what a dead child has put out, while what it held is still its."""
        if self._collector is not None and not self._horse_pid:
            self._collector.finish()
            self._collector.close()
            self._collector = None

    # --- beats, reaping, commands ---

    def _send_beat(self) -> None:
        known, *held = self._beat(
            keys=[self.key, self.executions_key],
            args=[self._queue, int(self._timing.lease * 1000), self._timing.worker_key],
        )
        if not known:
            self._register()
        for composite, ours, milliseconds, timeout, cancel, stepped in held:
            uid, _, execution = composite.decode().partition(":")
            if not ours:
                events.taken_over(self._about(uid))
                self._kill_child("crash")
            elif cancel:
                self._cancel(uid, execution)
            elif milliseconds / 1000 > self._longest(timeout, stepped):
                self._end_overrun(uid, execution, timeout)

    def _longest(self, timeout: int, stepped: int) -> float:
        """How long a run may take before it is ended by force, in seconds. Steps are looked after by the child, which
        gives them a grace, and those of `on_failure` a time of their own."""
        if not stepped:
            return timeout + self._timing.overrun
        return 2 * (timeout + self._watcher.current.cancel_grace) + self._timing.overrun

    def _end_overrun(self, uid: str, execution: str, timeout: int) -> None:
        """Kills a child whose workflow goes on although its time is up."""
        events.killed(self._about(uid), f"does not stop after its timeout of {timeout} s", "failed")
        self._end_by_force(
            uid,
            execution,
            outcome.failed("Timeout", f"The workflow took longer than {timeout} s and had to be killed"),
        )

    def _end_by_force(self, uid: str, execution: str, result: outcome.Outcome) -> None:
        self._end_child()
        self._to_free = "crash"  # should Redis be gone before the end is recorded
        self._take_last_words()
        exchange = Exchange(self.connection, self._queue, self.name, lease=self._timing.lease)
        exchange(Ended(uid, execution, result), take=False)
        self._to_free = None

    def _cancel(self, uid: str, execution: str) -> None:
        """Has the child end a run, which has the config's grace for it."""
        if self._cancelling is None or self._cancelling[1] != execution:
            grace = self._watcher.current.cancel_grace + self._timing.slack
            self._cancelling = uid, execution, time.monotonic() + grace
            self._orders.cancel(execution)
        self._signal_child(SIGNAL)

    def _end_what_ignores_its_cancel(self) -> None:
        """Kills the child when a run goes on although its grace is over, and records that it was cancelled."""
        if self._cancelling is None or time.monotonic() < self._cancelling[2]:
            return
        uid, execution, _ = self._cancelling
        try:
            if (uid, execution) in self._held():
                events.killed(self._about(uid), "does not end although it was cancelled", "cancelled")
                self._end_by_force(uid, execution, outcome.cancelled())
            self._cancelling = None
        except RedisError as error:
            about = {"uid": uid}  # Redis can't tell more
            logger.warning("the cancelled execution can't be ended now: %s", error, extra={"fields": about})

    def _reap(self) -> None:
        """Frees what nobody owns. One pass costs the same however long the queue is."""
        reaped, spent, due, oldest, poisoned = self._reap_script(
            keys=[self.queues[0].key],
            args=[
                self._queue,
                int(self._timing.lease * 1000),
                *self._budget(),
                int(self._watcher.current.retention * 1000),
            ],
        )
        found = [(uid.decode(), "queued") for uid in reaped] + [(uid.decode(), "failed") for uid in spent]
        abouts = tracing.look_up(self.connection, [uid for uid, _ in found])
        for (_, state), about in zip(found, abouts, strict=True):
            events.reaped(about, state, oldest / 1000)
        if due:
            logger.info("%d executions are due for their next attempt", len(due))
        events.put_aside(entry.decode("utf-8", "replace") for entry in poisoned)
        self._kept.enforce(self._watcher.current.retention, self._watcher.current.keep)

    def _budget(self) -> tuple[int, str, str]:
        """After how many deaths of its worker an execution fails, and with which error and exc_string."""
        crashes = self._watcher.current.crashes
        spent = outcome.failed("WorkerDied", f"its worker died {crashes} times")
        return crashes, spent.error, spent.exc_string

    def _listen(self) -> None:
        """Waits one tick for the commands that RQ's tools send (rq.command)."""
        if self._commands is None:
            self._commands = self.connection.pubsub(ignore_subscribe_messages=True)
            self._commands.subscribe(self.pubsub_channel_name)
        if self._collector is None:
            message = self._commands.get_message(timeout=self._timing.tick)
        else:
            self._collector.serve(self._timing.tick, _descriptor(self._commands))
            message = self._commands.get_message(timeout=0)
        if message:
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
                self.kill_horse(signal.SIGKILL)
            case {"command": "stop-job" | "stop-execution", "job_id": wanted}:
                for uid, execution in self._held():
                    if uid == wanted:
                        self._cancel(uid, execution)
            case _:
                logger.warning("a command that nobody understands was ignored")

    def _close_commands(self) -> None:
        if self._commands is not None:
            try:
                self._commands.close()
            except RedisError:
                pass
            self._commands = None


def _descriptor(commands: PubSub) -> int | None:
    """What can be read when a command comes."""
    connection: Any = commands.connection
    socket = connection._sock if connection is not None else None
    return socket.fileno() if socket is not None else None


def _death(status: int) -> str:
    if os.WIFSIGNALED(status):
        return signal.Signals(os.WTERMSIG(status)).name
    return f"exit status {os.WEXITSTATUS(status)}"


def run(queue: str, watcher: Watcher, connect: Callable[[float], Redis], **options: Any) -> None:
    """Runs a worker for `queue` until it is told to stop."""
    Worker(queue, watcher, connect, **options).work()
