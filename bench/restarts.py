"""Restarts under load, behind nginx: how many calls are refused or lost meanwhile.

    python -m bench.restarts                      # 20 restarts of each kind, idle and with an execution that runs
    python -m bench.restarts --times 2 --seconds 5 --kinds reload

Callers send `--rate` calls a second to a real nginx with deploy/nginx.conf, each on a connection of its own, whatever
became of the calls before. Meanwhile the service (`up`, with a private Redis) is restarted: by `python -m trigger
reload`, or by SIGTERM and a new start as soon as the old one is gone, as systemd does; or, to compare, it is left alone
for 10 seconds each time (`nothing`): a machine with other work refuses calls, too. Each case is run idle, and with
an execution of `--seconds` that begins before each restart. At the end every uid that was answered must have
a record; none may be lost.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.nginx import configure
from bench.stage import free_port, stop
from bench.venvs import need_program

ROOT = Path(__file__).resolve().parents[1]

# What runs long has workers of its own: the calls' executions are not to pile up behind it.
CONFIG = """\
server: {proxies: 1}
workflows:
  hello: work:hello
  long: {python: "work:long", queue: long}
modules:
  bench:
    methods:
      hello: {enabled: true, auth: {mode: none}, workflow: hello}
      long: {enabled: true, auth: {mode: none}, workflow: long}
"""
WORK = """\
import time

def hello(value):
    return value

def long(value):
    time.sleep(value["seconds"])
"""
PATIENCE = 120.0


@dataclass
class Calls:
    """What became of the calls. Times are of time.monotonic()."""

    statuses: Counter[int] = field(default_factory=Counter)  # 0: no answer
    refused_at: list[float] = field(default_factory=list)
    slowest: float = 0.0
    uids: list[str] = field(default_factory=list)

    def longest_gap(self) -> float:
        """For how many seconds on end calls were refused: from the first to the last within a second of each other."""
        longest, begin, last = 0.0, 0.0, float("-inf")
        for moment in sorted(self.refused_at):
            if moment - last > 1.0:
                begin = moment
            last = moment
            longest = max(longest, last - begin)
        return longest


class Load:
    """Calls at a rate, each in a thread of its own, until `stop`."""

    def __init__(self, port: int, rate: float) -> None:
        self._port, self._pause = port, 1 / rate
        self.calls = Calls()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        callers: list[threading.Thread] = []
        due = time.monotonic()
        while not self._stopped.wait(max(0.0, due - time.monotonic())):
            due += self._pause
            callers.append(threading.Thread(target=self._call))
            callers[-1].start()
            callers = [caller for caller in callers if caller.is_alive()]
        for caller in callers:
            caller.join()

    def _call(self) -> None:
        began = time.monotonic()
        status, body = call(self._port, "bench/hello", {"n": 1})
        with self._lock:
            self.calls.statuses[status] += 1
            self.calls.slowest = max(self.calls.slowest, time.monotonic() - began)
            if status == 202:
                self.calls.uids.append(json.loads(body)["response"]["uid"])
            else:
                self.calls.refused_at.append(began)

    def stop(self) -> Calls:
        self._stopped.set()
        self._thread.join()
        return self.calls


def call(port: int, api: str, value: object) -> tuple[int, bytes]:
    """The status and the body of one call; 0 where there was no answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("POST", f"/v1/api/{api}/async", json.dumps(value))
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()


class Service:
    """`up` in a folder, behind nginx."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, self.front = free_port(), free_port()
        self.log = folder / "log"
        (folder / "config.yaml").write_text(CONFIG)
        (folder / "work.py").write_text(WORK)
        self._environ = {
            **os.environ,
            "TRIGGER_CONFIG": str(folder / "config.yaml"),
            "TRIGGER_DATA": str(folder / "data"),
            "TRIGGER_BIND": f"127.0.0.1:{self.port}",
            "TRIGGER_WORKERS": "2",
            "REDIS_URL": "",
        }
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "trigger", "up"],
                cwd=ROOT,
                env=self._environ,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def await_calls(self) -> None:
        """Return when a call is accepted."""
        deadline = time.monotonic() + PATIENCE
        while call(self.front, "bench/hello", {})[0] != 202:
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise RuntimeError(f"no call is accepted\n{self.log.read_text()[-3000:]}")
            time.sleep(0.01)

    def reload(self) -> float:
        """Have it reloaded; how long it took, in seconds."""
        began = time.monotonic()
        subprocess.run(
            [sys.executable, "-m", "trigger", "reload"], cwd=ROOT, env=self._environ, check=True, capture_output=True
        )
        return time.monotonic() - began

    def restart(self) -> float:
        """Stop it, start it, wait until it accepts calls; how long the new one took for that, in seconds."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(PATIENCE)
        began = time.monotonic()
        self.process = self._start()
        self.await_calls()
        return time.monotonic() - began

    def leave(self) -> float:
        """Do nothing to it."""
        time.sleep(10.0)
        return 10.0

    def errors(self) -> str:
        """What nginx has logged of its upstream."""
        return (self.folder / "error.log").read_text()

    def has_record(self, uid: str, connection: http.client.HTTPConnection) -> bool:
        connection.request("GET", f"/v1/executions/{uid}")
        answer = connection.getresponse()
        answer.read()
        return answer.status == 200


KINDS = {"nothing": Service.leave, "reload": Service.reload, "restart": Service.restart}


@contextmanager
def service(folder: Path) -> Iterator[Service]:
    """A service behind nginx, both gone at the end."""
    made = Service(folder)
    command = [need_program("nginx"), *configure(folder, made.front, made.port)]
    nginx = subprocess.Popen(command, start_new_session=True)
    try:
        made.await_calls()
        yield made
    finally:
        stop(made.process, PATIENCE)
        stop(nginx)


def measure(kind: str, times: int, rate: float, seconds: float) -> None:
    """Print what becomes of the calls while the service is restarted; `seconds` long runs an execution meanwhile."""
    with tempfile.TemporaryDirectory(prefix="restarts-") as name, service(Path(name)) as one:
        load = Load(one.front, rate)
        took = []
        try:
            for _ in range(times):
                if seconds:
                    call(one.front, "bench/long", {"seconds": seconds})
                time.sleep(1.0)
                took.append(KINDS[kind](one))
            time.sleep(1.0)
        finally:
            calls = load.stop()
        connection = http.client.HTTPConnection("127.0.0.1", one.port, timeout=30)
        lost = sum(not one.has_record(uid, connection) for uid in calls.uids)
        upstream = Counter(re.findall(r"\[error\].*?: \*\d+ (.*?)(?: while |, client)", one.errors()))
        refused = {status: count for status, count in sorted(calls.statuses.items()) if status != 202}
        what = f"with an execution of {seconds:g} s" if seconds else "idle"
        sys.stdout.write(
            f"{times} x {kind:<8} {what:<28} {calls.statuses[202]} accepted, refused {refused or 0}, {lost} lost; "
            f"longest gap {calls.longest_gap():.2f} s, slowest call {calls.slowest:.2f} s; "
            f"{'start' if kind == 'restart' else kind} took {statistics.median(took):.2f} s, "
            f"at most {max(took):.2f} s\n"
            + "".join(f"    nginx: {count} x {message}\n" for message, count in upstream.items())
        )
        sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the bench."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.restarts", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--times", type=int, default=20, help="restarts of each case (%(default)s)")
    parser.add_argument("--rate", type=float, default=50, help="calls a second (%(default)s)")
    parser.add_argument("--seconds", type=float, default=60, help="how long an execution runs (%(default)s)")
    parser.add_argument("--kinds", default="nothing,reload,restart", help="which, separated by commas (%(default)s)")
    options = parser.parse_args(arguments)
    for kind in options.kinds.split(","):
        for seconds in (0.0, options.seconds):
            measure(kind, options.times, options.rate, seconds)


if __name__ == "__main__":
    main()
