"""The whole service from outside: what `make run` runs, called with curl as the README does."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests.programs import free_port, needs_program
from tests.support import ROOT, OwnRedis, eventually

COMMAND = [sys.executable, "-m", "trigger", "up"]
UID = re.compile(r"[0-9]{25}")

# One of each, as `ps` knows them: what the service consists of.
REDIS, WEB, WEB_CHILD, WORKER, WORKER_CHILD = "redis", "web", "web child", "worker", "worker child"


class Running:
    """A service that runs on the shipped config, and the curl lines sent to it."""

    def __init__(self, folder: Path, port: int, **environ: str) -> None:
        self.folder = folder
        self.address = f"http://127.0.0.1:{port}"
        self.config = folder / "config.yaml"
        if not self.config.exists():
            self.config.write_bytes((ROOT / "config.yaml").read_bytes())
        self.log = folder / "log"
        self.log.touch()
        before = self.log.stat().st_size
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        ours = {
            "TRIGGER_CONFIG": str(self.config),
            "TRIGGER_DATA": str(folder / "data"),
            "TRIGGER_BIND": f"127.0.0.1:{port}",
            "PYTHONPATH": str(ROOT),
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                COMMAND, cwd=ROOT, env=kept | ours | environ, stdout=log, stderr=log, start_new_session=True
            )

        def ready() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            return "Ctrl-C stops it." in self.log.read_text()[before:]

        eventually(ready, within=60)
        self.said = self.log.read_text()[before:]

    def curl(self, *arguments: str) -> Any:
        """The JSON that one curl command gets."""
        path, *options = reversed(arguments)
        command = [needs_program("curl"), "-sS", *reversed(options), self.address + path]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        if done.returncode != 0:
            raise ConnectionError(done.stderr)
        return json.loads(done.stdout)["response"]

    def uid(self, *arguments: str) -> str:
        answer = self.curl(*arguments)
        assert UID.fullmatch(answer["uid"]), answer
        return str(answer["uid"])

    def record(self, uid: str, *credentials: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.curl(*credentials, f"/v1/executions/{uid}")
        return answer

    def succeeds(self, uid: str, *credentials: str) -> None:
        """The execution ends well, soon."""

        def status() -> str | None:
            try:
                return self.record(uid, *credentials).get("status")
            except ConnectionError:
                return None

        eventually(lambda: status() in ("succeeded", "failed", "cancelled"), within=60)
        assert status() == "succeeded"

    def processes(self) -> dict[int, tuple[int, str]]:
        """Every process of the service but the supervisor: its parent and its command line."""
        found: dict[int, tuple[int, str]] = {}
        family = {self.process.pid}
        table = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    parent = int((entry / "stat").read_text().rpartition(") ")[2].split()[1])
                    command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                except (FileNotFoundError, ProcessLookupError):
                    continue
                table[int(entry.name)] = (parent, command)
        while grown := {pid for pid, (parent, _) in table.items() if parent in family} - family:
            family |= grown
            found |= {pid: table[pid] for pid in grown}
        return found

    def pid(self, kind: str) -> int:
        """One process of a kind."""
        ours = self.processes()
        for pid, (parent, command) in ours.items():
            direct = parent == self.process.pid
            if (
                (kind == REDIS and "-server" in command)
                or (kind == WEB and direct and "gunicorn" in command)
                or (kind == WEB_CHILD and not direct and "gunicorn" in command)
                or (kind == WORKER and direct and "worker --" in command)
                or (kind == WORKER_CHILD and not direct and "worker --" in command)
            ):
                return pid
        raise AssertionError(f"there is no {kind} among {ours}")

    def stop(self, number: signal.Signals = signal.SIGTERM, *, group: bool = False) -> int:
        """Tell the service to stop, and see that no process of it is left."""
        family = self.processes()
        (os.killpg if group else os.kill)(self.process.pid, number)
        status = self.process.wait(60)
        eventually(lambda: not any(is_running(pid) for pid in family))
        return status

    def kill(self) -> None:
        family = self.processes()
        self.process.kill()
        self.process.wait()
        eventually(lambda: not any(is_running(pid) for pid in family))


def is_running(pid: int) -> bool:
    """Whether a process runs; one that has ended but was not fetched by its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Starts the service, always on the same folder and port."""
    port = free_port()
    started: list[Running] = []

    def start(**environ: str) -> Running:
        started.append(Running(tmp_path, port, **environ))
        return started[-1]

    yield start
    for running in started:
        if running.process.poll() is None:
            running.kill()


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
