"""The page of the service itself: what the one who is woken at night looks at first."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from flask import Response, g

from trigger import __version__, executions, readiness
from trigger.config import Config
from trigger.console.page import Pages
from trigger.executions.overview import Overview, Worker, overview, workers
from trigger.executions.queues import Queue, queues
from trigger.service import Service
from trigger.watermark import memory_limit

# How many of each the page shows: it stays small, whatever there is.
MAX_QUEUES, MAX_WORKERS, MAX_POISONED, MAX_MISTAKES, MAX_WARNINGS = 50, 100, 10, 50, 20

_PACKAGES = {"gunicorn": "gunicorn", "RQ": "rq", "redis-py": "redis"}

PATIENCE = 15.0  # seconds without an owner, of which the reaper takes up to 12.5


@dataclass(frozen=True, slots=True)
class Store:
    """What Redis says about itself; sizes in bytes."""

    used: int
    peak: int
    dataset: int
    allowed: int  # its maxmemory, 0 for none
    limit: float  # up to which calls are taken, 0 when that is not known
    clients: int
    keys: int
    uptime: int  # seconds
    writes: bool  # whether the last write to its append-only file went well

    @classmethod
    def of(cls, info: Mapping[str, Any], keys: int) -> Store:
        """From what INFO answers."""
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
    """What is in Redis; `kept` is all that is neither of one queue nor of one worker."""

    store: Store
    queues: list[Queue]
    workers: list[Worker]
    kept: Overview

    def concerns(self, served: tuple[str, ...]) -> Iterator[str]:
        """What needs somebody, though calls are taken. `served` are the queues that the config has."""
        if self.kept.suspended:
            yield "RQ's workers are suspended: what is accepted waits. `rq resume` ends that."
        if not self.store.writes:
            yield "Redis could not write its append-only file: look at its log and its disk."
        for queue in self.queues:
            if queue.waiting and not queue.workers:
                why = "" if queue.name in served else ", and no workflow of the config names it"
                yield f"Nobody works on the queue {queue.name}: {queue.waiting:,} wait in it{why}."
            if queue.oldest_unowned > PATIENCE:
                yield f"In the queue {queue.name} an execution has no owner for {queue.oldest_unowned:.0f} s."


@dataclass(frozen=True, slots=True)
class SystemPage:
    """GET /console/system"""

    service: Service
    pages: Pages
    versions: Mapping[str, str] = field(
        default_factory=lambda: {
            "Trigger": __version__,
            "Python": platform.python_version(),
            **{name: version(package) for name, package in _PACKAGES.items()},
        }
    )

    def __call__(self) -> Response:
        service = self.service
        config: Config = g.config
        state = readiness.state(service.redis, service.watcher, service.watermark)
        # A Redis that has just not answered would have to be waited for again.
        away = state.redis["status"] == "unreachable"
        seen = None if away else executions.unless_away(lambda: self._look(config))
        return self.pages(
            "system.html",
            state=state,
            seen=seen,
            concerns=list(seen.concerns(config.queues)) if seen else [],
            free_disk=service.watermark.free_disk(),
            config=config,
            enabled=sum(api.enabled for api in config.apis.values()),
            since=service.watcher.since,
            mistakes=g.refused_edit.mistakes if g.refused_edit else (),
            versions=self.versions,
            most={
                "queues": MAX_QUEUES,
                "workers": MAX_WORKERS,
                "mistakes": MAX_MISTAKES,
                "warnings": MAX_WARNINGS,
            },
        )

    def _look(self, config: Config) -> Seen:
        redis = self.service.redis
        found = overview(redis, MAX_POISONED)
        names = sorted({*config.queues, *found.queues})
        return Seen(
            store=Store.of(found.info, found.keys),
            queues=queues(redis, names[:MAX_QUEUES]),
            workers=workers(redis),
            kept=found,
        )
