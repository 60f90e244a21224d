"""What those who wait for the end of an execution cost those who do not, and how soon they are told.

    python -m bench.waiting --waiters 500 --rounds 3

A caller calls `/async`, one call after the other, without anybody who waits and with so many; the rounds alternate.
Then a workflow that fails after 50 ms is called at `/sync`. Starts web processes and a worker on a folder of its own.
"""

from __future__ import annotations

import argparse
import http.client
import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from trigger.redis_server import RedisServer

CONFIG = """\
server: {backlog: 1000000}
workflows:
  fails: work:fails
  never: {python: "work:fails", queue: nobody}
modules:
  shop:
    methods:
      never: {enabled: true, sync: 60s, auth: {mode: none}, workflow: never}
      fails: {enabled: true, sync: 10s, auth: {mode: none}, workflow: fails}
"""
WORK = "import time\n\n\ndef fails(value):\n    time.sleep(0.05)\n    raise ValueError('no stock')\n"
WARM_UP = 50
PAUSE = 0.002


@contextmanager
def service(folder: Path) -> Iterator[int]:
    """Web processes, a worker and a Redis; the port."""
    (folder / "config.yaml").write_text(CONFIG)
    (folder / "work.py").write_text(WORK)
    (folder / "data").mkdir(mode=0o700)
    redis = RedisServer(folder / "data", fsync="no")
    redis.prepare()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    environ = {
        **os.environ,
        "TRIGGER_CONFIG": str(folder / "config.yaml"),
        "TRIGGER_DATA": str(folder / "data"),
        "TRIGGER_BIND": f"127.0.0.1:{port}",
        "REDIS_URL": redis.url,
    }
    children = [subprocess.Popen(redis.command)]
    try:
        wait_until(lambda: Redis.from_url(redis.url).ping())
        with (folder / "log").open("w") as log:
            for command in ("web", "worker"):
                words = [sys.executable, "-m", "trigger", command]
                children.append(subprocess.Popen(words, env=environ, stdout=log, stderr=log))
        wait_until(lambda: closing(socket.create_connection(("127.0.0.1", port))))
        wait_until(lambda: Redis.from_url(redis.url).scard("rq:workers:default"))
        yield port
    finally:
        for child in reversed(children):
            child.terminate()
            child.wait()


def wait_until(check: object) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            if check():  # type: ignore[operator]
                return
        except (OSError, RedisError):
            pass
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.05)


def waiters(port: int, count: int, stack: ExitStack) -> None:
    """So many connections on which calls wait."""
    for _ in range(count):
        connection = socket.create_connection(("127.0.0.1", port))
        stack.callback(connection.close)
        connection.sendall(b"POST /v1/api/shop/never/sync HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
    time.sleep(2)


def called(port: int, path: str, count: int, status: int) -> list[float]:
    """How long each call took, in ms."""
    took = []
    client = http.client.HTTPConnection("127.0.0.1", port)
    for _ in range(count + WARM_UP):
        began = time.perf_counter()
        client.request("POST", path, b"{}")
        answer = client.getresponse()
        answer.read()
        took.append((time.perf_counter() - began) * 1000)
        if answer.status != status:
            raise ValueError(f"{path} was answered {answer.status}")
        time.sleep(PAUSE)
    client.close()
    return took[WARM_UP:]


def shown(name: str, took: list[float]) -> float:
    centiles = statistics.quantiles(took, n=100, method="inclusive")
    print(f"{name:40} p50 {centiles[49]:7.2f} ms  p99 {centiles[98]:7.2f} ms  max {max(took):7.2f} ms", flush=True)
    return centiles[98]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--waiters", type=int, default=500, help="how many wait (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured (%(default)s)")
    parser.add_argument("--calls", type=int, default=1000, help="in each round (%(default)s)")
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    without, with_them, failing = [], [], []
    with tempfile.TemporaryDirectory(prefix="trigger-waiting-") as folder, service(Path(folder)) as port:
        for _ in range(options.rounds):
            without.append(shown("async, nobody waits", called(port, "/v1/api/shop/never/async", options.calls, 202)))
            with ExitStack() as stack:
                waiters(port, options.waiters, stack)
                name = f"async, {options.waiters} wait"
                with_them.append(shown(name, called(port, "/v1/api/shop/never/async", options.calls, 202)))
                name = f"sync, fails after 50 ms, {options.waiters} wait"
                failing.append(shown(name, called(port, "/v1/api/shop/fails/sync", options.calls // 10, 424)))
            time.sleep(1)
    ratio = statistics.median(with_them) / statistics.median(without)
    print(f"p99 of async with {options.waiters} who wait: {ratio:.2f} x without; of a failure: {max(failing):.0f} ms")
    return 0 if ratio <= 1.1 and max(failing) <= 150 else 1


if __name__ == "__main__":
    sys.exit(main())
