"""Refusing new calls while there is still room to end those that run: in Redis' memory and on the private Redis' disk.

A Redis that reaches its maxmemory takes no writes any more, and one that can't write its append-only file stops.
Accepting ends before that.
"""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from trigger.errors import QueueUnavailable
from trigger.kept_files import FREE_DISK

logger = logging.getLogger("trigger.watermark")

# How much of Redis' maxmemory may be used, and of the machine's memory where there is no maxmemory.
OF_MAXMEMORY = 0.9
OF_MACHINE = 0.75
# Seconds between two looks.
INTERVAL = 1.0


class Watermark:
    """Looks at memory and disk in a thread of its own, so that a call only has to ask.

    `data` is the folder of the private Redis, None when Redis is somebody else's and its disk can't be seen.
    """

    def __init__(self, redis: Redis, data: Path | None) -> None:
        self._redis = redis
        self._data = data
        self._problem: str | None = None

    @property
    def problem(self) -> str | None:
        """Why no call should be taken now, None while all is well."""
        return self._problem

    def check(self) -> None:
        """Raises QueueUnavailable when no call should be taken now."""
        if self._problem:
            raise QueueUnavailable("The queue takes no calls now; try again later", headers={"Retry-After": "10"})

    def start(self) -> None:
        """Looks once, and then again and again until the process ends."""
        self.look()
        threading.Thread(target=self._run, name="watermark", daemon=True).start()

    def look(self) -> None:
        """Looks once. While Redis or the disk can't be asked, what was seen last counts."""
        try:
            problem = self._memory() or self._disk()
        except (RedisError, OSError):
            return
        if problem != self._problem:
            if problem:
                logger.error("calls are refused: %s", problem)
            else:
                logger.info("calls are taken again")
        self._problem = problem

    def _run(self) -> None:
        pause = threading.Event()
        while not pause.wait(INTERVAL):
            self.look()

    def free_disk(self) -> int | None:
        """How many bytes are free where the private Redis writes; None where there is no such place to look at."""
        try:
            return None if self._data is None else shutil.disk_usage(self._data).free
        except OSError:
            return None

    def _memory(self) -> str | None:
        seen = self._redis.info("memory")
        limit = memory_limit(seen)
        if limit and seen["used_memory"] > limit:
            return "Redis' memory is nearly used up"
        return None

    def _disk(self) -> str | None:
        if self._data is not None and shutil.disk_usage(self._data).free < FREE_DISK:
            return "the disk of the private Redis is nearly full"
        return None


def memory_limit(seen: Mapping[str, Any]) -> float:
    """Up to how many bytes of Redis' memory calls are taken, by what its INFO says; 0 when it does not say."""
    allowed: int = seen.get("maxmemory", 0)
    return allowed * OF_MAXMEMORY if allowed else seen.get("total_system_memory", 0) * OF_MACHINE
