"""Cancels a workflow at random moments of its life, and looks for what should not be: two ends, or a process left.

    python -m bench.cancelling --times 500

A real worker runs workflows with steps, of which one ignores SIGTERM and starts processes in sessions of their own, and
plain ones. Each execution is cancelled at a random moment, by one caller or two at once. Prints how many ended how, how
long the slowest took to end, and exits 1 when an execution had no final status, more than one, or left a process.
"""

from __future__ import annotations

import argparse
import random
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from bench.reaper import CONFIG
from bench.stacks import BY_NAME
from bench.stage import Stage
from trigger import store
from trigger.config.model import Api, NoAuth, Workflow
from trigger.errors import ExecutionEnded
from trigger.store import acts
from trigger.store.queueing import Call, Submitter

PATIENCE = 30.0
# What the processes that steps start are known by: how long they would sleep.
TOKEN = f"86{random.randrange(10**6):06}"

WORK = f"""
import subprocess, time


def short(**more):
    time.sleep(0.02)


def plain(value):
    subprocess.run(["sleep", "0.05"])
    time.sleep(0.05)


def leaves(**more):
    subprocess.Popen(["setsid", "sleep", "{TOKEN}"])
    time.sleep(0.03)
"""

STEPPED = f"""
cancel_grace: 1s
workflows:
  plain: cancel_work:plain
  steps:
    steps:
      - {{name: a, python: "cancel_work:short", with: {{}}}}
      - {{name: b, python: "cancel_work:leaves", with: {{}}}}
      - {{name: c, run: [sh, -c, 'trap "" TERM; (setsid sleep {TOKEN} >&- 2>&- &); sleep 0.06']}}
      - {{name: d, python: "cancel_work:short", with: {{}}, retry: {{attempts: 2}}}}
  deaf:
    steps:
      - {{name: a, run: [sh, -c, 'trap "" TERM; (setsid sleep {TOKEN} &); sleep 60; sleep 60']}}
  wide:
    steps:
      - {{name: a, python: "cancel_work:leaves", with: {{}}, needs: []}}
      - {{name: b, run: [sleep, "0.05"], needs: []}}
      - {{name: c, python: "cancel_work:short", with: {{}}, needs: [a, b]}}
"""


def left() -> list[str]:
    """The processes that steps have started and that are still there."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if TOKEN.encode() in words and words[0].endswith(b"sleep"):
            found.append(path.parent.name)
    return found


def cancel(stage: Stage, uid: str) -> None:
    try:
        acts.cancel(stage.redis, uid, "ada")
    except ExecutionEnded:
        pass


def one(stage: Stage, name: str, moment: float) -> tuple[str, float, list[str]]:
    """Runs and cancels one execution: how it ended, how many seconds that took, and what is wrong."""
    api = Api("bench", name, NoAuth(), Workflow(name=name, python=None, timeout=60))
    uid = Submitter(stage.redis).submit(Call(api, {}, None), CONFIG).uid
    time.sleep(moment)
    second = threading.Thread(target=cancel, args=[stage, uid]) if random.random() < 0.3 else None
    if second:
        second.start()
    began = time.monotonic()
    cancel(stage, uid)
    if second:
        second.join()
    record = store.read(stage.redis, uid)
    while record is None or record.status not in store.FINAL:
        if time.monotonic() - began > PATIENCE:
            return "none", PATIENCE, [f"{uid} has no final status"]
        time.sleep(0.005)
        record = store.read(stage.redis, uid)
    took = time.monotonic() - began
    wrong = [f"{uid} has left the process {pid}" for pid in left()]
    if record.status not in (store.Status.SUCCEEDED, store.Status.CANCELLED):
        wrong.append(f"{uid} is {record.status}: {record.error}")
    return str(record.status), took, wrong


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.cancelling", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--times", type=int, default=500, help="(%(default)s)")
    times: int = parser.parse_args().times
    ends: Counter[str] = Counter()
    finals: dict[str, Any] = {}
    wrong: list[str] = []
    slowest = 0.0
    with Stage(BY_NAME["ours"], "none", config=STEPPED) as stage:
        (stage.folder / "cancel_work.py").write_text(WORK)
        with stage.workers():
            for _ in range(times):
                name = random.choice(["plain", "steps", "steps", "wide", "deaf"])
                end, took, found = one(stage, name, random.uniform(0, 0.3))
                ends[end] += 1
                slowest = max(slowest, took)
                wrong += found
            for uid in (member.decode() for member in stage.redis.zrange(store.INDEX, 0, -1)):  # type: ignore[union-attr]
                finals[uid] = store.read(stage.redis, uid)
                if stage.redis.xlen(store.RESULTS + uid) > 1:
                    wrong.append(f"{uid} has ended more than once")
            time.sleep(2)
            wrong += [f"{uid} has changed" for uid, final in finals.items() if store.read(stage.redis, uid) != final]
            ledger = stage.redis.zcard(store.leased_key("default"))
            wrong += ["the ledger is not empty"] if ledger else []
    sys.stdout.write(f"{times} executions: {dict(ends)}; the slowest ended {slowest:.2f} s after it was cancelled\n")
    sys.stdout.writelines(f"  {line}\n" for line in wrong)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
