"""What a bench has measured: one value for each round, and what is made of them."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Spread:
    """Some values by their median, the least and the greatest."""

    median: float
    least: float
    greatest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values))


Key = tuple[str, str, str]  # stack, case, metric


@dataclass
class Figures:
    """The values of each (stack, case, metric), a value for each round, in order; on which machine, and when."""

    benchmark: str
    options: dict[str, Any]
    machine: dict[str, str] = field(default_factory=dict)
    values: dict[Key, list[float]] = field(default_factory=dict)

    def add(self, stack: str, case: str, **metrics: float) -> None:
        """Adds a round's values of one stack in one case."""
        for metric, value in metrics.items():
            self.values.setdefault((stack, case, metric), []).append(value)

    def has(self, stack: str, case: str, metric: str) -> bool:
        return (stack, case, metric) in self.values

    def spread(self, stack: str, case: str, metric: str) -> Spread:
        return Spread.of(self.values[stack, case, metric])

    def ratio(self, metric: str, over: tuple[str, str], under: tuple[str, str]) -> Spread:
        """How many times the value of (stack, case) `over` is that of `under`, compared round by round."""
        pairs = zip(self.values[*over, metric], self.values[*under, metric], strict=True)
        return Spread.of([a / b for a, b in pairs])

    def save(self, path: Path) -> None:
        """Writes the figures as JSON."""
        content = asdict(self)
        content["values"] = [
            {"stack": stack, "case": case, "metric": metric, "values": values}
            for (stack, case, metric), values in self.values.items()
        ]
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content, indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Figures:
        """Reads what `save` has written."""
        content = json.loads(path.read_text())
        values = {(row["stack"], row["case"], row["metric"]): row["values"] for row in content["values"]}
        return cls(content["benchmark"], content["options"], content["machine"], values)


def machine(**programs: str) -> dict[str, str]:
    """What the figures depend on: processor, cores, kernel, Python, and the versions of `programs`."""
    cpu = next(
        (line.partition(":")[2].strip() for line in _cpuinfo() if line.startswith("model name")), platform.machine()
    )
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "cores": str(len(os.sched_getaffinity(0))),
        "cpu": cpu,
        "kernel": platform.release().partition("-")[0],
        "python": platform.python_version(),
        **programs,
    }


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []
