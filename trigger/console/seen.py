"""The state of the whole service as Redis knows it, and what in it needs somebody."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis import Redis

from trigger.config import Config
from trigger.store.overview import Overview, overview
from trigger.store.queues import Queue, queues
from trigger.store.watermark import memory_limit
from trigger.web.readiness import without_worker

# How many of each a page shows: it stays small, whatever there is.
MAX_QUEUES, MAX_POISONED = 50, 10

PATIENCE = 15.0  # seconds without an owner, of which the reaper takes up to 12.5


@dataclass(frozen=True, slots=True)
class Store:
    """Redis' own figures; sizes in bytes."""

    used: int
    peak: int
    dataset: int
    allowed: int  # its maxmemory, 0 for none
    limit: float  # up to which calls are accepted, 0 when that is not known
    clients: int
    keys: int
    uptime: int  # seconds
    writes: bool  # whether the last write to its append-only file went well

    @classmethod
    def of(cls, info: Mapping[str, Any], keys: int) -> Store:
        """Read them from the answer to INFO."""
        return cls(
            used=info.get("used_memory", 0),
            peak=info.get("used_memory_peak", 0),
            dataset=info.get("used_memory_dataset", 0),
            allowed=info.get("maxmemory", 0),
            limit=memory_limit(info),
            clients=info.get("connected_clients", 0),
            keys=keys,
            uptime=info.get("uptime_in_seconds", 0),
            writes=info.get("aof_last_write_status", "ok") == "ok",
        )


@dataclass(frozen=True, slots=True)
class Seen:
    """The contents of Redis; `kept` is all that is not of one queue."""

    store: Store
    queues: list[Queue]
    kept: Overview

    @classmethod
    def of(cls, redis: Redis, config: Config, known: Sequence[Queue]) -> Seen:
        """Read what is not `known` of the queues, and the rest: one round trip, three where a queue is not known.

        Raises RedisError.
        """
        found = overview(redis, MAX_POISONED)
        names = sorted({*config.queues, *found.queues})[:MAX_QUEUES]
        of_name = {queue.name: queue for queue in known}
        others = [name for name in names if name not in of_name]
        of_name |= {queue.name: queue for queue in (queues(redis, others) if others else ())}
        return cls(Store.of(found.info, found.keys), [of_name[name] for name in names], found)

    def concerns(self, served: tuple[str, ...]) -> Iterator[str]:
        """Yield what needs somebody, though calls are accepted. `served` are the queues that the config has."""
        if self.kept.suspended:
            yield "RQ's workers are suspended: what is accepted waits. `rq resume` ends that."
        if not self.store.writes:
            yield "Redis could not write its append-only file: look at its log and its disk."
        for queue in self.queues:
            if queue.waiting and not queue.workers:
                why = "" if queue.name in served else ", and no workflow of the config names it"
                yield sentence(f"{without_worker(queue)}{why}")
            if queue.oldest_unowned > PATIENCE:
                yield f"In the queue {queue.name} an execution has no owner for {queue.oldest_unowned:.0f} s."


def sentence(text: str) -> str:
    """Return a concern as a page shows it."""
    return f"{text[0].upper()}{text[1:]}."
