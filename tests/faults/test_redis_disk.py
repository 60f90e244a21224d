"""The private Redis and its disk: what was acknowledged stays, whatever becomes of process, file or disk."""

from __future__ import annotations

import os
import random
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import RedisError

from bench import chaos
from bench.reaper import fill
from tests.faults.conftest import FaultRig
from tests.support import CONFIG, OwnRedis, eventually
from trigger.config.model import Api, NoAuth, Workflow
from trigger.errors import QueueUnavailable
from trigger.redis_server import RedisServer
from trigger.store.queueing import Call, Submitter, connect

NOTED = Api("shop", "noted", NoAuth(), Workflow(name="noted", python="work:noted", timeout=60))


class Producers:
    """Threads that submit without a pause; `uids` are those that were acknowledged."""

    def __init__(self, url: str, count: int = 8, *, patience: float = 0.7) -> None:
        self._submitter = Submitter(connect(url, reply_timeout=patience))
        self._over = threading.Event()
        self._pool = ThreadPoolExecutor(count)
        self.uids: list[str] = []
        self.refused = 0
        self._running = [self._pool.submit(self._produce) for _ in range(count)]

    def _produce(self) -> None:
        while not self._over.is_set():
            try:
                self.uids.append(self._submitter.submit(Call(NOTED, {}, None), CONFIG).uid)
            except QueueUnavailable:
                self.refused += 1

    def __enter__(self) -> Producers:
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._pool.shutdown()
        for future in self._running:
            future.result()


def stored(url: str, uids: list[str]) -> set[str]:
    """Those of the executions that Redis has."""
    with Redis.from_url(url) as redis:
        pipeline = redis.pipeline(transaction=False)
        for uid in uids:
            pipeline.exists(f"rq:job:{uid}")
        return {uid for uid, found in zip(uids, pipeline.execute(), strict=True) if found}


@pytest.mark.parametrize("milliseconds", [0, 300, 1500])
def test_kills_of_redis_under_load_lose_nothing_acknowledged(
    own_rig: FaultRig,
    own_redis: OwnRedis,
    preload: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
    milliseconds: int,
) -> None:  # F23, F24
    if milliseconds:
        monkeypatch.setenv("LD_PRELOAD", preload("slowfsync"))
        monkeypatch.setenv("FSYNC_MS", str(milliseconds))
    own_redis.restart()
    # The web does not wait this long for a disk, and answers 503; here as much as can be is to be acknowledged.
    with Producers(own_redis.url, patience=0.7 + 4 * milliseconds / 1000) as producers:
        for _ in range(3 if milliseconds < 1000 else 1):
            reached = len(producers.uids) + (200 if milliseconds == 0 else 3)
            eventually(lambda reached=reached: len(producers.uids) >= reached, within=30)  # type: ignore[misc]
            own_redis.restart()
    uids = producers.uids
    assert stored(own_redis.url, uids) == set(uids)
    monkeypatch.undo()
    own_redis.restart()
    assert stored(own_redis.url, uids) == set(uids)
    if milliseconds == 0:
        own_rig.start_with()
        own_rig.is_tidy()
        evidence = own_rig.evidence()
        assert all(evidence[f"D {uid}"] == 1 for uid in uids)
        assert set(evidence.values()) == {1}


def test_redis_killed_while_it_rewrites_its_file_loses_nothing(own_rig: FaultRig, own_redis: OwnRedis) -> None:  # F26
    uids = fill(own_rig.redis, NOTED, 30_000)
    with Producers(own_redis.url, 4) as producers:
        for _ in range(3):
            own_rig.redis.bgrewriteaof()
            eventually(lambda: persistence(own_rig.redis)["aof_rewrite_in_progress"])
            own_redis.restart()
    uids += producers.uids
    assert stored(own_redis.url, uids) == set(uids)
    own_rig.redis.bgrewriteaof()
    eventually(lambda: not persistence(own_rig.redis)["aof_rewrite_in_progress"])
    own_redis.restart()
    assert stored(own_redis.url, uids) == set(uids)


def persistence(redis: Redis) -> dict[str, Any]:
    said: dict[str, Any] = redis.info("persistence")
    return said


def newest_file(data: Path) -> Path:
    (found,) = (data / "appendonlydir").glob("*.incr.aof")
    return found


def test_a_file_whose_end_was_cut_off_is_loaded_up_to_there(
    own_rig: FaultRig, own_redis: OwnRedis, tmp_path_factory: pytest.TempPathFactory
) -> None:  # F27
    submitter = Submitter(own_rig.redis)
    data = Path(own_redis.url.removeprefix("unix://")).parent
    acknowledged = [submitter.submit(Call(NOTED, {}, None), CONFIG).uid for _ in range(20)]
    for cut in random.Random(27).sample(range(1, 500), 5):
        whole = newest_file(data).stat().st_size
        submitter.submit(Call(NOTED, {}, None), CONFIG)  # as if Redis had died before it could answer this one
        own_redis.kill()
        with newest_file(data).open("r+b") as file:
            file.truncate(max(whole, newest_file(data).stat().st_size - cut))
        own_redis.start()
        assert stored(own_redis.url, acknowledged) == set(acknowledged)
        acknowledged.append(submitter.submit(Call(NOTED, {}, None), CONFIG).uid)
    own_rig.start_with()
    own_rig.is_tidy()
    evidence = own_rig.evidence()
    assert all(evidence[f"D {uid}"] == 1 for uid in acknowledged)
    assert set(evidence.values()) == {1}
    # One that was not acknowledged may run all the same: Redis leaves the beginning of a transaction that was cut off
    # in its file, and what it holds comes back at the start after the next.
    assert len(evidence) <= 2 * (len(acknowledged) + 5)


def test_a_file_that_is_damaged_in_its_middle_is_refused_and_left_as_it_is(
    own_rig: FaultRig, own_redis: OwnRedis
) -> None:  # F27
    data = Path(own_redis.url.removeprefix("unix://")).parent
    for _ in range(100):
        own_rig.submit("noted")
    own_redis.kill()
    file = newest_file(data)
    content = bytearray(file.read_bytes())
    middle = content.index(b"$", len(content) // 2)
    content[middle : middle + 3] = b"!!!"
    file.write_bytes(content)
    server = RedisServer(data)
    server.prepare()
    process = subprocess.run(server.command, timeout=30, check=False)
    assert process.returncode != 0
    assert "Bad file format reading the append only file" in server.last_words()
    assert file.read_bytes() == content
    own_redis.process = subprocess.Popen(["sleep", "0"])  # for the fixture, which stops it


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of its own on a folder, of so many bytes; only root may mount one."""
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", folder], check=False)
    if mounted.returncode:
        pytest.skip("this test mounts a file system, which only root may do")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.timeout(240)
def test_a_full_disk_is_answered_503_and_all_goes_on_when_it_is_freed(tmp_path: Path) -> None:  # F28
    with small_disk(tmp_path / "disk", "100m") as disk:
        service = chaos.Service(tmp_path, data=disk / "data")
        client = chaos.Client(service.port)
        try:
            service.wait_until_ready()
            uids = [client.accept({"seconds": 0}, "before").uid]
            filler = disk / "filler"
            # At first so much that the watermark sees it, then all of it: Redis can't write a byte.
            with filler.open("wb") as file:
                file.write(b"x" * 60 * 1024 * 1024)
                file.flush()
                eventually(lambda: client.call({"seconds": 0}, "full").status == 503)
                assert "the disk of the private Redis is nearly full" in service.log()
                with suppress(OSError):
                    while True:
                        os.write(file.fileno(), b"x" * 4096)
                with suppress(RedisError):
                    service.redis.set("filler", "y" * 100_000)
                assert client.call({"seconds": 0}, "full").status == 503
            filler.unlink()
            uids.append(client.accept({"seconds": 0}, "after").uid)
            eventually(lambda: chaos.read_evidence(service.evidence)[1].keys() >= set(uids), within=60)
            assert set(chaos.read_evidence(service.evidence)[1].values()) == {1}
        finally:
            client.close()
            service.stop()
