"""The worker: jobs a second of one process, from the first job's effect to the last one's, ours beside the peers.

    python -m bench.worker_rate --stacks ours,rq,celery --rounds 3 --seconds 4

Jobs that do nothing are queued before the worker starts. The burst is Windmill's public benchmark: 40 times fibo(10)
queued at once for a worker that waits, until all are done.
"""

from __future__ import annotations

import random
import statistics
import time
from itertools import product

from bench import tables
from bench.session import Session, run
from bench.stacks import Stack
from bench.stage import Durability, Stage, cpu_seconds

STACKS = ("ours", "before", "rq", "rq-simple", "celery", "dramatiq", "huey", "saq")
SYNCED = ("ours", "before", "rq", "celery")  # also measured with a Redis that syncs each write
BURSTING = ("ours", "rq", "celery", "dramatiq", "huey", "saq")
BURST = 40
BURSTS = 10  # in a round, of which the median counts
FEWEST = 100


def noop(session: Session, stack: Stack, durability: Durability, pace: float) -> float:
    """One round of one stack with jobs that do nothing; answers how many a second it did."""
    count = max(FEWEST, int(pace * session.seconds))
    with Stage(stack, durability) as stage:
        stage.preload(count)
        with stage.workers() as (worker,):
            stage.wait_for_effects(1, worker, 0.001)
            used, redis_used = cpu_seconds(worker.pid), cpu_seconds(stage.redis_process.pid)
            done = stage.effect_count()
            stage.wait_for_effects(count, worker)
            used, redis_used = cpu_seconds(worker.pid) - used, cpu_seconds(stage.redis_process.pid) - redis_used
        effects = stage.effects()
    times = [moment for _, moment in effects]
    rate = (len(times) - 1) / (max(times) - min(times)) * 1e9
    session.add(
        stack,
        f"{durability} noop",
        rate=rate,
        cpu=used / (count - done) * 1e6,
        redis_cpu=redis_used / (count - done) * 1e6,
        doubled=len(effects) - len({number for number, _ in effects}),
    )
    return rate


def burst(session: Session, stack: Stack) -> None:
    """One round of one stack with bursts."""
    took = []
    with Stage(stack, "none") as stage, stage.workers() as (worker,), stage.front("fibo", BURST) as front:
        assert front.stdin
        assert front.stdout
        for number in range(BURSTS + 1):
            front.stdin.write("go\n")
            front.stdin.flush()
            began = int(front.stdout.readline())
            stage.wait_for_effects(BURST * (number + 1), worker, 0.001)
            if number:  # the first one waits for the worker's start
                took.append((max(moment for _, moment in stage.effects()[-BURST:]) - began) / 1e6)
            time.sleep(random.uniform(0.1, 0.2))  # it waits again
        front.stdin.close()
    session.add(stack, "none burst", took=statistics.median(took))


def main() -> None:
    session = Session("worker_rate", __doc__ or "", STACKS)
    pace: dict[tuple[str, str], float] = {}
    durabilities: tuple[Durability, ...] = ("none", "always")
    cases = [
        (stack, durability, kind)
        for kind, durability, stack in product(("noop", "burst"), durabilities, session.stacks)
        if session.wants(f"{durability} {kind}")
        and (kind == "noop" or (durability == "none" and stack.name in BURSTING))
        and (durability == "none" or stack.name in SYNCED)
    ]
    for stack, durability, kind in session.turns(cases):
        if kind == "burst":
            burst(session, stack)
        else:
            key = (stack.name, durability)
            pace[key] = noop(session, stack, durability, pace.get(key, stack.pace))
    session.finish(tables.worker_rate)


if __name__ == "__main__":
    run(main)
