"""The whole service: killed with all it consists of, and started before its Redis is there.

What else becomes of it when one of its processes dies is in tests/test_make_run.py and in test_chaos.py.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from bench import chaos
from bench.processes import descendants, is_alive
from tests.support import OwnRedis, eventually


@pytest.fixture
def service(tmp_path: Path) -> Iterator[chaos.Service]:
    service = chaos.Service(tmp_path)
    try:
        yield service
    finally:
        service.stop()


def test_after_a_kill_of_everything_the_next_start_runs_all_that_was_accepted(service: chaos.Service) -> None:  # F35
    service.wait_until_ready()
    with closing(chaos.Client(service.port)) as client:
        uids = [client.accept({"seconds": 0.3}, f"{number}").uid for number in range(20)]
    everything = [service.up.pid, *descendants(service.up.pid)]
    for pid in everything:
        os.kill(pid, signal.SIGSTOP)  # so that nobody sees the others die
    for pid in everything:
        os.kill(pid, signal.SIGKILL)
    service.up.wait()
    eventually(lambda: not any(is_alive(pid) for pid in everything))
    service.start()
    service.wait_until_ready()
    eventually(service.is_drained, within=60)
    began, ended = chaos.read_evidence(service.evidence)
    assert ended.keys() == set(uids)
    assert len(service.pids()["redis"]) == 1
    again = {uid for uid, times in began.items() if len(times) > 1}
    assert len(again) <= 2  # what the 2 workers were running when they were killed
    assert all(ended[uid] == 1 for uid in uids if uid not in again)


def status_of_a_call(client: chaos.Client) -> int | None:
    """The status of one call's answer, None while nobody answers."""
    try:
        return client.call({"seconds": 0}).status
    except OSError:
        return None


def test_without_redis_it_starts_refuses_calls_and_takes_them_when_redis_is_there(
    tmp_path: Path, own_redis: OwnRedis
) -> None:  # F33
    own_redis.kill()
    service = chaos.Service(tmp_path, redis_url=own_redis.url)
    client = chaos.Client(service.port)
    try:
        eventually(lambda: status_of_a_call(client))
        assert status_of_a_call(client) == 503
        own_redis.start()
        uid = client.accept({"seconds": 0}, "k").uid
        service.wait_until_ready()
        eventually(lambda: chaos.read_evidence(service.evidence)[1][uid] == 1)
        assert service.up.poll() is None
    finally:
        client.close()
        service.stop()
