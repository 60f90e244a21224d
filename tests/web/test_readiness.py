"""What /readyz says, and the log warns of, when calls are taken but nobody gets to them (found.md 20, 40)."""

from __future__ import annotations

from typing import Any, cast

import pytest
from redis import Redis

from tests.store.conftest import Bench
from tests.support import eventually
from tests.web.conftest import MakeSite
from tests.web.site import CONFIG, Site
from trigger import store
from trigger.web import attendance
from trigger.web.attendance import Attendance

SLOW = CONFIG.replace("  hello: examples.hello:greet\n", "  hello: {python: 'examples.hello:greet', queue: slow}\n")

START = Attendance.start  # that of the app doesn't look while tests do


def ready(site: Site) -> dict[str, Any]:
    answer = site.call("/readyz", "GET")
    assert answer.status_code == 200
    found: dict[str, Any] = answer.get_json()["response"]
    assert found["status"] == "ready"
    return found


def has_worker(redis: Redis, queue: str = "default", state: str = "idle") -> None:
    """As RQ registers one."""
    redis.hset(f"rq:worker:{queue}", "state", state)
    redis.sadd(f"rq:workers:{queue}", f"rq:worker:{queue}")


def wait_in_queue(redis: Redis, seconds: float) -> None:
    """Makes all that waits older."""
    key = store.waiting_key("default")
    for uid in cast(list[bytes], redis.zrange(key, 0, -1)):
        redis.zincrby(key, -seconds * 1000, uid)


def test_a_queue_that_nobody_serves_is_a_problem(make_site: MakeSite, redis: Redis) -> None:
    site = make_site(SLOW)
    has_worker(redis)
    assert ready(site)["problems"] == ["queue slow has no worker"]
    assert site.call("open/any").status_code == 202
    assert ready(site)["problems"] == ["queue slow has no worker; 1 execution waits"]
    has_worker(redis, "slow")
    assert ready(site)["problems"] == []


def test_the_age_of_the_oldest_waiting_execution_is_shown_and_a_great_one_is_a_problem(
    site: Site, redis: Redis
) -> None:
    bench = Bench(redis)
    has_worker(redis, state="busy")
    assert ready(site)["queues"]["default"]["oldest_waiting_s"] == 0.0
    for _ in range(30):
        bench.accept()
    wait_in_queue(redis, 50)
    assert 50 <= ready(site)["queues"]["default"]["oldest_waiting_s"] < 60
    assert ready(site)["problems"] == []
    wait_in_queue(redis, 50)
    (problem,) = ready(site)["problems"]
    assert problem.startswith("queue default: the oldest of 30 waiting executions has waited 10")
    assert problem.endswith(" s; 1 of 1 workers are busy")


def test_all_web_processes_together_warn_once(
    site: Site, redis: Redis, log: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attendance, "PATIENCE", 0.0)
    processes = [Attendance(redis, site.watcher) for _ in range(2)]
    for _ in range(3):
        for process in processes:
            process.look()
    assert [line.partition("web: ")[2] for line in log] == ["queue default has no worker"]


def test_a_queue_without_a_worker_for_a_moment_is_not_worth_a_warning(site: Site, redis: Redis, log: list[str]) -> None:
    process = Attendance(redis, site.watcher)
    process.look()
    has_worker(redis)
    process.look()
    assert log == []


def test_it_looks_again_and_again(site: Site, redis: Redis, log: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attendance, "PATIENCE", 0.1)
    monkeypatch.setattr(attendance, "INTERVAL", 0.05)
    process = Attendance(redis, site.watcher)
    START(process)
    try:
        eventually(lambda: log)
    finally:
        process.stop()
