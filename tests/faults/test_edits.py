"""Edits under load, as bench/edits.py makes as many of them as one likes."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import edits


@pytest.mark.timeout(400)
def test_edits_under_load_lose_no_call_and_fail_no_execution(tmp_path: Path) -> None:  # found.md 15
    report = edits.run(tmp_path, edits=6, rate=30, seed=5)
    print(report)  # pytest shows it when the test fails
    assert not report.unanswered
    assert not report.failed
    assert report.never == 0
    assert set(report.ended) == {"succeeded"}
    assert report.edits.total() == 6
