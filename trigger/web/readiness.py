"""Whether a call can be accepted now, and the first things to look at when something is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from trigger import store
from trigger.config import Watcher
from trigger.errors import StartError
from trigger.startup import Durability, check_redis
from trigger.store.queues import Queue, queues
from trigger.store.watermark import Watermark

# Instead of why, which may name a variable of the service.
_UNUSABLE = "Redis can't be used as it is; the page System of the console says why"

# An execution that has waited longer than this for a worker, in seconds, is a problem.
OLD = 60.0


@dataclass(frozen=True, slots=True)
class Readiness:
    """The state of the service as one web process sees it.

    `refusals` are the reasons why it can't take calls; `concerns` what needs somebody though it can. `found` are the
    queues of the config, none where Redis can't be used.
    """

    config: Mapping[str, Any]
    redis: Mapping[str, Any]
    found: Sequence[Queue] = ()
    refusals: tuple[str, ...] = ()
    concerns: tuple[str, ...] = ()
    durability: Durability | None = None  # None where Redis can't be asked

    @property
    def ready(self) -> bool:
        return not self.refusals

    @property
    def problems(self) -> tuple[str, ...]:
        return self.refusals + self.concerns

    def as_json(self) -> dict[str, Any]:
        """As /readyz shows it, to anybody: no secret, no path, no name of an API or a variable."""
        return {
            "status": "ready" if self.ready else "not ready",
            "problems": [_UNUSABLE] if self.redis["status"] == "unusable" else list(self.problems),
            "config": self.config,
            "redis": self.redis,
            "workers": {queue.name: queue.workers for queue in self.found},
            "queues": {queue.name: _shown(queue) for queue in self.found},
        }


def state(redis: Redis, watcher: Watcher, watermark: Watermark) -> Readiness:
    """Look at the config in force, Redis, the workers and the queues. Returns within Redis' reply timeout."""
    config = watcher.current
    refused = watcher.refused
    in_force: dict[str, Any] = {"digest": config.version, "apis": len(config.apis)}
    if refused:
        # Not which: they name files, variables and APIs.
        count = len(refused.mistakes)
        in_force["refused"] = f"{count} mistake{'' if count == 1 else 's'}; the log and the console say which"
    try:
        durability = check_redis(redis)
        found = queues(redis, config.queues)
        reaper = store.stats(redis)
    except StartError as error:
        return Readiness(in_force, {"status": "unusable"}, refusals=(str(error),))
    except RedisError:
        return Readiness(in_force, {"status": "unreachable"}, refusals=("Redis can't be reached",))
    return Readiness(
        in_force,
        {"status": "ok", "durability": str(durability), **reaper},
        found,
        refusals=(watermark.problem,) if watermark.problem else (),
        concerns=tuple(text for _, text in concerns(found)),
        durability=durability,
    )


def concerns(found: Sequence[Queue]) -> Iterator[tuple[str, str]]:
    """Yield what keeps accepted executions waiting: a short name that stays, and a sentence with the figures of now."""
    for queue in found:
        if not queue.workers:
            yield f"no worker {queue.name}", without_worker(queue)
        elif queue.oldest_waiting > OLD:
            yield (
                f"old {queue.name}",
                f"queue {queue.name}: the oldest of {queue.waiting} waiting executions has waited "
                f"{queue.oldest_waiting:.0f} s; {queue.busy} of {queue.workers} workers are busy",
            )


def without_worker(queue: Queue) -> str:
    """Say that a queue has no worker, and how many executions wait in it."""
    wait = "1 execution waits" if queue.waiting == 1 else f"{queue.waiting:,} executions wait"
    return f"queue {queue.name} has no worker{f'; {wait}' if queue.waiting else ''}"


def _shown(queue: Queue) -> dict[str, Any]:
    return {
        "waiting": queue.waiting,
        "running": queue.running,
        "oldest_waiting_s": round(queue.oldest_waiting, 1),
        "oldest_without_owner_s": round(queue.oldest_unowned, 1),
    }
