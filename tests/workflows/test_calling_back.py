"""When a callback is sent again: the pauses, what a receiver may ask for, and receivers that hang."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from trigger.store import outcome
from trigger.store.stored import Stored
from trigger.workflows.attempts import Run
from trigger.workflows.calling_back import JITTER, LEFT_ALONE, LONGEST, PAUSES, Receivers, _seconds, _tried_again
from trigger.workflows.report import Failure

AWAY = Failure("ConnectionFailed", "refused")


def run(failures: int) -> Run:
    return Run("r", Stored("1" * 25, failures=failures), frozenset(), lambda: 0, {})


def test_each_pause_comes_in_turn_a_little_longer_at_random() -> None:
    for failures, pause in enumerate(PAUSES):
        found = {_tried_again(AWAY, run(failures)).pause for _ in range(20)}
        assert all(pause <= one <= pause * (1 + JITTER) for one in found)
        assert len(found) > 1
    last = _tried_again(AWAY, run(len(PAUSES)))
    assert (last.status, last.pause) == ("failed", 0.0)


NOW = datetime(2026, 11, 27, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        (None, 0, 0),
        ("0", 0, 0),
        ("120", 120, 120),
        ("9" * 400, LONGEST, LONGEST),
        ("-5", 0, 0),
        ("1.5", 0, 0),
        ("٣", 0, 0),
        ("soon", 0, 0),
        ("", 0, 0),
        (format_datetime(NOW + timedelta(hours=1)), 3600, 3600),
        (format_datetime(NOW - timedelta(hours=1)), 0, 0),
        (format_datetime(NOW + timedelta(days=900)), LONGEST, LONGEST),
        ("Fri, 31 Dec 99999 23:59:59 GMT", 0, LONGEST),
    ],
)
def test_a_retry_after_is_heeded_within_bounds(text: str | None, low: float, high: float) -> None:
    assert low <= _seconds(text, NOW.timestamp()) <= high


def test_a_longer_pause_that_is_asked_for_counts_and_a_shorter_one_does_not() -> None:
    assert _tried_again(AWAY, run(0), 600.0).pause == 600.0
    assert _tried_again(AWAY, run(1), 1.0).pause >= PAUSES[1]


def test_only_a_receiver_that_has_hung_is_left_alone() -> None:
    receivers = Receivers()
    receivers.note("ops", outcome.succeeded({"status": 200}))
    receivers.note("ops", outcome.failed("ConnectionFailed", "refused"))
    assert receivers.put_off("ops") is None
    receivers.note("ops", outcome.failed("AnswerTimeout", "no whole answer"))
    left = receivers.put_off("ops")
    assert left is not None
    assert (left.status, left.error) == ("scheduled", "")
    assert 0 < left.pause <= LEFT_ALONE
    assert receivers.put_off("other") is None
