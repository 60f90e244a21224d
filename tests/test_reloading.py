"""New code without a gap: `trigger reload`, SIGHUP, and what becomes of calls and executions meanwhile."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests.programs import free_port
from tests.running import WEB, WORKER, Running, starting
from tests.support import ROOT, WORKFLOWS, OwnRedis, environment, eventually, process
from tests.web.site import basic

CONFIG = """\
operators: {admin: an-operator-of-the-tests}
workflows:
  version: work:version
  noted: work:noted
modules:
  shop:
    methods:
      version: {enabled: true, auth: {mode: none}, workflow: version}
      noted: {enabled: true, auth: {mode: none}, workflow: noted}
"""
VERSION = "\n\ndef version(value):\n    return {}\n"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    (tmp_path / "config.yaml").write_text(CONFIG)
    (tmp_path / "work.py").write_text(WORKFLOWS + VERSION.format(1))
    with starting(tmp_path) as start:
        yield start


def call(service: Running, api: str = "version", **value: object) -> str:
    return service.uid("-d", json.dumps(value), f"/v1/api/shop/{api}/async")


def outcome(service: Running, uid: str) -> dict[str, Any]:
    """The record, once it is final."""
    eventually(lambda: service.record(uid)["status"] in ("succeeded", "failed"), within=60)
    return service.record(uid)


def began(service: Running, uid: str, times: int = 1) -> bool:
    evidence = service.folder / "evidence"
    return evidence.exists() and evidence.read_text().split("\n").count(f"S {uid}") >= times


@contextmanager
def callers(port: int) -> Iterator[list[int]]:
    """Calls on connections of their own and on kept ones, one after the other; their statuses, 0 for none."""
    statuses: list[int] = []
    stopped = threading.Event()

    def run(keep: bool) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        while not stopped.wait(0.02):
            try:
                connection.request("POST", "/v1/api/shop/version/async", "{}")
                answer = connection.getresponse()
                answer.read()
                statuses.append(answer.status)
            except (OSError, http.client.HTTPException):
                statuses.append(0)
                connection.close()
            if not keep:
                connection.close()
        connection.close()

    threads = [threading.Thread(target=run, args=[keep]) for keep in (True, False)]
    for thread in threads:
        thread.start()
    try:
        yield statuses
    finally:
        stopped.set()
        for thread in threads:
            thread.join()


def port_of(service: Running) -> int:
    return int(service.address.rpartition(":")[2])


def test_a_reload_loses_no_call_and_leaves_the_running_execution_alone(start: Callable[..., Running]) -> None:
    service = start(TRIGGER_WORKERS="1")
    with callers(port_of(service)) as statuses:
        long = call(service, "noted", seconds=8)
        eventually(lambda: began(service, long))
        (service.folder / "work.py").write_text(WORKFLOWS + VERSION.format(2))
        for _ in range(2):
            web = service.pid(WEB)
            done = service.command("reload")
            assert done.returncode == 0, done.stderr
            assert done.stdout.startswith("reloaded")
            eventually(lambda before=web: service.pid(WEB) != before)  # type: ignore[misc]
    assert set(statuses) == {202}
    record = outcome(service, long)
    assert (record["status"], record["attempt"]) == ("succeeded", 1)
    assert (service.folder / "evidence").read_text().count(long) == 2  # it began once, and ended once
    assert outcome(service, call(service))["output"] == 2
    assert service.stop() == 0
    assert "Traceback" not in service.log.read_text()


def test_a_worker_that_dies_after_a_reload_comes_back_with_the_new_code(start: Callable[..., Running]) -> None:
    service = start(TRIGGER_WORKERS="1")
    assert service.command("reload").returncode == 0
    eventually(lambda: service.log.read_text().count("serves queue default") == 2)
    (service.folder / "work.py").write_text(WORKFLOWS + VERSION.format(3))
    worker = service.pid(WORKER)
    os.kill(worker, signal.SIGKILL)
    eventually(lambda: service.log.read_text().count("serves queue default") == 3)
    assert outcome(service, call(service))["output"] == 3


def checkout(folder: Path) -> Path:
    """A copy of the service's code, which a test may edit."""
    for name in ("app.py", "wsgi.py", "gunicorn.conf.py"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "trigger", folder / "trigger", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def test_a_new_version_is_taken_up_and_one_that_does_not_start_is_not(
    start: Callable[..., Running], tmp_path: Path
) -> None:
    root = tmp_path / "checkout"
    root.mkdir()
    service = start(PYTHONPATH=str(checkout(root)))
    init, app = root / "trigger/__init__.py", root / "app.py"
    init.write_text(init.read_text().replace('"0.', '"77.', 1))
    good = app.read_text()
    app.write_text(good + "\n(")
    done = service.command("reload")
    assert done.returncode == 1
    assert "not reloaded: the new web processes do not start" in done.stderr
    assert "Traceback" not in done.stderr
    outcome(service, call(service))

    app.write_text(good)
    assert service.command("reload").returncode == 0

    def version() -> str:
        with closing(http.client.HTTPConnection("127.0.0.1", port_of(service), timeout=30)) as connection:
            connection.request("GET", "/metrics", headers=basic("admin", "an-operator-of-the-tests"))
            return connection.getresponse().read().decode()

    eventually(lambda: all('trigger_build_info{version="77.' in version() for _ in range(8)))
    outcome(service, call(service))
    assert service.stop() == 0


def test_a_reload_with_nobody_there_says_so_also_after_a_kill(start: Callable[..., Running], tmp_path: Path) -> None:
    service = start()
    service.kill()
    done = service.command("reload")
    assert done.returncode == 1
    assert f"no `up` runs on the data folder {service.folder / 'data'}" in done.stderr


def test_a_stop_takes_calls_until_the_running_execution_has_ended(start: Callable[..., Running]) -> None:
    """found.md 38: 31 s of 502 while one execution ran."""
    service = start(TRIGGER_WORKERS="1")
    long = call(service, "noted", seconds=6)
    eventually(lambda: began(service, long))
    service.process.send_signal(signal.SIGTERM)
    eventually(lambda: "waiting up to 25 s for the running execution" in service.log.read_text())
    taken = [call(service)]
    while not (service.folder / "evidence").read_text().count(f"D {long}"):
        taken.append(call(service))
    assert len(taken) > 1
    assert service.process.wait(60) == 0
    again = start()
    for uid in (long, *taken):
        assert outcome(again, uid)["attempt"] == 1


def test_a_stop_ends_one_that_finishes_for_a_reload_too(start: Callable[..., Running], tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG + "stop_grace: 1s\n")
    service = start(TRIGGER_WORKERS="1")
    long = call(service, "noted", seconds=60)
    eventually(lambda: began(service, long))
    assert service.command("reload").returncode == 0
    eventually(lambda: "starting anew, when the running execution has ended" in service.log.read_text())
    assert service.stop() == 0


def test_a_socket_that_somebody_else_holds_has_no_gap_at_all(tmp_path: Path) -> None:
    """As systemd does with deploy/systemd/trigger.socket: calls wait while the service is stopped and started."""
    (tmp_path / "config.yaml").write_text(CONFIG)
    (tmp_path / "work.py").write_text(WORKFLOWS + VERSION.format(1))
    log = tmp_path / "log"
    with socket.create_server(("127.0.0.1", 0)) as held, ExitStack() as stack:
        port = held.getsockname()[1]
        environ = environment(tmp_path, "", TRIGGER_BIND=f"127.0.0.1:{port}", TRIGGER_WORKERS="1")
        script = f'exec 3<&{held.fileno()}; LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"'
        command = ["/bin/bash", "-c", script, "bash", sys.executable, "-m", "trigger", "up"]

        def up(**more: str) -> subprocess.Popen[bytes]:
            with log.open("ab") as output:
                started = subprocess.Popen(
                    command, cwd=ROOT, env={**environ, **more}, pass_fds=[held.fileno()], stdout=output, stderr=output
                )
            stack.callback(started.wait)
            stack.callback(started.terminate)
            return started

        def is_ready(times: int) -> bool:
            assert service.poll() is None, log.read_text()
            return log.read_text().count("Trigger is ready") == times

        service = up()
        eventually(lambda: is_ready(1), within=60)
        with callers(port) as statuses:
            for times in (2, 3):
                service.terminate()
                assert service.wait(60) == 0
                service = up()
                eventually(lambda times=times: is_ready(times), within=60)  # type: ignore[misc]
        assert set(statuses) == {202}
        service.terminate()
        assert service.wait(60) == 0

        other = up(TRIGGER_BIND=f"127.0.0.1:{port + 1}")
        assert other.wait(60) == 1
        assert f"the socket that was handed over listens on 127.0.0.1:{port}: set TRIGGER_BIND" in log.read_text()


# Processes that run alone


def test_web_processes_alone_take_up_new_code_at_a_hangup(redis_server: OwnRedis, redis: Redis, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG)
    (tmp_path / "work.py").write_text(WORKFLOWS + VERSION.format(1))
    port = free_port()
    environ = environment(tmp_path, redis_server.url, TRIGGER_BIND=f"127.0.0.1:{port}")
    log = tmp_path / "log"
    with process(["web"], environ, log) as web:
        eventually(lambda: "listening on" in log.read_text())
        with callers(port) as statuses:
            for times in (2, 3):
                web.send_signal(signal.SIGHUP)
                eventually(lambda times=times: log.read_text().count("listening on") == times)  # type: ignore[misc]
                eventually(lambda times=times: log.read_text().count("reloaded:") == times - 1)  # type: ignore[misc]
        assert set(statuses) == {202}
        web.send_signal(signal.SIGTERM)
        assert web.wait(30) == 0
    assert "Traceback" not in log.read_text()


def test_a_worker_alone_ends_what_it_runs_at_a_hangup_and_then_takes_up_new_code(
    redis_server: OwnRedis, redis: Redis, tmp_path: Path
) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG)
    (tmp_path / "work.py").write_text(WORKFLOWS + VERSION.format(1))
    environ = environment(tmp_path, redis_server.url, TRIGGER_BIND=f"127.0.0.1:{free_port()}")
    log = tmp_path / "log"

    def debug(method: str, data: str) -> subprocess.Popen[str]:
        words = ["-m", "trigger", "debug", f"shop/{method}", "--data", data, "--json"]
        return subprocess.Popen([sys.executable, *words], env=environ, cwd=ROOT, stdout=subprocess.PIPE, text=True)

    with process(["worker"], environ, log) as worker:
        eventually(lambda: "serves queue" in log.read_text())
        long = debug("noted", '{"seconds": 3}')
        eventually(lambda: (tmp_path / "evidence").exists())
        (tmp_path / "work.py").write_text(WORKFLOWS + VERSION.format(2))
        for _ in range(3):  # more than one is one
            worker.send_signal(signal.SIGHUP)
        assert json.loads(long.communicate(timeout=60)[0])["output"] == "done"
        eventually(lambda: log.read_text().count("serves queue") == 2)
        assert json.loads(debug("version", "{}").communicate(timeout=60)[0])["output"] == 2
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == 0
