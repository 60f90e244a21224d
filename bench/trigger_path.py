"""The trigger path: calls answered a second and how soon, at 1, 16 and 64 connections, ours beside the peers.

    python -m bench.trigger_path --stacks ours,flask-pipe,rq --rounds 9 --seconds 1

Every stack answers the same call: a header token, a JSON body of 100 bytes. What a peer does less is in stacks.py. All
stacks run all the time, and are called one after the other for a short time each: so they share the machine's moods.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import product

from bench import tables
from bench.session import Session, run
from bench.stage import Durability, Stage, cpu_seconds
from bench.wrk import load

STACKS = (
    *("ours", "before", "flask-const", "flask-pipe", "flask-pipe-gevent"),
    *("rq", "celery", "dramatiq", "huey", "saq", "webhook"),
)
# These are also measured with a Redis that syncs each write.
SYNCED = ("ours", "before", "flask-pipe", "flask-pipe-gevent", "rq")
CONNECTIONS = (1, 16, 64)
WARM_UP = 1  # seconds


def measure(session: Session, stage: Stage, web: subprocess.Popen[bytes], connections: int) -> None:
    """One round of one stack with so many connections."""
    stage.clear()
    used, redis_used = cpu_seconds(web.pid), cpu_seconds(stage.redis_process.pid)
    result = load(stage.port, stage.stack.path, connections, session.seconds, stage.folder)
    used, redis_used = cpu_seconds(web.pid) - used, cpu_seconds(stage.redis_process.pid) - redis_used
    session.add(
        stage.stack,
        f"{stage.durability} c{connections}",
        rps=result.rps,
        p50=result.p50,
        p99=result.p99,
        cpu=used / result.requests * 1e6,
        redis_cpu=redis_used / result.requests * 1e6,
        failed=result.failed,
    )
    stage.clear()


@contextmanager
def _warm_web(stage: Stage) -> Iterator[subprocess.Popen[bytes]]:
    with stage.web() as web:
        load(stage.port, stage.stack.path, 16, WARM_UP, stage.folder)
        stage.clear()
        yield web


def main() -> None:
    session = Session("trigger_path", __doc__ or "", STACKS, rounds=7, seconds=1, program="wrk")
    durabilities: tuple[Durability, ...] = ("none", "always")
    wanted = [
        (durability, connections, stack)
        for durability, connections, stack in product(durabilities, CONNECTIONS, session.stacks)
        if session.wants(f"{durability} c{connections}") and (durability == "none" or stack.name in SYNCED)
    ]
    with ExitStack() as exits:
        running = {}
        for durability, _, stack in wanted:
            if (durability, stack) not in running:
                stage = exits.enter_context(Stage(stack, durability))
                running[durability, stack] = stage, None if stack.lingers else exits.enter_context(_warm_web(stage))
        for durability, connections, stack in session.turns(wanted):
            stage, web = running[durability, stack]
            if web is None:
                with stage.web() as fresh:
                    measure(session, stage, fresh, connections)
            else:
                measure(session, stage, web, connections)
    session.finish(tables.trigger_path)


if __name__ == "__main__":
    run(main)
