"""Fixtures for all tests: a real Redis of our own, never a developer's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis import Redis

from tests.support import OwnRedis


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnRedis]:
    """A Redis for the whole run, without fsync, for speed; tests that kill a Redis start one of their own."""
    with OwnRedis(tmp_path_factory.mktemp("redis"), fsync="no") as server:
        yield server


@pytest.fixture
def redis(redis_server: OwnRedis) -> Iterator[Redis]:
    """A client of it, with nothing stored."""
    client = Redis.from_url(redis_server.url)
    client.flushall()
    yield client
    client.close()
