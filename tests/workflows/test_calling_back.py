"""When a callback is sent again: the pauses, what a receiver may ask for, and receivers that hang."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, cast

import pytest

from trigger.config.model import Callback, Mail
from trigger.config.secret import Secret
from trigger.store import outcome
from trigger.store.stored import Stored
from trigger.workflows import calling_back
from trigger.workflows.attempts import Run
from trigger.workflows.calling_back import JITTER, LONGEST, PAUSES, Receivers, _seconds, _tried_again, run_callback
from trigger.workflows.report import Failure

AWAY = Failure("ConnectionFailed", "refused")


def run(failures: int, asked: int = 0) -> Run:
    job = Stored("1" * 25, attempt=failures + 1, failures=failures, asked=asked)
    return Run("r", job, frozenset(), lambda: 0, {})


def callback(url: str) -> Callback:
    return Callback("ops", Secret(url))


def mail(smtp: str) -> Callback:
    return Callback("ops", None, Mail(("a@b.example",), "c@d.example", Secret(smtp)))


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


HUNG, OTHER = callback("https://ops.example/a"), callback("https://night.example/a")
NO_ANSWER = outcome.failed("AnswerTimeout", "no whole answer")


def test_only_a_host_that_has_hung_is_left_alone_and_no_other_name_for_it_is_tried() -> None:
    receivers = Receivers()
    for harmless in (outcome.succeeded({"status": 200}), outcome.failed("ConnectionFailed", "refused")):
        receivers.note(HUNG, harmless, time.monotonic())
        assert receivers.why_not(HUNG) is None
    receivers.note(HUNG, NO_ANSWER, time.monotonic())
    for url in ("https://ops.example/a", "https://OPS.example.:443/another?name", "https://me:too@ops.example/"):
        problem = receivers.why_not(callback(url))
        assert problem is not None
        assert problem.kind == "AnswerTimeout"
        assert problem.message == "not tried: its host has not answered for 1 s, and is left alone for 60 s"
    for url in ("https://night.example/a", "http://ops.example/a", "https://ops.example:8443/a"):
        assert receivers.why_not(callback(url)) is None
    assert receivers.why_not(mail("smtp://ops.example")) is None
    receivers.note(mail("smtp://u:p@post.example"), NO_ANSWER, time.monotonic())
    assert receivers.why_not(mail("smtp://post.example:587")) is not None


def test_the_longer_a_host_hangs_the_longer_it_is_left_alone_until_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    receivers, now = Receivers(), 1_000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    for minutes in (1, 2, 4, 8, 15, 15):
        receivers.note(HUNG, NO_ANSWER, now)
        now += minutes * 60 - 1
        assert receivers.why_not(HUNG) is not None
        now += 1
        assert receivers.why_not(HUNG) is None
    receivers.note(HUNG, outcome.failed("UnexpectedStatus", "the answer is 500"), now)
    receivers.note(HUNG, NO_ANSWER, now)
    now += 60
    assert receivers.why_not(HUNG) is None


def test_no_more_hosts_than_so_many_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calling_back, "HOSTS", 2)
    receivers, hosts = Receivers(), [callback(f"https://h{number}.example/") for number in range(3)]
    for host in hosts:
        receivers.note(host, NO_ANSWER, time.monotonic())
    assert [receivers.why_not(host) is not None for host in hosts] == [False, True, True]


def test_what_is_not_tried_counts_as_a_failure_and_ends_as_any_other_does() -> None:
    receivers, nothing = Receivers(), cast(Any, None)
    receivers.note(HUNG, NO_ANSWER, time.monotonic())
    for failures, pause in enumerate(PAUSES):
        result = run_callback(nothing, receivers, HUNG, "2" * 25, run(failures))
        assert (result.status, json.loads(result.error)["class"]) == ("scheduled", "AnswerTimeout")
        assert pause <= result.pause <= pause * (1 + JITTER)
    assert run_callback(nothing, receivers, HUNG, "2" * 25, run(len(PAUSES))).status == "failed"


def test_what_an_operator_has_asked_for_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    receivers, nothing = Receivers(), cast(Any, None)
    monkeypatch.setattr(calling_back, "_sent", lambda *_: outcome.succeeded({"status": 200}))
    receivers.note(HUNG, NO_ANSWER, time.monotonic())
    assert run_callback(nothing, receivers, HUNG, "2" * 25, run(2, asked=2)).status == "scheduled"
    assert run_callback(nothing, receivers, HUNG, "2" * 25, run(2, asked=3)).status == "finished"
    assert receivers.why_not(HUNG) is None, "its answer ends it"
