"""From the call to the first line of the workflow, on an idle system: one call after the other, 20 to 50 ms apart.

    python -m bench.latency --stacks ours,rq --rounds 3

Times are in milliseconds, from just before the call is sent to the clock's reading in the job's first line.
"""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import time
from contextlib import ExitStack, closing

from bench import tables
from bench.session import Session, run
from bench.stacks import Stack
from bench.stage import FIRST, INPUT, Stage

STACKS = ("ours", "rq", "celery", "dramatiq", "huey", "saq", "webhook")
CASE = "none idle"
CALLS = 200
WARM_UP = 10
PAUSE = (0.02, 0.05)


def measure(session: Session, stack: Stack) -> None:
    """One round of one stack."""
    with ExitStack() as exits:
        stage = exits.enter_context(Stage(stack, "none"))
        exits.enter_context(stage.web())
        worker: subprocess.Popen[bytes] | None = None
        if stack.worker:
            (worker,) = exits.enter_context(stage.workers())
            stage.wait_for_effects(1, worker)  # of the call that found the web ready
        stage.clear()
        connection = exits.enter_context(closing(stage.connection()))
        rng = random.Random(1)
        sent, answered, began = {}, [], {}
        for number in range(FIRST, FIRST + WARM_UP + CALLS):
            body = json.dumps({**INPUT, "n": number}).encode()
            sent[number] = time.time_ns()
            content = stage.call(connection, stack.timed_path, body)
            answered.append(time.time_ns() - sent[number])
            if worker is None:
                began[number] = int(content)  # the program that is started says when
            time.sleep(rng.uniform(*PAUSE))
        if worker is not None:
            stage.wait_for_effects(WARM_UP + CALLS, worker)
            began = dict(stage.effects())
    took = [(began[number] - sent[number]) / 1e6 for number in sorted(sent)[WARM_UP:]]
    centiles = statistics.quantiles(took, n=100, method="inclusive")
    acknowledged = statistics.median(answered[WARM_UP:]) / 1e6
    session.add(stack, CASE, p50=centiles[49], p95=centiles[94], p99=centiles[98], answer=acknowledged)


def main() -> None:
    session = Session("latency", __doc__ or "", STACKS)
    for stack in session.turns(session.stacks):
        measure(session, stack)
    session.finish(tables.latency)


if __name__ == "__main__":
    run(main)
