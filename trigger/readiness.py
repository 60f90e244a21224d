"""Whether a call can be taken now, and what the one who is woken at night wants to see first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from trigger import executions
from trigger.config import Watcher
from trigger.errors import StartError
from trigger.startup import check_redis
from trigger.watermark import Watermark


@dataclass(frozen=True, slots=True)
class Readiness:
    """The state of the service as one web process sees it; `problems` are the reasons why it can't take calls."""

    config: Mapping[str, Any]
    redis: Mapping[str, Any]
    workers: Mapping[str, int]
    queues: Mapping[str, Any]
    problems: tuple[str, ...]

    @property
    def ready(self) -> bool:
        return not self.problems

    def as_json(self) -> dict[str, Any]:
        """As /readyz shows it, to anybody: no secret, no path, no list of APIs."""
        return {
            "status": "ready" if self.ready else "not ready",
            "problems": list(self.problems),
            "config": self.config,
            "redis": self.redis,
            "workers": self.workers,
            "queues": self.queues,
        }


def state(redis: Redis, watcher: Watcher, watermark: Watermark) -> Readiness:
    """Looks at the config in force, Redis, the workers and the queues. Answers within Redis' reply timeout."""
    config = watcher.current
    refused = watcher.refused
    in_force: dict[str, Any] = {"digest": config.digest[:12], "apis": len(config.apis)}
    if refused:
        # Where and what, without the file's folder.
        in_force["refused"] = [f"{config.path.name}:{m.line}:{m.column}: {m.message}" for m in refused.mistakes[:20]]
    names = sorted({"default"} | {workflow.queue for workflow in config.workflows.values()})
    try:
        durability = str(check_redis(redis))
        workers = {name: _living(redis, name) for name in names}
        queues = {name: _queue(redis, name) for name in names}
        reaper = executions.stats(redis)
    except StartError as error:
        return Readiness(in_force, {"status": "unusable"}, {}, {}, (str(error),))
    except RedisError:
        return Readiness(in_force, {"status": "unreachable"}, {}, {}, ("Redis can't be reached",))
    problems = (watermark.problem,) if watermark.problem else ()
    return Readiness(in_force, {"status": "ok", "durability": durability, **reaper}, workers, queues, problems)


def _living(redis: Redis, queue: str) -> int:
    """How many workers of a queue have beaten lately: their key runs out soon after the last beat."""
    keys = redis.smembers(f"rq:workers:{queue}")
    return redis.exists(*keys) if keys else 0


def _queue(redis: Redis, queue: str) -> dict[str, Any]:
    """A queue's length, how many run, and for how many seconds the oldest execution in the ledger has had no owner."""
    pipeline = redis.pipeline(transaction=False)
    pipeline.llen(f"rq:queue:{queue}")
    pipeline.zcard(f"rq:wip:{queue}")
    pipeline.time()
    pipeline.zrange(executions.leased_key(queue), 0, 0, withscores=True)
    waiting, running, (seconds, _), oldest = pipeline.execute()
    overdue = max(0.0, seconds - oldest[0][1] / 1000) if oldest else 0.0
    return {"waiting": waiting, "running": running, "oldest_without_owner_s": round(overdue, 1)}
