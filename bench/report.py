"""docs/benchmarks.md: writes what the benches have measured between its markers, and the chart.

    python -m bench.report

A part stands between `<!-- begin NAME -->` and `<!-- end NAME -->`; what is around it is written by hand.
"""

from __future__ import annotations

import re
from pathlib import Path

from bench import tables
from bench.chart import Panel, chart
from bench.figures import Figures
from bench.session import RESULTS
from bench.stacks import STACKS
from bench.targets import AllFigures, targets
from bench.venvs import BENCH, requirements

PAGE = BENCH.parent / "docs" / "benchmarks.md"
CHART = BENCH.parent / "docs" / "images" / "benchmarks.svg"
BENCHMARKS = {
    "trigger_path": tables.trigger_path,
    "worker_rate": tables.worker_rate,
    "latency": tables.latency,
    "growth": tables.growth,
    "memory": tables.memory,
    "web_settings": tables.web_settings,
}


def read(folder: Path = RESULTS) -> AllFigures:
    """The kept figures of all benches."""
    return {name: Figures.load(folder / f"{name}.json") for name in BENCHMARKS}


def parts(figures: AllFigures) -> dict[str, str]:
    """What belongs between the markers of the page, by name."""
    return {
        "machine": machine(figures),
        "targets": targets(figures),
        "peers": peers(),
        **{name: render(figures[name]) for name, render in BENCHMARKS.items()},
    }


def fill(page: str, content: dict[str, str]) -> str:
    """The page with its parts replaced; raises KeyError for a marker that stands for nothing."""

    def replaced(found: re.Match[str]) -> str:
        name = found["name"]
        return f"<!-- begin {name} -->\n\n{content[name]}\n\n<!-- end {name} -->"

    return re.sub(r"<!-- begin (?P<name>\w+) -->.*?<!-- end (?P=name) -->", replaced, page, flags=re.DOTALL)


def machine(figures: AllFigures) -> str:
    """On what the figures were measured, and how often."""
    seen = figures["trigger_path"].machine
    days = sorted({each.machine["date"] for each in figures.values()})
    rounds = sorted({each.options["rounds"] for each in figures.values()})
    return (
        f"{' and '.join(days)}, {seen['cores']} cores of {seen['cpu']}, shared with the load generator, Linux "
        f"{seen['kernel']}, Python {seen['python']}, Redis {seen['redis']}; {' or '.join(map(str, rounds))} rounds."
    )


def peers() -> str:
    """The peers: what they run on, and what they do less than we."""
    rows = [[stack.title, _versions(stack.venv), stack.less] for stack in STACKS if stack.less]
    return tables.table(["", "runs on", "does less than we"], rows).replace("---:", "---")


def _versions(venv: str) -> str:
    """The packages that matter, with their versions."""
    if not venv:
        return "Debian's package"
    known = ("Flask", "starlette", "gunicorn", "redis", "hiredis", "rq", "celery", "dramatiq", "huey", "saq")
    pins = dict(line.split("==") for line in requirements(venv).read_text().splitlines() if "==" in line)
    return ", ".join(f"{name} {pins[name]}" for name in known if name in pins)


def panels(figures: AllFigures) -> list[Panel]:
    """What the chart shows."""
    return [
        Panel("Calls answered a second, 16 connections", figures["trigger_path"], "none c16", "rps", True, False),
        Panel("Jobs a second of one worker process", figures["worker_rate"], "none noop", "rate", True, True),
        Panel("From the call to the workflow's first line, ms", figures["latency"], "none idle", "p50", False, True),
    ]


def write() -> None:
    """Writes the page's parts and the chart, once all benches have kept figures."""
    if not all((RESULTS / f"{name}.json").exists() for name in BENCHMARKS):
        return
    figures = read()
    PAGE.write_text(fill(PAGE.read_text(), parts(figures)))
    CHART.parent.mkdir(exist_ok=True)
    CHART.write_text(chart(panels(figures)))


if __name__ == "__main__":
    write()
