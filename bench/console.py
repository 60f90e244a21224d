"""What each page of the console costs with 10,000 APIs and 1,000,000 records.

    python -m bench.console --records 1000000 --calls 50

The pages are made by the app in this process, on a private Redis that is filled before: records and figures of all
APIs, one execution of fifty steps with a log of a megabyte, a queue, workers, refused calls. Prints the bytes of each
page and the milliseconds from the WSGI call to the last byte: of the first call, the median and the slowest of the
others. Exit status 1 when a page has 100 KB or more, or a median of 50 ms or more.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from flask import Flask
from redis import Redis
from werkzeug.test import EnvironBuilder

from app import create_app
from bench import reaper
from bench.listing import API, INPUT, ended, fill
from bench.processes import running_redis
from bench.tables import number, table
from trigger import store
from trigger.config import Config, Settings, load
from trigger.config.secret import Secret
from trigger.redis_server import RedisServer
from trigger.store import outcome
from trigger.store.counting import DAYS, HOURS
from trigger.store.exchange import Ended, Exchange
from trigger.store.keys import FIGURES, REFUSED, WORKER, WORKERS
from trigger.store.log import Log
from trigger.store.queueing import Call, Submitter, connect
from trigger.store.refused import KEPT, Refused
from trigger.web.sessions import Sessions

MAX_BYTES = 100_000
MAX_MS = 50.0

MODULES, METHODS = 100, 100
STEPS = 50
PASSWORD = "an-operator-of-the-bench"

_FIELDS = """\
          fields:
            sku: {type: string, required: true, max_length: 20, description: What is ordered}
            count: {type: integer, default: 1, min: 1, max: 1000}
            note: {type: string, max_length: 200}
"""


def config_text() -> str:
    """A config of MODULES times METHODS APIs that all start one workflow, and one that starts a workflow of STEPS."""
    lines = [f"operators: {{admin: {PASSWORD}}}", "workflows:", "  noted: work:noted", "  stepped:", "    steps:"]
    for step in range(STEPS):
        needs = f"[s{step - 3}]" if step >= 3 else "[]"
        lines.append(f"      - {{name: s{step}, needs: {needs}, python: 'work:step'}}")
    for one in range(200):
        lines.append(f"  w{one}: {{description: One of many, steps: [{{name: only, python: 'work:step'}}]}}")
    lines += ["modules:", "  big:", "    methods:", "      one:"]
    lines.append("        {enabled: true, auth: {mode: none}, workflow: stepped}")
    for module in range(MODULES):
        lines += [f"  m{module}:", "    description: A module of the bench", "    methods:"]
        for method in range(METHODS):
            enabled = "true" if method % 10 else "false"
            lines += [
                f"      a{method}:",
                f"        description: The API {method} of the module {module}",
                f"        enabled: {enabled}",
                "        auth: {mode: token, token: a-token-of-the-bench}",
                "        workflow: noted",
                f"        input:\n{_FIELDS}        debug: {{sku: A1, count: 2}}",
            ]
    return "\n".join(lines) + "\n"


def store_figures(redis: Redis, config: Config, now: float) -> None:
    """What the last day of each API, and the last week of each workflow, would have left."""
    hour = int(now // 3600)
    hours = range(hour - HOURS + 1, hour + 1)
    of_api = {f"calls@{h}": 40 + h % 7 for h in hours} | {f"failed@{h}": 1 + h % 3 for h in hours}
    days = [hour - hour % 24 - 24 * back for back in range(DAYS)]
    took = {f"took@{day}:{size}": 10 + size % 5 for day in days for size in range(20, 60)}
    of_workflow = {**took, **{f"failed@{day}": 3 for day in days}, **{f"cancelled@{day}": 1 for day in days}}
    names = [f"{module}/{method}" for module, method in config.apis]
    for kind, figures, named in (("api", of_api, names), ("workflow", of_workflow, list(config.workflows))):
        for begin in range(0, len(named), 500):
            pipeline = redis.pipeline(transaction=False)
            for name in named[begin : begin + 500]:
                pipeline.hset(f"{FIGURES}{kind}:{name}", items=[part for pair in figures.items() for part in pair])
                pipeline.zadd(f"{FIGURES}{kind}s", {name: hour})
            pipeline.execute()


def store_large(redis: Redis, config: Config) -> str:
    """An execution of STEPS steps that has failed, with a large input and as much of a log as is kept; its uid."""
    api = config.apis["big", "one"]
    uid = Submitter(redis).submit(Call(api, {"orders": [INPUT] * 300}, "ci"), config).uid
    exchange = Exchange(redis, api.workflow.queue, "bench", lease=3600)
    taken = exchange().taken
    if taken is None:
        raise RuntimeError("there was nothing to take")
    log = Log(redis, uid, taken.run, limit=config.logs)
    for line in range(12_000):
        log.write("stdout", f"line {line} of a step that says what it does, with <b>markup</b> & more", step="s1")
    log.flush()
    moments = [datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")] * 2
    state = {"attempts": 1, "started_at": moments[0], "ended_at": moments[1], "input": INPUT, "output": [INPUT] * 8}
    error = {"error": {"class": "ValueError", "message": "no stock of <A1>"}, "traceback": "Traceback …\n" * 30}
    states = {
        step.name: {**state, "status": "failed" if last else "succeeded", **(error if last else {})}
        for step in api.workflow.steps
        for last in [step is api.workflow.steps[-1]]
    }
    fields = {name: json.dumps(state) for name, state in states.items()}
    fields[""] = store.Plan.of(api.workflow).to_json()
    redis.hset(store.STEPS + uid, items=[part for pair in fields.items() for part in pair])
    exchange(Ended(uid, taken.run, outcome.failed("ValueError", "no stock of <A1>")), take=False)
    return uid


def store_rest(redis: Redis) -> None:
    """A queue, workers, and refused calls."""
    reaper.fill(redis, replace(API, workflow=replace(API.workflow, name="noted")), 10_000)
    at = "2026-01-31T12:00:00.000000Z"
    for worker in range(8):
        key = f"{WORKER}{worker:012x}"
        redis.hset(key, items=["queues", "default", "hostname", "bench", "pid", 4000 + worker, "state", "idle"])
        redis.hset(key, items=["birth", at, "last_heartbeat", at, "successful_job_count", 1000])
        redis.sadd(WORKERS, key)
        redis.sadd(f"{WORKERS}:default", key)
    for call in range(KEPT):
        refused = Refused(
            time="2026-01-31T12:00:00.000Z",
            api=f"m{call % MODULES}/a{call % METHODS}",
            reason="requestError.invalidParams",
            message="The input is invalid: sku, count",
            client="192.0.2.7",
            status=400,
            method="POST",
            path=f"/v1/api/m{call % MODULES}/a{call % METHODS}/async",
        )
        redis.rpush(REFUSED, refused.packed())


def pages(plain: str, large: str, records: int) -> Iterator[str]:
    """The paths of all pages, with the queries that cost most."""
    yield from ("/console/sign-in", "/console/apis", "/console/apis?q=module+99", "/console/apis?page=100")
    yield from ("/console/apis/m0/a1", "/console/apis/big/one")
    yield from ("/console/workflows", "/console/workflows/noted", "/console/workflows/stepped")
    middle = f"{1_700_000_000_000 + records // 2 << 40:025d}"
    yield from ("/console/executions", f"/console/executions?cursor={store.query.cursor_of(middle)}")
    for asked in ("status=failed", "status=running", "module=m1&method=a1", "caller=caller3", "caller=rare"):
        yield f"/console/executions?{asked}"
    yield from (f"/console/executions/{plain}", f"/console/executions/{large}", f"/console/executions/{large}/log")
    yield from ("/console/refused", "/console/refused?api=m9&page=2", "/console/system")


@dataclass(frozen=True, slots=True)
class Cost:
    """What a page has cost: its status and bytes, and milliseconds."""

    path: str
    status: int
    size: int
    first: float
    median: float
    slowest: float

    @property
    def fits(self) -> bool:
        return self.status == 200 and self.size < MAX_BYTES and self.median < MAX_MS


def measure(app: Flask, path: str, cookie: str, calls: int) -> Cost:
    """Calls a page so often, after a first time."""
    status, took = 0, []
    body = b""

    def start(line: str, headers: object, _: object = None) -> Callable[[bytes], object]:
        nonlocal status
        status = int(line[:3])
        return lambda _: None

    for _ in range(calls + 1):
        environ = EnvironBuilder(path, headers=[("Cookie", cookie)]).get_environ()
        began = time.perf_counter()
        answer: Iterable[bytes] = app(environ, start)
        body = b"".join(answer)
        took.append((time.perf_counter() - began) * 1e3)
    return Cost(path, status, len(body), took[0], statistics.median(took[1:]), max(took[1:]))


def report(costs: Iterable[Cost]) -> str:
    """The costs as a table."""
    rows = [
        [
            f"`{cost.path}`",
            str(cost.status),
            f"{cost.size:,}",
            *(number(figure) for figure in (cost.first, cost.median, cost.slowest)),
            "yes" if cost.fits else "NO",
        ]
        for cost in costs
    ]
    return table(["", "status", "bytes", "first ms", "median ms", "slowest ms", "fits"], rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--calls", type=int, default=50)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="trigger-console-") as name:
        folder = Path(name)
        (folder / "config.yaml").write_text(config_text())
        (folder / "data").mkdir(mode=0o700)
        server = RedisServer(folder / "data", fsync="no")
        server.prepare()
        with running_redis(server.command, server.url):
            environ = {
                "TRIGGER_CONFIG": str(folder / "config.yaml"),
                "TRIGGER_DATA": str(folder / "data"),
                "REDIS_URL": server.url,
            }
            redis = connect(server.url, reply_timeout=60.0)
            redis.config_set("appendonly", "no")
            config = load(Settings.from_environ(environ).config, environ)
            plain = ended(redis)
            redis.persist(store.JOB + plain)
            fill(redis, plain, 0, options.records, modules=MODULES, methods=METHODS)
            store_figures(redis, config, time.time())
            large = store_large(redis, config)
            store_rest(redis)
            app = create_app(environ)
            cookie = f"trigger_session={Sessions(redis).begin('admin', Secret(PASSWORD))}"
            gc.collect()
            gc.freeze()  # as gunicorn's processes do (gunicorn.conf.py)
            gc.set_threshold(7_000, 10, 10)
            sys.stdout.write(f"{len(config.apis):,} APIs, {redis.zcard(store.INDEX):,} records\n\n")
            costs = [measure(app, path, cookie, options.calls) for path in pages(plain, large, options.records)]
            sys.stdout.write(report(costs) + "\n")
            app.close()
    return 0 if all(cost.fits for cost in costs) else 1


if __name__ == "__main__":
    sys.exit(main())
