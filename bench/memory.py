"""Memory of the whole idle service, Redis included, by PSS; and the time until ours is ready.

    python -m bench.memory --stacks ours,rq --rounds 3

Ours is `python -m trigger up` with the shipped config: Redis, two web processes, two workers with their children, and
what supervises them. A peer is its web with two processes, two worker processes, and the same Redis.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench import tables
from bench.processes import command, descendants
from bench.session import Session, run
from bench.stacks import Stack
from bench.stage import Stage, free_port, stop
from bench.venvs import BENCH

STACKS = ("ours", "rq", "celery", "dramatiq", "huey", "saq")
CASE = "idle"
WORKERS = 2
SETTLE = 2.0  # seconds from being ready to being looked at
READY = "Trigger is ready"
PATIENCE = 60.0


def pss(pid: int) -> float:
    """The proportional set size of a process, in MiB (proc(5), smaps_rollup); 0 when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def measure_peer(session: Session, stack: Stack) -> None:
    """One round of a peer."""
    with Stage(stack, "always") as stage, stage.web() as web, stage.workers(WORKERS) as workers:
        stage.wait_for_effects(1, workers[0])  # of the call that found the web ready
        time.sleep(SETTLE)
        redis = pss(stage.redis_process.pid)
        of_web = _tree(web.pid)
        of_workers = sum(_tree(worker.pid) for worker in workers)
    session.add(stack, CASE, pss=redis + of_web + of_workers, redis=redis, web=of_web, workers=of_workers)


def measure_ours(session: Session, stack: Stack) -> None:
    """One round of ours."""
    with tempfile.TemporaryDirectory(prefix="trigger-bench-") as name:
        folder = Path(name)
        (folder / "config.yaml").write_bytes((BENCH.parent / "config.yaml").read_bytes())
        (folder / "examples").symlink_to(BENCH.parent / "examples")
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        log = folder / "log"
        with log.open("wb") as output:
            started = time.monotonic()
            up = subprocess.Popen(
                [sys.executable, "-m", "trigger", "up"],
                env={
                    **kept,
                    "TRIGGER_CONFIG": str(folder / "config.yaml"),
                    "TRIGGER_DATA": str(folder / "data"),
                    "TRIGGER_BIND": f"127.0.0.1:{free_port()}",
                },
                cwd=BENCH.parent,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            while READY not in log.read_text():
                if up.poll() is not None or time.monotonic() > started + PATIENCE:
                    raise RuntimeError(f"the service did not become ready\n{log.read_text()}")
                time.sleep(0.005)
            ready = time.monotonic() - started
            time.sleep(SETTLE)
            roles = dict.fromkeys(("redis", "web", "workers", "rest"), 0.0)
            for pid in (up.pid, *descendants(up.pid)):
                roles[_role(command(pid))] += pss(pid)
        finally:
            stop(up, 30)
    session.add(stack, CASE, pss=sum(roles.values()), **roles, ready=ready)


def _tree(pid: int) -> float:
    return sum(map(pss, (pid, *descendants(pid))))


def _role(line: str) -> str:
    """What a process of ours is, by its command line."""
    for role, marks in (("redis", ("redis", "valkey")), ("workers", ("trigger worker",)), ("web", ("gunicorn", "web"))):
        if any(mark in line for mark in marks):
            return role
    return "rest"


def main() -> None:
    session = Session("memory", __doc__ or "", STACKS)
    for stack in session.turns(session.stacks):
        if stack.name == "ours":
            measure_ours(session, stack)
        else:
            measure_peer(session, stack)
    session.finish(tables.memory)


if __name__ == "__main__":
    run(main)
