"""A worker makes itself known to RQ, also to a Redis that stood still while it did."""

from __future__ import annotations

import pytest
from redis import Redis

from tests.support import CONFIG
from trigger.config import Watcher
from trigger.worker.worker import QueueWorker


def test_an_earlier_birth_that_redis_does_late_does_not_end_the_worker(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher = Watcher(CONFIG, lambda _: CONFIG, lambda _: None, lambda _: None)
    worker = QueueWorker("default", watcher, lambda _: redis, environ={})
    delete = redis.delete

    def delete_before_it_is_done(*keys: str) -> None:
        delete(*keys)
        redis.hset(worker.key, "birth", "now")  # what the call has left whose reply was not waited for any longer

    with monkeypatch.context() as patch:
        patch.setattr(redis, "delete", delete_before_it_is_done)
        worker._register()
    assert not vars(worker)["_registered"]
    worker._register()
    assert vars(worker)["_registered"]
    assert redis.smembers("rq:workers") == {worker.key.encode()}
