"""What people write for a moment, and what it means here (found.md 43)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime

import pytest

from trigger.store.moments import read_moment

NOW = datetime.fromisoformat("2026-11-26T09:30:15.250+01:00").timestamp()

MOMENTS = [
    ("24h", "2026-11-25T09:30:15.250+01:00"),
    ("90 m", "2026-11-26T08:00:15.250+01:00"),
    ("now", "2026-11-26T09:30:15.250+01:00"),
    ("today", "2026-11-26T00:00:00+01:00"),
    ("Yesterday", "2026-11-25T00:00:00+01:00"),
    ("2026-11-25", "2026-11-25T00:00:00+01:00"),
    ("2026-07-01", "2026-07-01T00:00:00+02:00"),  # by the clock of that day
    ("2026-11-25 14:30", "2026-11-25T14:30:00+01:00"),
    ("2026-11-25T14:30:05", "2026-11-25T14:30:05+01:00"),
    ("2026-11-25T14:30:05Z", "2026-11-25T14:30:05+00:00"),
    ("2026-11-25t14:30:05.5-03:00", "2026-11-25T14:30:05.500-03:00"),
    ("9999w", "1970-01-01T00:00:00+00:00"),
]


@pytest.fixture(autouse=True)
def in_berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(("text", "meant"), MOMENTS, ids=[text for text, _ in MOMENTS])
def test_a_moment_is_read_as_people_mean_it(text: str, meant: str) -> None:
    assert read_moment(text, NOW) == round(datetime.fromisoformat(meant).timestamp() * 1000)


@pytest.mark.parametrize("text", ["tomorrow", "2026-02-30", "2026-11-25T25:00", "25.11.2026", "24", "-1h", "1٢h", ""])
def test_what_is_no_moment_is_told_what_would_be_one(text: str) -> None:
    with pytest.raises(ValueError, match="a day such as 2026-01-31, today, yesterday, or 24h"):
        read_moment(text, NOW)
