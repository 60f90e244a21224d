"""The whole service under random kills, as bench/chaos.py does it for as long as one likes."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import chaos, sigterm

SECONDS, SEED = 60, 20


@pytest.mark.timeout(400)
def test_a_minute_of_chaos_loses_nothing(tmp_path: Path) -> None:  # F46
    report = chaos.run(tmp_path, SECONDS, SEED)
    print(report)  # pytest shows it when the test fails
    assert not report.lost
    assert not report.failed
    assert report.cancelled
    assert report.drain is not None
    assert report.exit_status == 0
    assert not report.left_over
    assert report.kills.total() >= SECONDS * 0.9
    assert report.accepted > 10 * SECONDS
    # A run that was interrupted may have come to its end: of what was in hand when something was killed, and of all no
    # more than one in a thousand. Of a minute that is six or seven, and three times their square root is chance.
    assert report.duplicates <= report.kills["worker"] + report.kills["process"] + 2 * report.kills["redis"]
    share = report.accepted / 1000
    assert report.duplicates <= share + 3 * share**0.5
    assert report.unasked == 0


def test_workers_told_to_stop_at_any_moment_lose_and_double_nothing(tmp_path: Path) -> None:  # F14
    result = sigterm.measure(tmp_path, times=100, seed=20)
    print(result)
    assert result.good
    assert result.accepted >= 100
