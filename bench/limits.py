"""Limits of an API under load, over several web servers, and while processes are killed.

    python -m bench.limits rate --callers 50 --seconds 10
    python -m bench.limits debounce --calls 10000
    python -m bench.limits concurrency --seconds 300 --seed 1

Each starts `python -m trigger up` on a folder of its own, and exits with 1 unless the limit was kept.

- rate: callers send what they can to two services that share a Redis, where 100/1s are let through.
- debounce: callers send what is to be one execution with one uid.
- concurrency: chaos (see bench.chaos) while one execution may run at once. The workflow holds a lock on a file, which
  the system frees when its process is gone: whoever finds it taken writes `X`.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from bench.chaos import CALLERS, Answer, Caller, Client, Service, call_and_kill
from trigger.redis_server import private_redis_url
from trigger.store.keys import HELD, SLOTS, SLOTTED

CONFIG = """\
crashes: 100
operators: {{chaos: "not-a-secret-of-anybody"}}
workflows: {{noted: 'work:noted'}}
modules:
  chaos:
    methods:
      noted: {{enabled: true, auth: {{mode: none}}, workflow: noted, {limit}}}
"""

WORK = """\
import fcntl, os, time
from pathlib import Path
from trigger.workflows import current

FOLDER = Path(__file__).parent
EVIDENCE = os.open(FOLDER / "evidence", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def note(word):
    os.write(EVIDENCE, f"{word} {current().uid} {time.monotonic():.3f}\\n".encode())


def noted(value):
    with open(FOLDER / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            note("X")
        note("S")
        time.sleep(value["seconds"])
        note("D")
"""

LIMIT = 100  # calls a second
DRAIN_SECONDS = 180.0


def in_threads(count: int, work: Callable[[int], None]) -> None:
    """Do something in so many threads at once, to its end."""
    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def rate(folder: Path, callers: int, seconds: float) -> bool:
    """Print what a rate lets through, and return whether that is right."""
    config = CONFIG.format(limit=f"rate: {LIMIT}/1s")
    (folder / "other").mkdir()
    first = Service(folder, config=config, work=WORK)
    other = None
    answers: list[Answer] = []
    try:
        first.wait_until_ready()
        other = Service(folder / "other", config=config, work=WORK, redis_url=private_redis_url(first.data))
        other.wait_until_ready()
        ports = first.port, other.port
        over = time.monotonic() + seconds

        def call(number: int) -> None:
            client = Client(ports[number % 2])
            while time.monotonic() < over:
                answers.append(client.call({"seconds": 0}))
            client.close()

        in_threads(callers, call)
    finally:
        if other is not None:
            other.stop()
        first.stop()
    statuses = Counter(answer.status for answer in answers)
    told = all(
        {"Retry-After", "RateLimit", "RateLimit-Policy"} <= answer.headers.keys()
        and answer.headers["RateLimit"].startswith('"noted";r=0;t=')
        for answer in answers
        if answer.status == 429
    )
    sys.stdout.write(
        f"{callers} callers, {seconds:.0f} s at {LIMIT}/1s: {len(answers)} calls, "
        + ", ".join(f"{count} x {status}" for status, count in sorted(statuses.items()))
        + f"; each 429 says when to come again: {told}\n"
    )
    most = LIMIT * (seconds + 1)
    return told and statuses.keys() <= {202, 429} and 0.99 * LIMIT * seconds <= statuses[202] <= most


def debounce(folder: Path, callers: int, calls: int) -> bool:
    """Print what becomes of the calls of one burst, and return whether it is one execution."""
    service = Service(folder, config=CONFIG.format(limit="debounce: {quiet: 10s, at_most: 10m}"), work=WORK)
    answers: list[Answer] = []
    try:
        service.wait_until_ready()
        began = time.monotonic()

        def call(number: int) -> None:
            client = Client(service.port)
            for _ in range(number, calls, callers):
                answers.append(client.call({"seconds": 0}))
            client.close()

        in_threads(callers, call)
        took = time.monotonic() - began
        drained = _drain(service)
    finally:
        service.stop()
    uids = {answer.uid for answer in answers if answer.status == 202}
    runs = _words(service)["S"]
    sys.stdout.write(
        f"{len(answers)} calls in {took:.1f} s: {len(uids)} uid, {runs} run, drained: {drained}; slowest answer "
        f"{max(answer.at - answer.tried for answer in answers) * 1000:.0f} ms\n"
    )
    return drained and len(answers) == calls and len(uids) == 1 and runs == 1


def concurrency(folder: Path, seconds: float, seed: int) -> bool:
    """Print what chaos makes of a slot, and return whether no two ran at once and it was never lost."""
    config = CONFIG.format(limit="concurrency: {limit: 1, waiting: 20}")
    service = Service(folder, config=config, work=WORK)
    try:
        service.wait_until_ready()
        _, killed = call_and_kill(service, folder, seconds, seed, [Caller] * CALLERS)
        drained = _drain(service)
        left = service.redis.keys(f"{SLOTS}*") + service.redis.keys(f"{HELD}*") + service.redis.keys(SLOTTED)
        uids = [uid for n in range(CALLERS) for uid in (folder / f"journal-{n}").read_text().split()]
        statuses = Counter(record.status.value for record in service.records(uids).values())
    except http.client.HTTPException as error:
        sys.stdout.write(f"the service could not be called: {error}\n")
        return False
    finally:
        service.stop()
    words = _words(service)
    lines = (line.split() for line in service.evidence.read_text().splitlines())
    begun = sorted(float(moment) for word, _, moment in lines if word == "S")
    idle = max((after - before for before, after in itertools.pairwise(begun)), default=0.0)
    sys.stdout.write(
        f"{seconds:.0f} s, seed {seed}: {len(killed)} kills, {len(uids)} accepted, {dict(statuses)}, "
        f"{words['S']} runs, two at once: {words['X']}; longest time without a begin {idle:.1f} s; drained: {drained}, "
        f"slots left over: {len(left)}\n"
    )
    return drained and not left and not words["X"] and statuses["succeeded"] == len(uids)


def _drain(service: Service) -> bool:
    deadline = time.monotonic() + DRAIN_SECONDS
    while not service.is_drained() and time.monotonic() < deadline:
        time.sleep(0.1)
    return service.is_drained()


def _words(service: Service) -> Counter[str]:
    return Counter(line.split()[0] for line in service.evidence.read_text().splitlines())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("limit", choices=["rate", "debounce", "concurrency"])
    parser.add_argument("--callers", type=int, default=50, help="how many call at once (rate, debounce)")
    parser.add_argument("--calls", type=int, default=10_000, help="how many calls are one burst (debounce)")
    parser.add_argument("--seconds", type=float, default=10, help="how long it lasts (rate, concurrency)")
    parser.add_argument("--seed", type=int, default=1, help="of what is killed when (concurrency)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="trigger-limits-") as folder:
        match options.limit:
            case "rate":
                good = rate(Path(folder), options.callers, options.seconds)
            case "debounce":
                good = debounce(Path(folder), options.callers, options.calls)
            case _:
                good = concurrency(Path(folder), options.seconds, options.seed)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
