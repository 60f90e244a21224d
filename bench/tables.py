"""Figures as Markdown tables: ratios first, each as median [least-greatest] of the rounds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.figures import Figures, Spread
from bench.stacks import BY_NAME, STACKS

OURS = "ours"


def number(value: float) -> str:
    """A value with three digits that count: 0.0123, 1.23, 12.3, 1,234."""
    if value == 0:
        return "0"
    size = abs(value)
    decimals = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3
    return f"{value:,.{decimals}f}"


def spread(figure: Spread) -> str:
    """A spread as "median [least-greatest]"."""
    return f"{number(figure.median)} [{number(figure.least)}-{number(figure.greatest)}]"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, all columns but the first aligned to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def title(stack: str, *, worker: bool = False) -> str:
    """How a stack is called in a table, ours in bold; with `worker`, where only its worker counts."""
    named = (worker and BY_NAME[stack].queue) or BY_NAME[stack].title
    return f"**{named}**" if stack == OURS else named


def _stacks(figures: Figures, case: str, metric: str, *, best: int = 1) -> list[str]:
    """The stacks that have been measured in a case: ours, then the best; `best` is -1 where less is better."""
    found = [stack.name for stack in STACKS if figures.has(stack.name, case, metric)]
    return sorted(found, key=lambda name: (name != OURS, -best * figures.spread(name, case, metric).median))


def _ratio(figures: Figures, metric: str, stack: str, case: str) -> str:
    """Ours divided by the stack."""
    if stack == OURS or not figures.has(OURS, case, metric):
        return "1"
    return spread(figures.ratio(metric, (OURS, case), (stack, case)))


def trigger_path(figures: Figures) -> str:
    """Calls a second and their times, a table for each Redis setting and number of connections."""
    parts = []
    for case in _cases(figures, "rps"):
        durability, connections = case.split()
        rows = [
            [
                title(stack),
                _ratio(figures, "rps", stack, case),
                *(spread(figures.spread(stack, case, metric)) for metric in ("rps", "p50", "p99")),
                number(figures.spread(stack, case, "cpu").median),
                number(figures.spread(stack, case, "redis_cpu").median),
                number(figures.spread(stack, case, "failed").greatest),
            ]
            for stack in _stacks(figures, case, "rps")
        ]
        head = ["", "ours ÷ it", "calls/s", "p50 ms", "p99 ms", "CPU µs/call", "of Redis", "failed"]
        parts.append(f"{connections[1:]} connections, Redis {SETTING[durability]}:\n\n{table(head, rows)}")
    return "\n\n".join(parts)


def worker_rate(figures: Figures) -> str:
    """Jobs a second, a table for each Redis setting, and the bursts."""
    parts = []
    for case in _cases(figures, "rate"):
        rows = [
            [
                title(stack, worker=True),
                _ratio(figures, "rate", stack, case),
                spread(figures.spread(stack, case, "rate")),
                number(figures.spread(stack, case, "cpu").median),
                number(figures.spread(stack, case, "redis_cpu").median),
                number(figures.spread(stack, case, "doubled").greatest),
            ]
            for stack in _stacks(figures, case, "rate")
        ]
        head = ["", "ours ÷ it", "jobs/s", "CPU µs/job", "of Redis", "run twice"]
        parts.append(f"Jobs that do nothing, Redis {SETTING[case.split()[0]]}:\n\n{table(head, rows)}")
    for case in _cases(figures, "took"):
        rows = [
            [
                title(stack, worker=True),
                _ratio(figures, "took", stack, case),
                spread(figures.spread(stack, case, "took")),
            ]
            for stack in _stacks(figures, case, "took", best=-1)
        ]
        parts.append(f"40 times fibo(10), queued at once:\n\n{table(['', 'ours ÷ it', 'ms until all are done'], rows)}")
    return "\n\n".join(parts)


def latency(figures: Figures) -> str:
    """From the call to the workflow's first line."""
    rows = [
        [
            title(stack, worker=True),
            _ratio(figures, "p50", stack, case),
            *(spread(figures.spread(stack, case, metric)) for metric in ("p50", "p95", "p99", "answer")),
        ]
        for case in _cases(figures, "p50")
        for stack in _stacks(figures, case, "p50", best=-1)
    ]
    return table(["", "ours ÷ it", "p50 ms", "p95 ms", "p99 ms", "answered, p50 ms"], rows)


def growth(figures: Figures) -> str:
    """Each case divided by the service with few APIs and an empty Redis, and the memory of a record."""
    cases = _cases(figures, "rate")
    rows = [
        [
            "10 APIs, nothing queued or kept" if case == "base" else case,
            *(spread(figures.ratio(metric, (OURS, case), (OURS, "base"))) for metric in ("p50", "rps", "rate")),
            *(spread(figures.spread(OURS, case, metric)) for metric in ("p50", "rps", "rate")),
        ]
        for case in cases
    ]
    head = ["", "p50 ÷", "calls/s ÷", "jobs/s ÷", "p50 ms, 1 connection", "calls/s, 16 connections", "jobs/s"]
    sizes = [
        [
            title(stack, worker=True),
            _ratio(figures, "kib", stack, "record"),
            spread(figures.spread(stack, "record", "kib")),
        ]
        for stack in _stacks(figures, "record", "kib", best=-1)
    ]
    parts = [table(head, rows)] if rows else []
    if sizes:
        parts.append(table(["Redis memory of a finished execution", "ours ÷ it", "KiB"], sizes))
    return "\n\n".join(parts)


def memory(figures: Figures) -> str:
    """The idle service, and how soon ours is ready."""
    metrics = ("pss", "redis", "web", "workers", "rest")
    rows = [
        [
            title(stack),
            _ratio(figures, "pss", stack, case),
            *(spread(figures.spread(stack, case, m)) if figures.has(stack, case, m) else "" for m in metrics),
            spread(figures.spread(stack, case, "ready")) if figures.has(stack, case, "ready") else "",
        ]
        for case in _cases(figures, "pss")
        for stack in _stacks(figures, case, "pss", best=-1)
    ]
    return table(["", "ours ÷ it", "PSS MiB", "Redis", "web", "workers", "supervisor", "ready after s"], rows)


def web_settings(figures: Figures) -> str:
    """Our web with other settings of gunicorn, a table for each Redis setting."""
    parts = []
    cases = _cases(figures, "rps")
    for durability, what in SETTING.items():
        named = [case for case in cases if case.startswith(f"{durability} ")]
        rows = [
            [
                case.removeprefix(f"{durability} "),
                spread(figures.ratio("rps", (OURS, case), (OURS, named[0]))),
                *(spread(figures.spread(OURS, case, metric)) for metric in ("rps", "p50", "p99")),
                number(figures.spread(OURS, case, "cpu").median),
            ]
            for case in named
        ]
        head = ["", "calls/s ÷ the first", "calls/s", "p50 ms", "p99 ms", "CPU µs/call"]
        parts.append(f"Redis {what}:\n\n{table(head, rows)}")
    return "\n\n".join(parts)


SETTING = {"none": "without persistence", "always": "with `appendfsync always`"}


def _cases(figures: Figures, metric: str) -> list[str]:
    return list(dict.fromkeys(case for _, case, found in figures.values if found == metric))
