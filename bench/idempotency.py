"""Many callers send one call with the same Idempotency-Key at the same moment: one execution for each key.

    python -m bench.idempotency --callers 50 --keys 1000

Starts `python -m trigger up` on a folder of its own. Exits with 1 unless each key has one uid and one execution.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from pathlib import Path

from bench.chaos import Answer, Client, Service, read_evidence

DRAIN_SECONDS = 120.0


def call_together(port: int, callers: int, keys: int) -> list[list[Answer]]:
    """What each caller was answered for each key; all of them call with one key before the next one is used."""
    together = threading.Barrier(callers)
    answers: list[list[Answer]] = [[] for _ in range(callers)]

    def call(mine: list[Answer]) -> None:
        client = Client(port)
        for key in range(keys):
            together.wait()
            mine.append(client.accept({"seconds": 0}, f"key-{key}"))
        client.close()

    threads = [threading.Thread(target=call, args=(mine,)) for mine in answers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--callers", type=int, default=50, help="how many call at once")
    parser.add_argument("--keys", type=int, default=1000, help="how many keys they use, one after the other")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="trigger-idempotency-") as folder:
        service = Service(Path(folder))
        try:
            service.wait_until_ready()
            began = time.monotonic()
            answers = call_together(service.port, options.callers, options.keys)
            took = time.monotonic() - began
            deadline = time.monotonic() + DRAIN_SECONDS
            while not service.is_drained() and time.monotonic() < deadline:
                time.sleep(0.1)
            _, ended = read_evidence(service.evidence)
        finally:
            service.stop()
    uids: dict[int, set[str]] = defaultdict(set)
    first = Counter[int]()
    for mine in answers:
        for key, answer in enumerate(mine):
            uids[key].add(answer.uid)
            first[key] += "Idempotency-Replayed" not in answer.headers
    distinct = {uid for found in uids.values() for uid in found}
    sys.stdout.write(
        f"{options.callers} callers, {options.keys} keys, {options.callers * options.keys} calls in {took:.1f} s: "
        f"{len(distinct)} uids, {ended.total()} executions, "
        f"{sum(first.values())} answers without Idempotency-Replayed\n"
    )
    good = len(distinct) == ended.total() == options.keys and all(len(found) == 1 for found in uids.values())
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
