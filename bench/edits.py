"""Edits under load: what calls and executions notice of a config that is edited again and again.

    python -m bench.edits --edits 200 --rate 50

Starts `python -m trigger up` on a folder of its own, with a worker for each of its three queues, and sends calls at a
steady rate to APIs that are there all the time, and to each new one as soon as it is answered. Meanwhile the config is
edited: workflows are added, renamed, moved to another queue and pointed to another function, new APIs come and old ones
go, and the module that all workflows are in changes. Every edit is a new file in place of the old one.

Exits with 1 if a call of an API that is in every version is not answered 202, if the new API of an edit does not come,
or if an execution does not succeed.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from bench.chaos import Service
from trigger import store

QUEUES = ("default", "side", "late")
STEADY = 4  # APIs that are in every version
DRAIN_SECONDS = 120.0
IN_FORCE_SECONDS = 60.0  # a machine may have much else to do

WORK = """\
VERSION = {version}


def one(value):
    return ["one", VERSION]


def two(value):
    return ["two", VERSION]
"""


@dataclass
class Plan:
    """A version of the config: the workflow of each API, by its number, and the new API that it has."""

    number: int = 0
    names: list[str] = field(default_factory=lambda: [f"w{n}" for n in range(STEADY)])
    queues: list[str] = field(default_factory=lambda: [QUEUES[n % len(QUEUES)] for n in range(STEADY)])
    functions: list[str] = field(default_factory=lambda: ["one"] * STEADY)
    code: int = 0

    def edit(self, rng: random.Random) -> str:
        """Changes it in one way, and says in which."""
        self.number += 1
        which = rng.randrange(STEADY)
        match what := rng.choice(("add", "rename", "move", "point", "rename and move", "code")):
            case "rename":
                self.names[which] = f"w{which}_{self.number}"
            case "move":
                self.queues[which] = rng.choice(QUEUES)
            case "point":
                self.functions[which] = "two" if self.functions[which] == "one" else "one"
            case "rename and move":
                self.names[which], self.queues[which] = f"w{which}_{self.number}", rng.choice(QUEUES)
            case "code":
                self.code += 1
        return what

    def text(self) -> str:
        rows = zip(self.names, self.functions, self.queues, strict=True)
        workflows = [f"  {name}: {{python: 'work:{function}', queue: {queue}}}" for name, function, queue in rows]
        workflows += [f"  keep_{queue}: {{python: 'work:one', queue: {queue}}}" for queue in QUEUES]
        workflows += [f"  new{self.number}: work:one"]
        apis = {f"a{n}": name for n, name in enumerate(self.names)} | {f"new{self.number}": f"new{self.number}"}
        methods = [f"      {api}: {{enabled: true, auth: {{mode: none}}, workflow: {w}}}" for api, w in apis.items()]
        return "\n".join(["workflows:", *workflows, "modules:", "  edited:", "    methods:", *methods, ""])


@dataclass
class Report:
    """What came of a run. `unanswered` are calls of steady APIs that were not accepted, by what was answered."""

    edits: Counter[str] = field(default_factory=Counter)
    in_force: list[float] = field(default_factory=list)  # seconds from an edit to the first 202 of its new API
    never: int = 0  # edits whose new API was never there
    accepted: int = 0
    unanswered: Counter[str] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)
    failed: dict[str, str] = field(default_factory=dict)
    again: int = 0  # executions that took more than one attempt
    refused: list[str] = field(default_factory=list)  # errors in the service's log

    @property
    def good(self) -> bool:
        return not (self.unanswered or self.failed or self.never or self.refused) and set(self.ended) == {"succeeded"}

    def __str__(self) -> str:
        times = sorted(self.in_force) or [0.0]
        lines = [
            f"edits {self.edits.total()}: " + ", ".join(f"{what} {n}" for what, n in self.edits.most_common()),
            f"in force after: median {times[len(times) // 2]:.2f} s, longest {times[-1]:.2f} s; never {self.never}",
            f"calls accepted {self.accepted}, not accepted: {dict(self.unanswered) or 'none'}",
            f"executions: {dict(self.ended)}, more than one attempt {self.again}",
            *self.refused[:20],
            *(f"  {uid}: {why}" for uid, why in list(self.failed.items())[:10]),
        ]
        return "\n".join(lines)


class Caller:
    """Calls APIs on a connection that is kept."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connection: http.client.HTTPConnection | None = None

    def call(self, api: str) -> tuple[int, str]:
        """The status, and the uid or the error's code."""
        connection = self._connection or http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        self._connection = connection
        try:
            connection.request("POST", f"/v1/api/edited/{api}/async", "{}", {"Content-Type": "application/json"})
            answer = connection.getresponse()
            content = json.loads(answer.read())["response"]
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            self._connection = None
            return 0, type(error).__name__
        return answer.status, content["uid"] if answer.status == 202 else content["error"]["code"]

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()


class Load(threading.Thread):
    """Calls the steady APIs in turn at a rate, until told to stop."""

    def __init__(self, port: int, rate: float, over: threading.Event) -> None:
        super().__init__(daemon=True)
        self._caller, self._rate, self._over = Caller(port), rate, over
        self.uids: list[str] = []
        self.unanswered: Counter[str] = Counter()

    def run(self) -> None:
        began, number = time.monotonic(), 0
        while not self._over.wait(max(0.0, began + number / self._rate - time.monotonic())):
            status, said = self._caller.call(f"a{number % STEADY}")
            number += 1
            if status == 202:
                self.uids.append(said)
            else:
                self.unanswered[f"{status} {said}"] += 1
        self._caller.close()


def run(folder: Path, edits: int, rate: float, seed: int) -> Report:
    """A run in a folder that exists and is empty; `log` stays in it."""
    rng, plan, report = random.Random(seed), Plan(), Report()
    service = Service(folder, config=plan.text(), work=WORK.format(version=0), TRIGGER_WORKERS="1")
    try:
        service.wait_until_ready()
        over = threading.Event()
        loads = [Load(service.port, rate / 2, over) for _ in range(2)]
        for load in loads:
            load.start()
        uids = _edit(folder, plan, rng, edits, Caller(service.port), report)
        over.set()
        for load in loads:
            load.join(30)
            uids += load.uids
            report.unanswered.update(load.unanswered)
        _judge(service, uids, report)
    finally:
        report.refused = [line for line in service.log().splitlines() if " ERROR " in line]
        service.stop()
    return report


def _edit(folder: Path, plan: Plan, rng: random.Random, edits: int, caller: Caller, report: Report) -> list[str]:
    """Makes the edits, each when the one before is in force; answers the executions of their new APIs."""
    uids = []
    for _ in range(edits):
        report.edits[plan.edit(rng)] += 1
        _replace(folder / "work.py", WORK.format(version=plan.code))
        _replace(folder / "config.yaml", plan.text())
        began = time.monotonic()
        while (answer := caller.call(f"new{plan.number}"))[0] != 202:
            if time.monotonic() > began + IN_FORCE_SECONDS:
                report.never += 1
                break
            time.sleep(0.02)
        else:
            report.in_force.append(time.monotonic() - began)
            uids.append(answer[1])
        time.sleep(rng.uniform(0, 0.3))
    caller.close()
    return uids


def _replace(path: Path, text: str) -> None:
    new = path.with_name(f"{path.name}.new")
    new.write_text(text)
    os.replace(new, path)


def _judge(service: Service, uids: list[str], report: Report) -> None:
    deadline = time.monotonic() + DRAIN_SECONDS
    records = service.records(uids)
    while any(one.status not in store.FINAL for one in records.values()) and time.monotonic() < deadline:
        time.sleep(0.5)
        records = service.records(uids)
    report.accepted = len(uids)
    report.ended = Counter(str(records[uid].status) if uid in records else "lost" for uid in uids)
    report.again = sum(record.attempt > 1 for record in records.values())
    report.failed = {
        uid: f"{record.status}: {record.error}"
        for uid, record in records.items()
        if record.status is not store.Status.SUCCEEDED
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edits", type=int, default=200)
    parser.add_argument("--rate", type=float, default=50, help="calls a second")
    parser.add_argument("--seed", type=int, default=1, help="of what is edited")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="trigger-edits-") as folder:
        report = run(Path(folder), options.edits, options.rate, options.seed)
    sys.stdout.write(f"{options.edits} edits at {options.rate:.0f} calls/s, seed {options.seed}\n{report}\n")
    return 0 if report.good else 1


if __name__ == "__main__":
    sys.exit(main())
