"""New calls are refused while there is still room to end the running ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from redis import Redis

from tests.support import OwnRedis
from trigger.store.watermark import Watermark


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[Redis]:
    with OwnRedis(tmp_path / "data") as server:
        yield Redis.from_url(server.url)


def test_a_redis_near_its_maxmemory_is_a_problem_until_there_is_room(own_redis: Redis) -> None:
    mark = Watermark(own_redis, None)

    def seen() -> str | None:
        mark.look()
        return mark.problem

    assert seen() is None
    own_redis.config_set("maxmemory", own_redis.info("memory")["used_memory"] + 1000)
    assert seen() == "Redis' memory is nearly used up"
    own_redis.config_set("maxmemory", "10gb")
    assert seen() is None


def test_a_nearly_full_disk_is_a_problem(own_redis: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(total=100, used=99, free=1))
    mark = Watermark(own_redis, tmp_path)
    mark.look()
    assert mark.problem == "the disk of the private Redis is nearly full"


def test_what_was_seen_last_counts_while_redis_can_not_be_asked(tmp_path: Path) -> None:
    with OwnRedis(tmp_path / "data") as server:
        redis = Redis.from_url(server.url)
        mark = Watermark(redis, None)
        redis.config_set("maxmemory", redis.info("memory")["used_memory"] + 1000)
        mark.look()
    mark.look()
    assert mark.problem == "Redis' memory is nearly used up"
