"""Processes that the benches start and look for; which belong together, /proc tells (proc(5))."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError


def children(pid: int) -> list[int]:
    """The living children of a process, oldest first; none when it is gone itself."""
    found = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += [int(child) for child in (task / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [child for child in found if is_alive(child)]


def descendants(pid: int) -> list[int]:
    """All living processes below one, parents before their children."""
    return [found for child in children(pid) for found in (child, *descendants(child))]


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has died and waits for its parent to notice does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in ("Z", "X")


def command(pid: int) -> str:
    """The command line of a process, empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


@contextmanager
def running_redis(command: Sequence[str], url: str) -> Iterator[subprocess.Popen[bytes]]:
    """A Redis server, from when it answers at `url` until it is killed at the end."""
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        wait_for_redis(url)
        yield server
    finally:
        server.send_signal(signal.SIGKILL)
        server.wait()


def wait_for_redis(url: str, seconds: float = 30.0) -> None:
    """Returns when a Redis answers at `url`; raises TimeoutError when it does not in that time."""
    deadline = time.monotonic() + seconds
    with Redis.from_url(url) as client:
        while True:
            try:
                client.ping()
            except RedisError as error:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"there is no Redis at {url} after {seconds:.0f} s") from error
                time.sleep(0.02)
            else:
                return
