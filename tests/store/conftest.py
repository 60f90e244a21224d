"""Executions in every state, made by the very scripts that the service uses, without its processes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import pytest
from redis import Redis

from tests.support import CONFIG
from trigger import store
from trigger.config.model import Api, Config, NoAuth, PythonAction, Step, Workflow
from trigger.store import Record, outcome
from trigger.store.exchange import Ended, Exchange
from trigger.store.keys import CALLBACK_QUEUE
from trigger.store.lua import load
from trigger.store.queueing import Call, Submitter

WORKER = "w" * 32
PLAIN = Workflow(name="plain", python="work:plain", timeout=60)


def step(name: str, *, digest: str = "d1", **options: Any) -> Step:
    return Step(name=name, action=PythonAction("work:" + name), digest=digest, **options)


STEPPED = Workflow(
    name="stepped",
    python=None,
    timeout=60,
    steps=(step("quote"), step("order"), step("tell", continue_on_error=True), step("close")),
    on_failure=(step("alert"),),
)


def api(module: str = "shop", method: str = "restock", workflow: Workflow = PLAIN, **options: Any) -> Api:
    return Api(module=module, method=method, auth=NoAuth(), workflow=workflow, enabled=True, **options)


def config(*apis: Api) -> Config:
    return replace(
        CONFIG,
        apis={(api.module, api.method): api for api in apis},
        workflows={api.workflow.name: api.workflow for api in apis},
    )


class Bench:
    """Accepts executions, and does to them what a worker would."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self.submitter = Submitter(redis)
        self._exchange = Exchange(redis, "default", WORKER, lease=10)
        self._reap = load("reap").on(redis)
        self._release = load("release").on(redis)

    def accept(self, of: Api | None = None, value: Any = None, *, caller: str | None = "ci", **options: Any) -> str:
        """Accepts one, later than all before it: of one millisecond it is chance whose uid is the greater."""
        last = store.new_uid()
        while store.accepted_ms(store.new_uid()) == store.accepted_ms(last):
            pass
        call = Call(of or api(), {} if value is None else value, caller, **options)
        return self.submitter.submit(call, CONFIG).uid

    def take(self) -> tuple[str, str] | None:
        """The next execution and the id of its run; None when nothing waits."""
        taken = self._exchange().taken
        return (taken.job.uid, taken.run) if taken else None

    def end(self, uid: str, run: str, result: outcome.Outcome) -> bool:
        return self._exchange(Ended(uid, run, result), take=False).ended

    def run(self, result: outcome.Outcome) -> str:
        """Takes the next execution and ends it so."""
        taken = self.take()
        assert taken is not None
        assert self.end(*taken, result)
        return taken[0]

    def send(self, result: outcome.Outcome) -> str:
        """Takes the next callback and ends it so; the uid of the execution that sends it."""
        exchange = Exchange(self.redis, CALLBACK_QUEUE, WORKER, lease=10)
        taken = exchange().taken
        assert taken is not None
        assert exchange(Ended(taken.job.uid, taken.run, result), take=False).ended
        return taken.job.uid

    def release(self, uid: str, run: str, why: str = "crash") -> str:
        """What a worker says when its child has died or has to stop."""
        answer: bytes = self._release(
            job=store.JOB + uid,
            held=f"rq:worker:{WORKER}:executions",
            queue="default",
            uid=uid,
            run=run,
            why=why,
            budget=5,
            error="{}",
            exc_string="",
        )
        return answer.decode()

    def reap(self) -> list[Any]:
        """A pass of the reaper for which every lease has run out."""
        for uid in cast(list[bytes], self.redis.zrange(store.leased_key("default"), 0, -1)):
            self.redis.zadd(store.leased_key("default"), {uid: 1})
        self.redis.hset(store.REAPER + "default", mapping={"looked": self.redis.time()[0] * 1000, "hold": 0})
        answer: list[Any] = self._reap(
            list="rq:queue:default",
            queue="default",
            grace=10_000,
            retention=3_600_000,
            budget=5,
            error="{}",
            exc_string="",
        )
        return answer

    def record(self, uid: str) -> Record:
        record = store.read(self.redis, uid)
        assert record is not None
        return record

    def steps(self, uid: str, plan: Mapping[str, Any] | None, states: Mapping[str, Any]) -> None:
        """Writes what the runner of steps writes."""
        fields: dict[Any, Any] = {name: json.dumps(state) for name, state in states.items()}
        if plan is not None:
            fields[""] = json.dumps(plan)
        self.redis.hset(store.STEPS + uid, mapping=fields)


SUCCEEDED = outcome.succeeded({"ok": True})
FAILED = outcome.failed("ValueError", "no stock")
LATER = replace(FAILED, status="scheduled", pause=3600.0)
STOPPED = outcome.failed("Cancelled", "Stopped by an operator", status="stopped")


@pytest.fixture
def bench(redis: Redis) -> Bench:
    return Bench(redis)
