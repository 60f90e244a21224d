"""A warning in the log when accepted executions wait because nobody works on their queue, or not enough."""

from __future__ import annotations

import logging
import threading
import time

from redis import Redis
from redis.exceptions import RedisError

from trigger.config import Watcher
from trigger.store.queues import is_first_to_say, queues
from trigger.web.readiness import concerns

logger = logging.getLogger("trigger.web")

# Seconds between two looks.
INTERVAL = 2.5
# For so long it must have been so: at a start, and while workers are replaced, there are none for a moment.
PATIENCE = 10.0


class Attendance:
    """Looks at the queues of the config in force, in a thread of its own. Of all web processes one warns, once."""

    def __init__(self, redis: Redis, watcher: Watcher) -> None:
        self._redis = redis
        self._watcher = watcher
        self._since: dict[str, float] = {}
        self._end = threading.Event()

    def start(self) -> None:
        """Look again and again until `stop`."""
        threading.Thread(target=self._run, name="attendance", daemon=True).start()

    def stop(self) -> None:
        """Look no more."""
        self._end.set()

    def look(self) -> None:
        """Look once. A Redis that can't be asked is somebody else's to warn of."""
        now = time.monotonic()
        try:
            found = dict(concerns(queues(self._redis, self._watcher.current.queues)))
            self._since = {name: self._since.get(name, now) for name in found}
            for name, text in found.items():
                if now - self._since[name] >= PATIENCE and is_first_to_say(self._redis, name):
                    logger.warning("%s", text)
        except RedisError:
            pass

    def _run(self) -> None:
        while not self._end.wait(INTERVAL):
            self.look()
