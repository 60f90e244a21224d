"""SIGTERMs to workers under load, at random moments: nothing may be lost or run twice, and each must stop in time.

    python -m bench.sigterm --times 1000 --seed 1

The workers are forked from this process, so that a new one costs milliseconds: all of the time goes into stops. Each
is told to stop at a random moment of its life, its very first milliseconds included. Exits with 1 when an execution
was lost or run twice, or a worker did not stop in time.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from redis import Redis

from bench.processes import running_redis
from trigger import store
from trigger.config import Watcher, load
from trigger.config.model import Api, Config, NoAuth
from trigger.redis_server import RedisServer
from trigger.store.queueing import Call, Submitter, connect
from trigger.worker import run

CONFIG = "modules: {}\nworkflows: {noted: 'work:noted'}\n"
WORK = """
import os, time
from pathlib import Path
from trigger.workflows import current

EVIDENCE = os.open(Path(__file__).with_name("evidence"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def noted(value):
    os.write(EVIDENCE, f"S {current().uid}\\n".encode())
    time.sleep(value["seconds"])
    os.write(EVIDENCE, f"D {current().uid}\\n".encode())
"""

WORKERS = 3
LONGEST_JOB = 0.1  # seconds
LONGEST_LIFE = 0.4
PATIENCE = LONGEST_JOB + 5.0
DRAIN = 60.0


@dataclass
class Result:
    """What came of a run; times are in seconds."""

    accepted: int = 0
    lost: int = 0
    doubled: int = 0
    late: int = 0
    badly_ended: list[str] = field(default_factory=list)
    stops: list[float] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return not (self.lost or self.doubled or self.late or self.badly_ended)

    def __str__(self) -> str:
        slowest = max(self.stops, default=0.0)
        middle = sorted(self.stops)[len(self.stops) // 2] if self.stops else 0.0
        return (
            f"SIGTERMs {len(self.stops)}, accepted {self.accepted}, lost {self.lost}, doubled {self.doubled}, "
            f"stopped late {self.late}, ended badly {', '.join(self.badly_ended) or 0}, "
            f"time to stop: median {middle:.3f} s, longest {slowest:.3f} s"
        )


class Workers:
    """Workers that are stopped and replaced."""

    def __init__(self, config: Config, url: str, seed: int) -> None:
        self._config, self._url = config, url
        self._random = random.Random(seed)
        self._due: dict[int, float] = {}
        self._told: dict[int, float] = {}
        self.result = Result()

    def fork(self) -> None:
        pid = os.fork()
        if pid == 0:
            status = 70
            try:
                watcher = Watcher(self._config, lambda _: self._config, lambda _: None, lambda _: None)
                run("default", watcher, lambda timeout: connect(self._url, reply_timeout=timeout))
                status = 0
            except BaseException:  # noqa: BLE001  the whole of a process: what has ended it is shown
                traceback.print_exc()  # a log would be whoever's is set up here
            finally:
                os._exit(status)
        self._due[pid] = time.monotonic() + self._random.uniform(0, LONGEST_LIFE)

    def look(self) -> None:
        """Tells those to stop whose time has come, and replaces those that have ended."""
        now = time.monotonic()
        for pid, due in list(self._due.items()):
            if now >= due and pid not in self._told:
                os.kill(pid, signal.SIGTERM)
                self._told[pid] = time.monotonic()
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                self._ended(pid, os.waitpid(pid, 0)[1])
                self.fork()

    def _ended(self, pid: int, status: int) -> None:
        del self._due[pid]
        told = self._told.pop(pid, None)
        if told is not None:
            took = time.monotonic() - told
            self.result.stops.append(took)
            self.result.late += took > PATIENCE
        # A process that has not come to install its handler dies of the signal: it holds nothing yet.
        if told is None or (status and status != signal.SIGTERM):
            why = "untold" if told is None else "told"
            self.result.badly_ended.append(f"{why}: {os.waitstatus_to_exitcode(status)}")

    def stop_all(self) -> None:
        for pid in self._due:
            self._told.setdefault(pid, time.monotonic())
            os.kill(pid, signal.SIGTERM)
        for pid in list(self._due):
            self._ended(pid, os.waitpid(pid, 0)[1])


def measure(folder: Path, times: int, seed: int) -> Result:
    """Stops workers so many times while they work, in a folder that exists and is empty."""
    (folder / "config.yaml").write_text(CONFIG)
    (folder / "work.py").write_text(WORK)
    data = folder / "data"
    data.mkdir(mode=0o700)
    server = RedisServer(data)
    server.prepare()
    with running_redis(server.command, server.url):
        config = load(folder / "config.yaml", {})
        api = Api("bench", "noted", NoAuth(), config.workflows["noted"])
        redis = connect(server.url)
        submitter = Submitter(redis)
        workers = Workers(config, server.url, seed)
        rng = random.Random(seed + 1)
        for _ in range(WORKERS):
            workers.fork()
        uids: list[str] = []
        while len(workers.result.stops) < times:
            while redis.llen("rq:queue:default") < 2 * WORKERS:
                uids.append(submitter.submit(Call(api, {"seconds": rng.uniform(0, LONGEST_JOB)}, None), config).uid)
            workers.look()
            time.sleep(0.001)
        _drain(redis, workers)
        result = workers.result
    ended = Counter((folder / "evidence").read_text().splitlines())
    result.accepted = len(uids)
    result.lost = sum(not ended[f"D {uid}"] for uid in uids)
    result.doubled = sum(ended[f"S {uid}"] > 1 for uid in uids)
    return result


def _drain(redis: Redis, workers: Workers) -> None:
    """Lets the workers that are left finish what waits, and then stops them too."""
    deadline = time.monotonic() + DRAIN
    ledger = (store.waiting_key("default"), store.leased_key("default"))
    while redis.exists(*ledger) and time.monotonic() < deadline:
        time.sleep(0.05)
    workers.stop_all()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=1000, help="how many SIGTERMs")
    parser.add_argument("--seed", type=int, default=1, help="of the moments at which they come")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="trigger-sigterm-") as folder:
        result = measure(Path(folder), options.times, options.seed)
    sys.stdout.write(f"{result}\n")
    return 0 if result.good else 1


if __name__ == "__main__":
    sys.exit(main())
