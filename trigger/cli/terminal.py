"""How answers look in a terminal: tables, a record for the one who is woken at night, nothing that could steer it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import click
from tabulate import tabulate

from trigger.cli.common import complain
from trigger.errors import StartError
from trigger.invocation import ours
from trigger.logs import escaped
from trigger.store import FINAL, Record, Status, read
from trigger.store.log_reading import Line
from trigger.store.steps import StepRecord
from trigger.store.telling import alone

if TYPE_CHECKING:
    from trigger.store.acts import Parts

# How many characters of a value are shown in a table of steps, how many of an input or output, and how many spans of a
# timeline.
MAX_CELL, MAX_VALUE, MAX_SPANS = 80, 2_000, 40


def table(rows: Sequence[Mapping[str, Any]], machine: bool) -> None:
    """Rows as a table for people, or as a JSON list."""
    if machine:
        click.echo(json.dumps(rows, ensure_ascii=False))
    elif rows:
        click.echo(tabulate([{key: _cell(value) for key, value in row.items()} for row in rows], headers="keys"))
    else:
        click.echo("none")


def show_record(record: Record, machine: bool, last_lines: Callable[[str], Sequence[Line]] | None = None) -> None:
    """A record as a page for people, or as JSON.

    `last_lines` gives the last lines of the log of a step ("" for all of it); they are shown of what has failed.
    """
    if machine:
        click.echo(json.dumps(record.as_json(operator=True), ensure_ascii=False))
        return
    for part in _parts(record, last_lines):
        click.echo(part)


def show_end(parts: Parts, uid: str, seconds: float, machine: bool) -> bool:
    """Wait until an execution has ended, at most so long, and show its record; whether it has succeeded.

    Raises StartError when there is none any more.
    """
    with alone(parts.redis, uid, only_end=True) as watch:
        watch.wait(seconds)
    record = read(parts.redis, uid, parts.config.masked)
    if record is None:
        raise StartError(f"the record of execution {uid} is gone")
    show_record(record, machine)
    if record.status not in FINAL:
        complain(f"it is still {record.status} after {seconds:g} s; is a worker running?")
    return record.status is Status.SUCCEEDED


def _parts(record: Record, last_lines: Callable[[str], Sequence[Line]] | None) -> Iterator[str]:
    yield tabulate(list(_facts(record)), tablefmt="plain", disable_numparse=True)
    if record.steps:
        rows = [_step(step) for step in record.steps]
        yield "\n" + tabulate(rows, headers=["step", "kind", "status", "attempts", "took", ""], disable_numparse=True)
    if len(record.timeline) > 2:
        yield "\nwhere the time went\n" + tabulate(list(_spans(record)), tablefmt="plain", disable_numparse=True)
    failed = record.failed_step
    trace = (failed.traceback if failed else None) or record.traceback
    if trace and record.status is not Status.SUCCEEDED:
        yield "\n" + escaped(trace.rstrip(), keep="\n\t")
    if record.status in (Status.FAILED, Status.CANCELLED) and last_lines is not None:
        lines = last_lines(failed.name if failed else "")
        if lines:
            of = f" of {failed.name}" if failed else ""
            yield "\n" + "\n".join([f"the last lines{of}", *(f"  {escaped(str(line), keep=chr(9))}" for line in lines)])
    yield "\n" + tabulate(list(_ways_on(record)), tablefmt="plain")


def _facts(record: Record) -> Iterator[tuple[str, str]]:
    yield "execution", record.uid
    yield "status", f"{record.status}{f', attempt {record.attempt}' if record.attempt > 1 else ''}{_held(record)}"
    yield "api", f"{record.module}/{record.method}"
    yield "workflow", _cell(record.workflow)
    if record.caller is not None:
        yield "caller", _cell(record.caller)
    if record.config_version:
        yield "config", f"version {_cell(record.config_version)} accepted it"
    if record.request_id != record.uid:
        yield "request", record.request_id
    if record.merged:
        yield "merged", f"{record.merged:,} further call{'' if record.merged == 1 else 's'}"
    for name, uid in (("rerun of", record.rerun_of), ("goes on with", record.resumed_from)):
        if uid:
            yield name, uid
    yield "accepted", record.created_at or ""
    if record.started_at:
        yield "started", record.started_at
    if record.ended_at:
        yield "ended", f"{record.ended_at}, after {_took(sum(span.ms or 0 for span in record.timeline))}"
    for number, header in enumerate(record.headers_shown):
        yield "" if number else "headers", _cut(escaped(header), MAX_VALUE)
    yield "input", _json(record.input, MAX_VALUE)
    if record.output is not None:
        yield "output", _json(record.output, MAX_VALUE)
    failed = record.failed_step
    if failed is not None and failed.input is not None:
        yield f"{failed.name} got", _json(failed.input, MAX_VALUE)
    for number, one in enumerate(record.callbacks):
        then = f", again at {one.next}" if one.next else ""
        said = f"{_cell(one.to)} {one.status or 'no longer kept'} (attempt {one.attempts}){then}"
        yield "" if number else "callbacks", said
    if record.error:
        yield "error", f"{f'in step {failed.name}: ' if failed else ''}{_error(record.error)}"


def _held(record: Record) -> str:
    """Return what keeps a queued execution out of its queue."""
    match record.waits_for:
        case "concurrency":
            return ": it waits until other executions of its API have ended (concurrency)"
        case "debounce":
            return ": it waits until no further call comes (debounce)"
        case _:
            return ""


def _step(step: StepRecord) -> tuple[str, ...]:
    status = step.status.upper() if step.status == "failed" else step.status
    took = ""
    if step.error:
        said = _cut(_error(step.error), MAX_CELL)
    elif step.because:
        said = _cut(escaped(step.because), MAX_CELL)
    else:
        said = "" if step.output is None else _json(step.output, MAX_CELL)
    if step.started_at and step.ended_at:
        lasted = datetime.fromisoformat(step.ended_at) - datetime.fromisoformat(step.started_at)
        took = _took(max(0, lasted // timedelta(milliseconds=1)))
    name = f"{step.name} (on failure)" if step.on_failure else step.name
    return name, step.kind or "", status, str(step.attempts or ""), took, said


def _spans(record: Record) -> Iterator[tuple[str, str, str]]:
    spans = record.timeline
    for index, span in enumerate(spans):
        if MAX_SPANS // 2 <= index < len(spans) - MAX_SPANS // 2:
            if index == MAX_SPANS // 2:
                yield "…", "", f"and {len(spans) - MAX_SPANS} more, which --json shows"
            continue
        took = "" if span.ms is None else _took(span.ms)
        yield f"  {span.since[11:23]}", took, " ".join([span.what, *span.steps])


def _ways_on(record: Record) -> Iterator[tuple[str, str]]:
    """The commands that come next, with what each does."""
    command = ours()
    yield f"{command} logs {'' if record.status in FINAL else '-f '}{record.uid}", "its log"
    if record.status not in FINAL:
        yield f"{command} cancel {record.uid}", "it never starts, or is told to end"
        return
    if record.steps and record.status is not Status.SUCCEEDED:
        yield f"{command} resume {record.uid}", "a new one that does what is not done yet"
    yield f"{command} rerun {record.uid}", "a new one that does all of it; --data JSON for another input"


def _error(error: Mapping[str, Any]) -> str:
    return escaped(f"{error.get('class')}: {error.get('message')}")


def _took(ms: int) -> str:
    if ms < 1000:
        return f"{ms} ms"
    if ms < 120_000:
        return f"{ms / 1000:.1f} s"
    return f"{ms // 3_600_000} h {ms // 60_000 % 60} min" if ms >= 7_200_000 else f"{ms // 60_000} min"


def _json(value: Any, length: int) -> str:
    return _cut(escaped(json.dumps(value, ensure_ascii=False)), length)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[:length]}… (--json shows all)"


def _cell(value: Any) -> str:
    """A value in a table: what a caller sent can't steer the terminal."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return escaped(" ".join(value))
    return escaped(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
