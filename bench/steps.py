"""What a step costs beside its own work: a workflow of 20 steps, against the same callables called one after the other.

    python -m bench.steps --executions 40

A real worker runs the workflow, with a Redis that does not sync. Prints for python steps and for run steps the median
of an execution's time (from when it was taken to its end, by Redis' clock) per step, that of calling the same directly,
and the difference: our own time. Wanted are at most 3 ms.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime
from typing import cast

from bench.reaper import CONFIG
from bench.stacks import BY_NAME
from bench.stage import Stage
from trigger import store
from trigger.config.model import Api, NoAuth, Workflow
from trigger.store.queueing import Call, Submitter

STEPS = 20
WANTED = 3.0  # ms

WORK = '''
def count(n, before):
    """What a step may do: a little, and what it puts out is used by the next."""
    return {"n": n + 1, "before": before}
'''

PYTHON = """
      - {{name: s{n}, python: "steps_work:count", with: {{n: {value}, before: "{{{{ input.text }}}}"}}}}"""
RUN = """
      - {{name: s{n}, run: ["true"]}}"""


def config() -> str:
    """Two workflows of STEPS steps each."""
    values = ["0", *(f'"{{{{ steps.s{n}.output.n }}}}"' for n in range(STEPS - 1))]
    python = "".join(PYTHON.format(n=n, value=value) for n, value in enumerate(values))
    run = "".join(RUN.format(n=n) for n in range(STEPS))
    return f"\nworkflows:\n  python:\n    steps:{python}\n  run:\n    steps:{run}\n"


def in_worker(stage: Stage, workflow: str, count: int) -> list[float]:
    """How long each of so many executions takes, in ms for one step."""
    submitter = Submitter(stage.redis)
    api = Api("bench", workflow, NoAuth(), Workflow(name=workflow, python=None, timeout=60))
    took = []
    for _ in range(count):
        uid = submitter.submit(Call(api, {"text": "x" * 74}, None), CONFIG).uid
        while (record := store.read(stage.redis, uid)) is None or record.status not in store.FINAL:
            time.sleep(0.005)
        if record.status is not store.Status.SUCCEEDED:
            raise RuntimeError(f"the workflow {workflow} is {record.status}: {record.error}\n{stage.last_words()}")
        fields = cast(list[bytes], stage.redis.hmget(store.JOB + uid, "started_at", "ended_at"))
        began, ended = (datetime.strptime(field.decode(), "%Y-%m-%dT%H:%M:%S.%f%z") for field in fields)
        took.append((ended - began).total_seconds() * 1000 / STEPS)
    return took


def directly(call: Callable[[], object], count: int) -> list[float]:
    """How long STEPS calls take, in ms for one, so many times."""
    took = []
    for _ in range(count):
        began = time.perf_counter()
        for _ in range(STEPS):
            call()
        took.append((time.perf_counter() - began) * 1000 / STEPS)
    return took


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.steps", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--executions", type=int, default=40, help="of each workflow (%(default)s)")
    count: int = parser.parse_args().executions
    names: dict[str, Callable[..., object]] = {}
    exec(WORK, names)
    calls: dict[str, Callable[[], object]] = {
        "python": lambda: names["count"](1, "x" * 74),
        "run": lambda: subprocess.run(["true"], stdin=subprocess.DEVNULL, capture_output=True, check=True),
    }
    with Stage(BY_NAME["ours"], "none", config=config()) as stage:
        (stage.folder / "steps_work.py").write_text(WORK)
        with stage.workers():
            for name, call in calls.items():
                in_worker(stage, name, 3)  # the first ones compile templates
                ours, plain = in_worker(stage, name, count), directly(call, count)
                own = statistics.median(ours) - statistics.median(plain)
                sys.stdout.write(
                    f"{name:<7} {STEPS} steps: {statistics.median(ours):.2f} ms per step (best {min(ours):.2f}), "
                    f"called directly {statistics.median(plain):.3f} ms: {own:.2f} ms of our own"
                    f"{'' if name != 'python' or own <= WANTED else f', more than {WANTED:g}'}\n"
                )
                sys.stdout.flush()


if __name__ == "__main__":
    main()
