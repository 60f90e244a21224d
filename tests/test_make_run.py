"""The whole service from outside: what `make run` runs, called with curl as the README does."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests.programs import free_port
from tests.running import COMMAND, REDIS, UID, WEB, WEB_CHILD, WORKER, WORKER_CHILD, Running, is_running, starting
from tests.support import ROOT, OwnRedis, eventually


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    with starting(tmp_path) as start:
        yield start


TOKEN = ["-H", "token:123456"]
PASSWORD = ["-H", "user:iolinker", "-H", "password:123456"]


def refusal(code: str, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message}}


def test_the_lines_of_the_readme_get_the_answers_it_shows(start: Callable[[], Running]) -> None:
    service = start()
    open_ = service.uid("-d", "{}", "/v1/api/iolinker/test/async")
    assert service.curl("/v1/api/admin/test/async") == refusal("requestError.invalidParams", "Token is required")
    token = service.uid("-Htoken:123456", "/v1/api/admin/test/async")
    assert service.curl("/v1/api/admin/report/async") == refusal(
        "requestError.invalidParams", "User/Password is required"
    )
    password = service.uid("-Huser:iolinker", "-Hpassword:123456", "/v1/api/admin/report/async")
    assert service.curl("/v1/api/iolinker/draft/async") == refusal("requestError.apiNotEnabled", "API is not enabled")
    assert service.curl("-Htoken:wrong", "/v1/api/admin/test/async") == refusal(
        "requestError.unauthorized", "Token is invalid"
    )

    service.succeeds(open_)
    service.succeeds(token, *TOKEN)
    service.succeeds(password, *PASSWORD)
    assert service.record(token)["error"]["code"] == "requestError.executionNotFound"  # without the token


def test_it_says_where_it_is_how_to_call_it_and_how_to_stop_it(start: Callable[[], Running]) -> None:
    service = start()
    assert f"Trigger is ready on {service.address}" in service.said
    assert re.search(r"AOF on, fsync always: an answered call survives a crash and a power cut", service.said)
    lines = [line.strip() for line in service.said.splitlines() if line.strip().startswith("curl ")]
    assert len(lines) == 3
    for line in lines:
        done = subprocess.run(["/bin/sh", "-c", line], capture_output=True, text=True, timeout=30)
        assert UID.search(done.stdout), (line, done)


def test_a_log_for_machines_has_nothing_but_objects_and_no_link_that_signs_in(start: Callable[..., Running]) -> None:
    """found.md 43"""
    service = start(TRIGGER_LOG="json")
    service.succeeds(service.uid("-d", "{}", "/v1/api/iolinker/test/async"))
    assert service.stop() == 0
    entries = [json.loads(line) for line in service.log.read_text().splitlines()]
    assert all(entry.keys() >= {"time", "level", "logger", "event"} for entry in entries)
    (ready,) = [entry for entry in entries if "ready" in entry["event"]]
    assert ready["event"] == f"Trigger is ready on {service.address}"
    assert ready["address"] == service.address
    assert ready["console"] == f"{service.address}/console/"
    assert ready["password_file"] == str(service.folder / "data/admin.password")
    assert "key=" not in service.log.read_text()


def test_a_start_warns_of_nothing_also_not_after_a_crash(start: Callable[[], Running]) -> None:
    first = start()
    assert " INFO " in first.said
    assert " WARNING " not in first.said
    first.kill()  # its Redis leaves the socket, where nothing listens any more
    assert " WARNING " not in start().said


@pytest.mark.parametrize(("number", "group"), [(signal.SIGTERM, False), (signal.SIGINT, True)], ids=["TERM", "Ctrl-C"])
def test_a_stop_is_clean_and_leaves_no_process(
    start: Callable[[], Running], number: signal.Signals, group: bool
) -> None:
    service = start()
    assert len(service.processes()) >= 8  # Redis, gunicorn and its two, two workers with a child each
    assert service.stop(number, group=group) == 0
    assert "Traceback" not in service.log.read_text()
    assert " ERROR " not in service.log.read_text()


def test_a_second_run_goes_on_with_the_queue_and_the_records_of_the_first(start: Callable[[], Running]) -> None:
    first = start()
    done = first.uid("-d", "{}", "/v1/api/iolinker/test/async")
    first.succeeds(done)
    for worker in [pid for pid, (_, command) in first.processes().items() if "worker --" in command]:
        os.kill(worker, signal.SIGSTOP)  # so that what comes now stays in the queue
    waiting = first.uid("-d", "{}", "/v1/api/iolinker/test/async")
    first.kill()
    second = start()
    assert second.record(done)["status"] == "succeeded"
    second.succeeds(waiting)
    assert second.stop() == 0


@pytest.mark.parametrize("kind", [REDIS, WEB, WEB_CHILD, WORKER, WORKER_CHILD])
def test_kill_9_of_any_process_loses_no_uid_that_was_given_out(start: Callable[[], Running], kind: str) -> None:
    service = start()
    uids = [service.uid("-d", "{}", "/v1/api/iolinker/test/async") for _ in range(20)]
    victim = service.pid(kind)
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: not is_running(victim))

    def called() -> str | None:
        try:
            return service.uid("-d", "{}", "/v1/api/iolinker/test/async")
        except (ConnectionError, KeyError):  # refused, or 503, until it is back
            return None

    uids += [eventually(called) or "" for _ in range(5)]
    for uid in uids:
        service.succeeds(uid)
    eventually(lambda: service.pid(kind) != victim)
    assert service.stop() == 0


def test_kill_9_of_the_supervisor_takes_all_with_it_and_the_next_run_has_one_redis(
    start: Callable[[], Running],
) -> None:
    first = start()
    uids = [first.uid("-d", "{}", "/v1/api/iolinker/test/async") for _ in range(20)]
    family = first.processes()
    first.process.kill()
    first.process.wait()
    second = start()  # at once, while the old processes may still be about to die
    assert not any(is_running(pid) for pid in family)
    assert sum("-server" in command for _, command in second.processes().values()) == 1
    for uid in uids:
        second.succeeds(uid)
    assert second.stop() == 0


def test_a_second_instance_on_the_same_data_is_refused_and_harms_nothing(start: Callable[[], Running]) -> None:
    service = start()
    second = subprocess.run(
        COMMAND,
        cwd=ROOT,
        env={
            **os.environ,
            "TRIGGER_CONFIG": str(service.config),
            "TRIGGER_DATA": str(service.folder / "data"),
            "TRIGGER_BIND": f"127.0.0.1:{free_port()}",
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert second.returncode == 1
    assert f"in use by another Trigger (process {service.process.pid})" in second.stderr
    assert "Traceback" not in second.stderr
    service.succeeds(service.uid("-d", "{}", "/v1/api/iolinker/test/async"))


def test_with_a_redis_of_ones_own_none_is_started(
    start: Callable[..., Running], redis_server: OwnRedis, redis: Redis
) -> None:
    service = start(REDIS_URL=redis_server.url)
    assert not any("-server" in command for _, command in service.processes().values())
    uid = service.uid("-d", "{}", "/v1/api/iolinker/test/async")
    service.succeeds(uid)
    assert redis.exists(f"rq:job:{uid}")
    assert service.stop() == 0
    assert redis.ping()


def test_demo_credentials_on_a_public_address_are_refused(tmp_path: Path) -> None:
    done = subprocess.run(
        COMMAND,
        cwd=ROOT,
        env={**os.environ, "TRIGGER_DATA": str(tmp_path / "data"), "TRIGGER_BIND": f"0.0.0.0:{free_port()}"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "demo credentials are in force" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "data" / "redis.conf").exists()


def test_an_edit_of_the_config_takes_effect_without_a_restart(start: Callable[..., Running]) -> None:
    service = start()
    disabled = refusal("requestError.apiNotEnabled", "API is not enabled")
    good = service.config.read_text()

    def is_enabled() -> bool:
        return "uid" in service.curl("/v1/api/iolinker/draft/async")

    def everywhere(expected: bool) -> bool:
        """Each web process takes an edit up by itself; each call is a new connection, to either of them."""
        return all(is_enabled() is expected for _ in range(20))

    assert everywhere(False)
    enabled = good.replace("enabled: false", "enabled: true")
    assert enabled != good
    service.config.write_text(enabled)
    eventually(lambda: everywhere(True))

    service.config.write_text(enabled + "\nmistake: [")
    eventually(lambda: all("refused" in service.curl("/readyz")["config"] for _ in range(20)))
    assert everywhere(True)  # the last good one goes on
    service.succeeds(service.uid("-d", "{}", "/v1/api/iolinker/draft/async"))

    service.config.write_text(good)
    eventually(lambda: everywhere(False))
    assert service.curl("/v1/api/iolinker/draft/async") == disabled
    assert "refused" not in service.curl("/readyz")["config"]
