"""Bars to one scale: where the time of an execution went."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trigger.console.timing import MAX_BARS, MAX_SPANS, Timing, spans
from trigger.store import Record, Status, StepRecord
from trigger.store.timeline import timeline

BEGIN = datetime(2026, 1, 31, 12, tzinfo=UTC)
NOW = BEGIN.timestamp()


def at(seconds: float) -> str:
    return (BEGIN + timedelta(seconds=seconds)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def record(ended: float | None, *runs: tuple[float, float | None], steps: tuple[StepRecord, ...] = ()) -> Record:
    """One that was accepted at BEGIN, ended so many seconds later (None: not yet), and was run so."""
    end = None if ended is None else at(ended)
    parts = timeline(at(0), end, [(at(b), None if e is None else at(e)) for b, e in runs], steps)
    fields: dict[str, Any] = {field.name: None for field in dataclasses.fields(Record)}
    fields |= {"uid": "1" * 25, "status": Status.RUNNING, "created_at": at(0), "ended_at": end}
    return Record(**{**fields, "steps": steps, "timeline": parts})


def timing(of: Record, now: float = NOW) -> Timing:
    found = Timing.of(of, now)
    assert found is not None
    return found


def test_the_bars_of_the_whole_adjoin_and_fill_it() -> None:
    found = timing(record(10, (1, 4), (6, 10)))
    assert [(bar.kind, bar.left, bar.width) for bar in found.bars] == [
        ("queued", 0, 10),
        ("running", 10, 30),
        ("waiting", 40, 20),
        ("running", 60, 40),
    ]
    assert [bar.words for bar in found.bars][:2] == ["queued for 1 s", "running for 3 s"]


def test_what_goes_on_reaches_to_now() -> None:
    found = timing(record(None, (1, None)), NOW + 4)
    assert [(bar.kind, bar.left, bar.width, bar.words) for bar in found.bars] == [
        ("queued", 0, 25, "queued for 1 s"),
        ("running", 25, 75, "running for 3 s so far"),
    ]


@pytest.mark.parametrize(
    ("seconds", "ticks"),
    [
        (0.0042, ["0", "1 ms", "2 ms", "3 ms", "4 ms"]),
        (4.2, ["0", "1 s", "2 s", "3 s", "4 s"]),
        (75, ["0", "15 s", "30 s", "45 s", "60 s", "75 s"]),
        (5400, ["0", "30 min", "60 min", "90 min"]),
        (86_400 * 3, ["0", "1 d", "2 d", "3 d"]),
        (86_400 * 4000, ["0", "30 d", "60 d", "90 d", "120 d", "150 d"]),
    ],
)
def test_ticks_are_at_round_times(seconds: float, ticks: list[str]) -> None:
    assert [tick.words for tick in timing(record(None), NOW + seconds).ticks] == ticks


def test_of_very_many_parts_some_are_shown() -> None:
    runs = [(n, n + 0.5) for n in range(200)]
    whole = record(200, *runs)
    assert len(timing(whole).bars) == MAX_BARS
    told = spans(whole, NOW)
    assert len(told) == MAX_SPANS + 1
    assert told[MAX_SPANS // 2] == f"… and {len(whole.timeline) - MAX_SPANS} more …"


def test_many_steps_side_by_side_are_named_in_part() -> None:
    steps = tuple(StepRecord(f"s{n}", None, "succeeded", 1, at(1), at(2)) for n in range(8))
    assert "12:00:01.000 running s0, s1, s2, s3, s4 and 3 more for 1 s" in spans(record(2, (1, 2), steps=steps), NOW)


MOMENTS = st.one_of(st.none(), st.integers(-5, 20))


@given(MOMENTS, MOMENTS, st.integers(-5, 20), MOMENTS)
def test_whatever_the_clocks_say_bars_stay_inside(
    ended: int | None, begun: int | None, now: int, over: int | None
) -> None:
    step = StepRecord("s", None, "x", 1, None if begun is None else at(begun), None if over is None else at(over))
    found = timing(record(ended, (1, 2), steps=(step,)), NOW + now)
    bar = found.of_step(step)
    for shown in (*found.bars, *([bar] if bar else [])):
        assert 0 <= shown.left <= 100
        assert 0 <= shown.width <= 100.001 - shown.left
