"""`python -m trigger backup`: a copy of a Redis that runs, whatever it does meanwhile."""

from __future__ import annotations

import io
import subprocess
import tarfile
import threading
from pathlib import Path

import pytest
from redis import Redis

from tests import forks
from tests.support import OwnRedis, environment
from trigger.errors import StartError
from trigger.up.backup import write_backup


def restored(backup: io.BytesIO, folder: Path) -> int:
    """How many numbers in a row, from 0, a Redis has that starts on a backup."""
    folder.mkdir(mode=0o700)
    backup.seek(0)
    with tarfile.open(fileobj=backup) as archive:
        archive.extractall(folder, filter="data")
    with OwnRedis(folder) as server, Redis.from_url(server.url) as redis:
        count = redis.llen("numbers")
        assert isinstance(count, int)
        assert redis.lrange("numbers", 0, -1) == [b"%d" % number for number in range(count)]
        return count


def test_what_is_written_and_rewritten_meanwhile_does_no_harm(tmp_path: Path) -> None:
    stopped = threading.Event()
    written = 0

    def write(redis: Redis) -> None:
        nonlocal written
        while not stopped.is_set():
            redis.rpush("numbers", written)
            written += 1
            if written % 50 == 0:
                try:
                    redis.bgrewriteaof()
                except Exception:  # noqa: BLE001  one is going on
                    pass

    data = tmp_path / "data"
    with OwnRedis(data, fsync="no") as server, Redis.from_url(server.url) as redis:
        writer = threading.Thread(target=write, args=[redis])
        writer.start()
        backups = []
        for _ in range(10):
            before = written
            backups.append((before, io.BytesIO()))
            write_backup(data, backups[-1][1])
        stopped.set()
        writer.join()
    for number, (before, backup) in enumerate(backups):
        assert before <= restored(backup, tmp_path / f"restored-{number}") <= written


def test_the_file_is_for_its_owner_and_complete_or_not_there(tmp_path: Path) -> None:
    def run() -> subprocess.CompletedProcess[str]:
        return forks.run(["backup", str(tmp_path / "b.tar.gz")], environment(tmp_path, ""))

    none = run()
    assert none.returncode == 1
    assert "there is no data of a private Redis" in none.stderr
    assert not (tmp_path / "b.tar.gz").exists()
    with OwnRedis(tmp_path / "data") as server, Redis.from_url(server.url) as redis:
        redis.rpush("numbers", 0)
        assert run().returncode == 0
    assert (tmp_path / "b.tar.gz").stat().st_mode & 0o777 == 0o600
    assert restored(io.BytesIO((tmp_path / "b.tar.gz").read_bytes()), tmp_path / "again") == 1


def test_a_redis_of_the_older_kind_has_one_file(tmp_path: Path) -> None:
    (tmp_path / "appendonly.aof").write_text("one")
    out = io.BytesIO()
    write_backup(tmp_path, out)
    out.seek(0)
    with tarfile.open(fileobj=out) as archive:
        assert archive.getnames() == ["appendonly.aof"]


def test_a_file_that_is_missing_for_good_is_said(tmp_path: Path) -> None:
    (tmp_path / "appendonlydir").mkdir()
    (tmp_path / "appendonlydir/appendonly.aof.manifest").write_text("file gone.aof seq 1 type i\n")
    with pytest.raises(StartError, match=r"gone\.aof is missing"):
        write_backup(tmp_path, io.BytesIO())
