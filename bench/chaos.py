"""Chaos: the whole service under load, and every second some process of it is killed. Nothing accepted may be lost.

    python -m bench.chaos --seconds 600 --seed 1

Starts `python -m trigger up` on a folder of its own, with its private Redis and 2 workers. 4 callers send calls with
an Idempotency-Key, repeat each until it is answered, and write down every uid they got. Meanwhile one process a second
gets a SIGKILL: gunicorn's master, one of its workers, a worker, one of a worker's processes, or Redis; or a worker or
one of its processes stands still for a second (SIGSTOP). The seed decides which.

One workflow in ten misbehaves: it forks, ignores SIGTERM, leaves its process in another state than it was, or leaves a
child behind. A fifth caller cancels executions at about the time at which they end.

With `--callbacks` each end calls back a receiver, which verifies each with the official library of Standard Webhooks,
and answers one in fifty 503 at first.

What has become of the executions is judged by a file that their workflow writes itself: `S uid time` when it begins,
`D uid time` when it ends. Exits with 1 if an accepted execution neither ended nor failed with a reason, or failed
without a cause: none of these workflows fails by itself.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import http.server
import itertools
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import standardwebhooks
from redis import Redis
from redis.exceptions import RedisError

from bench.processes import children, command, descendants, is_alive
from trigger import store
from trigger.redis_server import private_redis_url

ROOT = Path(__file__).resolve().parents[1]

CALLERS = 4
PAUSE = 0.02  # seconds between two calls of a caller
DRAIN_SECONDS = 180.0
READY_SECONDS = 60.0

# What one execution in ten does besides.
MISCHIEF = ("forks", "ignores SIGTERM", "leaves state", "leaves a child")
STOPPED_SECONDS = 1.0
# A caller that cancels does so after a random time up to this long.
CANCEL_WITHIN = 0.06
REFUSED = 0.02  # the share of callbacks whose first attempt is refused
OPERATOR = "chaos:not-a-secret-of-anybody"

CONFIG = """\
crashes: 100
cancel_grace: 1s
operators: {chaos: "not-a-secret-of-anybody"}
workflows: {noted: 'work:noted'}
modules:
  chaos:
    methods:
      noted: {enabled: true, auth: {mode: none}, workflow: noted}
"""

WORK = """\
import os, resource, signal, subprocess, sys, time
from pathlib import Path
from trigger.workflows import current

EVIDENCE = os.open(Path(__file__).with_name("evidence"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def note(word):
    os.write(EVIDENCE, f"{word} {current().uid} {time.monotonic():.3f}\\n".encode())


def noted(value):
    note("S")
    match value.get("mischief"):
        case "forks":
            if os.fork() == 0:
                return
        case "ignores SIGTERM":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        case "leaves state":
            os.chdir("/")
            os.umask(0o777)
            resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD, signal.SIGUSR1])
        case "leaves a child":
            subprocess.Popen(["sleep", "3"])
    time.sleep(value["seconds"])
    note("D")
"""

# The callback that every end has with `--callbacks`.
KEY = "whsec_" + base64.b64encode(b"not-a-secret-of-anybody!").decode()
CALLBACKS = """\
callbacks: {chaos: {url: "URL", secrets: ["KEY"], addresses: any, on: [succeeded, failed, cancelled]}}
server: {callback: chaos}
"""

KINDS = ("gunicorn master", "gunicorn worker", "worker", "process", "redis")
QUEUES = ("default", "callbacks")
STOPPED = ("worker stopped", "process stopped")


@dataclass
class Told:
    """What came of callbacks: `ids` are the `webhook-id`s that came, how often each; `missing` the uids of executions
    that have ended and nobody was told of; `ambiguous` those that came with several ids; `wrong` what the official
    library has refused."""

    ids: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    ambiguous: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return not self.wrong and not self.missing and not self.ambiguous

    def judge(self, ended: Iterable[str]) -> None:
        """Compares what came with the executions that have ended."""
        by_uid: dict[str, set[str]] = defaultdict(set)
        for of in self.ids:
            by_uid[of.partition(".")[0]].add(of)
        self.missing = [uid for uid in ended if uid not in by_uid]
        self.ambiguous = [uid for uid, ids in by_uid.items() if len(ids) > 1]

    def __str__(self) -> str:
        doubles = self.ids.total() - len(self.ids)
        return (
            f"called back {len(self.ids)}, doubles {doubles}, missing {len(self.missing)}, "
            f"with several ids {len(self.ambiguous)}, refused by the official verifier {len(self.wrong)}"
        )


class Receiver(http.server.ThreadingHTTPServer):
    """Takes callbacks, and keeps what they were."""

    request_queue_size = 128
    daemon_threads = True

    def __init__(self, seed: int) -> None:
        super().__init__(("127.0.0.1", 0), _Taking)
        self.told = Told()
        self.random = random.Random(seed)
        self.lock = threading.Lock()
        self.delayed: set[str] = set()
        self.verifier = standardwebhooks.Webhook(KEY)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def config(self) -> str:
        return CALLBACKS.replace("URL", f"http://127.0.0.1:{self.server_port}/hooks").replace("KEY", KEY)

    def status(self, headers: dict[str, str], body: bytes) -> int:
        """Note a callback, and return how it is answered."""
        with self.lock:
            try:
                self.verifier.verify(body, headers)
            except standardwebhooks.WebhookVerificationError as error:
                self.told.wrong.append(f"{error}")
                return 401
            of = headers["webhook-id"]
            if of not in self.told.ids and of not in self.delayed and self.random.random() < REFUSED:
                self.delayed.add(of)
                return 503
            self.told.ids[of] += 1
            return 204


class _Taking(http.server.BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(self.server.status({name.lower(): value for name, value in self.headers.items()}, body))
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


@dataclass
class Report:
    """What came of a run. Times are in seconds; `recovery` has them by the kind of process that was killed."""

    accepted: int = 0
    lost: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)  # why, by uid
    cancelled: int = 0
    duplicates: int = 0
    started_again: list[float] = field(default_factory=list)
    unasked: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    recovery: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    calls: list[float] = field(default_factory=list)
    repeated: Counter[str] = field(default_factory=Counter)
    drain: float | None = None
    left_over: list[str] = field(default_factory=list)
    exit_status: int | None = None
    told: Told | None = None  # with callbacks

    @property
    def good(self) -> bool:
        """Whether the promise was kept, and the service came to rest by itself."""
        at_rest = self.drain is not None and not self.left_over and self.exit_status == 0
        return not self.lost and not self.failed and at_rest and (self.told is None or self.told.good)

    def __str__(self) -> str:
        share = 100 * self.duplicates / max(1, self.accepted)
        calls = sorted(self.calls) or [0.0]
        lines = [
            f"accepted {self.accepted}, lost {len(self.lost)}, failed without cause {len(self.failed)}"
            + "".join(f"\n  {uid}: {why}" for uid, why in list(self.failed.items())[:10]),
            f"cancelled at about their end {self.cancelled}",
            f"duplicates {self.duplicates} ({share:.3f} %), executions that nobody was told of {self.unasked}",
            f"kills {self.kills.total()}: " + ", ".join(f"{kind} {self.kills[kind]}" for kind in (*KINDS, *STOPPED)),
            f"interrupted and run again {len(self.started_again)}, after {_spread(self.started_again)}",
            *(f"next call accepted after: {kind}: {_spread(self.recovery[kind])}" for kind in (*KINDS, *STOPPED)),
            f"a call with all its repeats: median {statistics.median(calls) * 1000:.0f} ms, "
            f"p99 {calls[int(len(calls) * 0.99)] * 1000:.0f} ms, longest {calls[-1]:.2f} s",
            "repeated because of: " + (", ".join(f"{why} {n}" for why, n in self.repeated.most_common()) or "nothing"),
            "drained " + (f"in {self.drain:.1f} s" if self.drain is not None else f"not within {DRAIN_SECONDS:.0f} s"),
            f"stopped with exit status {self.exit_status}, processes left over: {self.left_over or 'none'}",
        ]
        if self.told is not None:
            lines.append(str(self.told))
        return "\n".join(lines)


def _spread(times: Iterable[float]) -> str:
    ordered = sorted(times)
    if not ordered:
        return "-"
    return f"median {statistics.median(ordered):.2f} s, longest {ordered[-1]:.2f} s"


class Service:
    """`python -m trigger up` in a folder, with the programs that it runs; `data` is its data folder."""

    def __init__(
        self,
        folder: Path,
        *,
        config: str = CONFIG,
        work: str = WORK,
        data: Path | None = None,
        redis_url: str = "",
        **environ: str,
    ) -> None:
        (folder / "config.yaml").write_text(config)
        (folder / "work.py").write_text(work)
        self.evidence = folder / "evidence"
        self._log = folder / "log"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.data = data or folder / "data"
        self.redis = Redis.from_url(redis_url or private_redis_url(self.data), socket_timeout=2.0)
        self._environ = {
            **os.environ,
            "TRIGGER_CONFIG": str(folder / "config.yaml"),
            "TRIGGER_DATA": str(self.data),
            "TRIGGER_BIND": f"127.0.0.1:{self.port}",
            "TRIGGER_WORKERS": "2",
            "REDIS_URL": redis_url,
            **environ,
        }
        self.start()

    def start(self) -> None:
        """Starts it; again when it has ended or was killed."""
        with self._log.open("ab") as output:
            self._begins_at = output.tell()
            self.up = subprocess.Popen(
                [sys.executable, "-m", "trigger", "up"],
                env=self._environ,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while "Trigger is ready" not in self.log():
            if self.up.poll() is not None or time.monotonic() > deadline:
                raise TimeoutError(f"the service did not start:\n{self.log()}")
            time.sleep(0.05)

    def log(self) -> str:
        """What it has said since its last start."""
        return self._log.read_bytes()[self._begins_at :].decode(errors="replace")

    def pids(self) -> dict[str, list[int]]:
        """The processes of each kind that live now."""
        found: dict[str, list[int]] = {kind: [] for kind in KINDS}
        for pid in children(self.up.pid):
            words = command(pid)
            if "redis-server" in words or "valkey-server" in words:
                found["redis"].append(pid)
            elif "gunicorn: master" in words:
                found["gunicorn master"].append(pid)
                found["gunicorn worker"] += children(pid)
            elif "trigger worker" in words:
                found["worker"].append(pid)
                found["process"] += descendants(pid)
        return found

    def is_drained(self) -> bool:
        """Whether no execution waits or runs."""
        try:
            ledger = (key(queue) for queue in QUEUES for key in (store.waiting_key, store.leased_key))
            return not self.redis.exists(*ledger)
        except RedisError:
            return False

    def records(self, uids: Iterable[str]) -> dict[str, store.Record]:
        """The records of executions, of those that have one."""
        records = ((uid, store.read(self.redis, uid)) for uid in uids)
        return {uid: record for uid, record in records if record}

    def stop(self) -> tuple[int, list[str]]:
        """Stops it as an operator would; its exit status, and the commands of the processes it left behind."""
        self.redis.close()
        below = {pid: command(pid) for pid in descendants(self.up.pid)}
        self.up.send_signal(signal.SIGTERM)
        try:
            status = self.up.wait(60)
        except subprocess.TimeoutExpired:
            self.up.kill()
            status = self.up.wait()
        deadline = time.monotonic() + 5
        while any(is_alive(pid) for pid in below) and time.monotonic() < deadline:
            time.sleep(0.05)
        left = [pid for pid in below if is_alive(pid)]
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        return status, [below[pid] for pid in left]


@dataclass(frozen=True)
class Answer:
    """An answer of the API, when it came, and when the request that it answers was sent."""

    status: int
    headers: dict[str, str]
    content: dict[str, Any]
    tried: float
    at: float

    @property
    def uid(self) -> str:
        return str(self.content["uid"])


class Client:
    """Calls the API on a connection that is kept; `repeated` counts what calls had to be repeated for."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connection: http.client.HTTPConnection | None = None
        self.repeated: Counter[str] = Counter()

    def call(self, body: dict[str, Any], key: str | None = None) -> Answer:
        """One request. Raises OSError or HTTPException when it is not answered."""
        tried = time.monotonic()
        connection = self._connection or http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        self._connection = None
        headers = {"Idempotency-Key": key} if key is not None else {}
        try:
            connection.request("POST", "/v1/api/chaos/noted/async", json.dumps(body), headers)
            answer = connection.getresponse()
            content = json.loads(answer.read())["response"]
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return Answer(answer.status, dict(answer.getheaders()), content, tried, time.monotonic())

    def cancel(self, uid: str) -> None:
        """One request to cancel an execution, whatever is answered. Raises as `call` does."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        try:
            headers = {"Authorization": "Basic " + base64.b64encode(OPERATOR.encode()).decode()}
            connection.request("POST", f"/v1/executions/{uid}/cancel", headers=headers)
            connection.getresponse().read()
        finally:
            connection.close()

    def accept(self, body: dict[str, Any], key: str) -> Answer:
        """The answer to a call that is repeated with its key until it is accepted."""
        while True:
            try:
                answer = self.call(body, key)
            except (OSError, http.client.HTTPException) as error:
                self.repeated[type(error).__name__] += 1
            else:
                if answer.status == 202:
                    return answer
                self.repeated[str(answer.status)] += 1
            time.sleep(PAUSE)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()


class Caller(threading.Thread):
    """Sends one call after the other until told to stop, each until it is answered; writes down every uid it got."""

    def __init__(self, port: int, journal: Path, seed: int, over: threading.Event) -> None:
        super().__init__(daemon=True)
        self.client = Client(port)
        self._random = random.Random(seed)
        self._over = over
        self._journal = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.accepted: list[tuple[float, float]] = []  # when the try that was answered began, and when it was answered
        self.took: list[float] = []  # by each call, with all its repeats

    def run(self) -> None:
        while not self._over.is_set():
            body: dict[str, Any] = {"seconds": 0.05 if self._random.random() < 0.2 else 0}
            if self._random.random() < 0.1:
                body["mischief"] = self._random.choice(MISCHIEF)
            began = time.monotonic()
            answer = self.client.accept(body, str(uuid.uuid4()))
            os.write(self._journal, f"{answer.uid}\n".encode())
            os.fsync(self._journal)
            self.took.append(answer.at - began)
            self.accepted.append((answer.tried, answer.at))
            time.sleep(PAUSE)
            self.go_on(answer.uid)
        self.client.close()
        os.close(self._journal)

    def go_on(self, uid: str) -> None:
        """What else it does with an execution that was accepted."""


class Canceller(Caller):
    """Cancels each of its executions at about the time at which that ends."""

    def go_on(self, uid: str) -> None:
        time.sleep(self._random.uniform(0, CANCEL_WITHIN))
        try:
            self.client.cancel(uid)
        except (OSError, http.client.HTTPException):
            pass  # somebody was killed; then it is not cancelled


def kill_for(seconds: float, service: Service, seed: int) -> list[tuple[float, str]]:
    """Kills a process in every second of the time, at a random moment of it; answers when, and of which kind it was."""
    rng = random.Random(seed)
    killed = []
    began = time.monotonic()
    for second in range(int(seconds)):
        time.sleep(max(0.0, began + second + rng.random() - time.monotonic()))
        wanted, which = rng.choice((*KINDS, *STOPPED)), rng.random()
        living = service.pids()
        if not living[wanted.removesuffix(" stopped")]:
            wanted = next((kind for kind in KINDS if living[kind]), "")
        if not wanted:
            continue
        kind = wanted.removesuffix(" stopped")
        pid = living[kind][int(which * len(living[kind]))]
        try:
            if wanted in STOPPED:
                os.kill(pid, signal.SIGSTOP)
                threading.Timer(STOPPED_SECONDS, _go_on, [pid]).start()
            else:
                os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
        killed.append((time.monotonic(), wanted))
    return killed


def _go_on(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGCONT)
    except ProcessLookupError:
        pass


def call_and_kill(
    service: Service, folder: Path, seconds: float, seed: int, kinds: Sequence[type[Caller]]
) -> tuple[list[Caller], list[tuple[float, str]]]:
    """Has a caller of each kind send calls while processes are killed; the callers, whose journals are in the folder,
    and what kill_for answers."""
    over = threading.Event()
    callers = [kind(service.port, folder / f"journal-{n}", seed + n, over) for n, kind in enumerate(kinds)]
    for caller in callers:
        caller.start()
    killed = kill_for(seconds, service, seed)
    over.set()
    for caller in callers:
        caller.join(60)
    return callers, killed


def run(folder: Path, seconds: float, seed: int, *, callbacks: bool = False) -> Report:
    """A run in a folder that exists and is empty; `log`, `evidence` and the callers' journals stay in it."""
    report = Report()
    receiver = Receiver(seed) if callbacks else None
    service = Service(folder, config=CONFIG + (receiver.config if receiver else ""))
    try:
        service.wait_until_ready()
        callers, killed = call_and_kill(service, folder, seconds, seed, [*[Caller] * CALLERS, Canceller])
        began = time.monotonic()
        while not service.is_drained() and time.monotonic() < began + DRAIN_SECONDS:
            time.sleep(0.1)
        report.drain = time.monotonic() - began if service.is_drained() else None
        over_by_then = _judge(report, service, folder)
        if receiver is not None:
            report.told = receiver.told
            receiver.told.judge(over_by_then)
    finally:
        report.exit_status, report.left_over = service.stop()
        if receiver is not None:
            receiver.shutdown()
            receiver.server_close()
    report.kills = Counter(kind for _, kind in killed)
    accepted = sorted(pair for caller in callers for pair in caller.accepted)
    for moment, kind in killed:
        # Several callers are under way at once: the first to be answered need not be the first that tried.
        later = itertools.islice((pair for pair in accepted if pair[0] > moment), 2 * CALLERS)
        if answered := [at for _, at in later]:
            report.recovery[kind].append(min(answered) - moment)
    for caller in callers:
        report.calls += caller.took
        report.repeated.update(caller.client.repeated)
    return report


def read_evidence(path: Path) -> tuple[dict[str, list[float]], Counter[str]]:
    """When each execution has begun, and how often it has ended, as its workflow says itself."""
    began: dict[str, list[float]] = defaultdict(list)
    ended: Counter[str] = Counter()
    for line in path.read_text().splitlines() if path.exists() else []:
        word, uid, moment = line.split()
        if word == "S":
            began[uid].append(float(moment))
        else:
            ended[uid] += 1
    return began, ended


def _judge(report: Report, service: Service, folder: Path) -> set[str]:
    """Compares what the callers were promised with what the workflow has done; the executions that have ended."""
    uids = [uid for number in range(CALLERS + 1) for uid in (folder / f"journal-{number}").read_text().split()]
    began, ended = read_evidence(service.evidence)
    records = service.records(uids)
    over = {uid for uid, record in records.items() if record.status in store.FINAL}
    report.accepted = len(uids)
    report.cancelled = sum(record.status is store.Status.CANCELLED for record in records.values())
    report.failed = {uid: f"{record.error}" for uid, record in records.items() if record.status is store.Status.FAILED}
    said = {uid for uid in over if ended[uid] or records[uid].status is not store.Status.SUCCEEDED}
    report.lost = sorted(set(uids) - said)
    report.duplicates = sum(ended[uid] > 1 for uid in uids)
    report.unasked = len(began.keys() - set(uids))
    report.started_again = [after - before for times in began.values() for before, after in _pairs(times)]
    return over


def _pairs(times: list[float]) -> Iterable[tuple[float, float]]:
    ordered = sorted(times)
    return itertools.pairwise(ordered)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60, help="how long calls are sent and processes killed")
    parser.add_argument("--seed", type=int, default=1, help="of what is killed when")
    parser.add_argument("--callbacks", action="store_true", help="have each end call back")
    parser.add_argument("--keep", type=Path, help="a folder to work in, which is made and stays")
    options = parser.parse_args()
    if options.keep:
        options.keep.mkdir(mode=0o700, parents=True)
        report = run(options.keep, options.seconds, options.seed, callbacks=options.callbacks)
    else:
        with tempfile.TemporaryDirectory(prefix="trigger-chaos-") as folder:
            report = run(Path(folder), options.seconds, options.seed, callbacks=options.callbacks)
    sys.stdout.write(f"{options.seconds:.0f} s, seed {options.seed}\n{report}\n")
    return 0 if report.good else 1


if __name__ == "__main__":
    sys.exit(main())
