"""`python -m trigger worker` that kills itself at one point of its work: `python -m tests.faults.faulty_worker`.

FAULT_POINT names the point, one of POINTS. It is reached when the file FAULT_FUSE exists, which is removed then: so it
fires once, and when the test says so. FAULT_SCOPE is who dies, `self` or `both` (the worker and all of its processes).
FAULT_TIMING replaces some of the worker's clocks, as JSON; FAULT_RETENTION, in seconds, may be shorter than a config
allows; FAULT_PATIENCE is the longest that a reply of Redis is waited for; FAULT_QUEUE is the queue it serves.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from bench.processes import descendants
from trigger import cli, config, inforce
from trigger.store import queueing
from trigger.worker import worker
from trigger.workflows.journal import Journal

Wrapped = Callable[..., Any]


def die() -> None:
    """SIGKILLs this process, and all below it too where FAULT_SCOPE says so; once for each fuse."""
    try:
        os.unlink(os.environ["FAULT_FUSE"])
    except FileNotFoundError:
        return
    if os.environ.get("FAULT_SCOPE") == "both":
        for pid in descendants(os.getpid()):
            os.kill(pid, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def before(method: Wrapped) -> Wrapped:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        die()
        return method(*args, **kwargs)

    return wrapper


def after(method: Wrapped) -> Wrapped:
    """After the method has come to something: a `take` that found nothing does not count."""

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        answer = method(*args, **kwargs)
        if answer is not NOTHING.get(method.__name__, ...):
            die()
        return answer

    return wrapper


NOTHING: dict[str, Any] = {"_take": False}

POINTS: dict[str, tuple[type, str, Callable[[Wrapped], Wrapped]]] = {
    "before take": (worker.QueueWorker, "_take", before),
    "after take": (worker.QueueWorker, "_take", after),
    "before end": (worker.QueueWorker, "_end", before),
    "after end": (worker.QueueWorker, "_end", after),
    "before save": (Journal, "call", before),
    "after save": (Journal, "call", after),
    "before beat": (worker.QueueWorker, "_send_beat", before),
    "after beat": (worker.QueueWorker, "_send_beat", after),
    "before free": (worker.QueueWorker, "_free", before),
    "after free": (worker.QueueWorker, "_free", after),
    "before reap": (worker.QueueWorker, "_reap", before),
    "after reap": (worker.QueueWorker, "_reap", after),
}


def main() -> None:
    if point := os.environ.get("FAULT_POINT"):
        owner, name, wrap = POINTS[point]
        setattr(owner, name, wrap(getattr(owner, name)))
    chosen = worker.Clocks(**json.loads(os.environ.get("FAULT_TIMING", "{}")))
    worker.Clocks = lambda **_: chosen  # type: ignore[misc,assignment]
    if patience := os.environ.get("FAULT_PATIENCE"):
        connect = queueing.connect

        def connect_impatiently(url: str, *, reply_timeout: float) -> Any:
            return connect(url, reply_timeout=min(reply_timeout, float(patience)))

        vars(queueing)["connect"] = connect_impatiently
    if retention := os.environ.get("FAULT_RETENTION"):
        load = config.load

        def load_shorter(*args: Any, **options: Any) -> config.Config:
            return dataclasses.replace(load(*args, **options), retention=float(retention))

        vars(inforce)["load"] = load_shorter
    sys.argv[1:] = ["worker", "--queue", os.environ.get("FAULT_QUEUE", "default")]
    cli.main()


if __name__ == "__main__":
    main()
