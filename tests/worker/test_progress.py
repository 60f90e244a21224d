"""Which steps may begin, and what is written down of them: without processes and Redis."""

from __future__ import annotations

import json
from typing import Any

import pytest

from trigger.config.model import RunAction, Step, StepRetry, Workflow
from trigger.workflows import report as reports
from trigger.workflows.progress import Progress
from trigger.workflows.report import Failure, Report

BAD = Report(failure=Failure("ExitStatus", "exit 1", kinds=("ExitStatus", "1")))


def step(name: str, *needs: str, **options: Any) -> Step:
    return Step(name, RunAction(("true",)), needs=needs, digest=f"d-{name}", **options)


def progress(*steps: Step, stored: dict[str, Any] | None = None, round_: int = 0, **options: Any) -> Progress:
    return Progress(Workflow("it", None, steps=steps, **options), stored or {}, round_)


def names(steps: list[Step]) -> list[str]:
    return [one.name for one in steps]


def play(made: Progress, name: str, report: Report, now: int = 0) -> bool:
    """Has an attempt begin and end; whether there will be another one."""
    one = next(s for s in made.workflow.steps if s.name == name)
    made.begin(one, now)
    return made.end(one, report, now) is not None


def test_a_step_begins_when_all_it_needs_is_done() -> None:
    made = progress(step("a"), step("b"), step("c", "a", "b"))
    assert names(made.ready(0)) == ["a", "b"]
    play(made, "a", Report())
    assert names(made.ready(0)) == ["b"]
    play(made, "b", Report(skipped=True))
    assert names(made.ready(0)) == ["c"]
    made.begin(made.workflow.steps[2], 0)
    assert made.ready(0) == []


def test_no_more_begin_than_may_run_at_once() -> None:
    made = progress(*(step(name) for name in "abcd"), parallel=2)
    assert names(made.ready(0)) == ["a", "b"]
    made.begin(made.workflow.steps[0], 0)
    assert names(made.ready(0)) == ["b"]


def test_a_failure_keeps_only_those_from_beginning_that_need_it() -> None:
    made = progress(step("a"), step("b", "a"), step("c"), step("d", "c"))
    assert not play(made, "a", BAD)
    play(made, "c", Report())
    assert names(made.ready(0)) == ["d"]
    assert made.failure()
    play(made, "d", Report())
    assert made.next_due() is None
    allowed = progress(step("a", continue_on_error=True), step("b", "a"))
    play(allowed, "a", BAD)
    assert (names(allowed.ready(0)), allowed.failure()) == (["b"], None)


def test_a_pause_grows_as_the_list_says_and_its_last_one_repeats() -> None:
    made = progress(step("a", retry=StepRetry(4, (1.0, 10.0))))
    pauses = []
    now = 1000
    while play(made, "a", BAD, now):
        assert made.ready(now) == []
        due = made.next_due()
        assert due
        pauses.append(due - now)
        now = due
        assert names(made.ready(now)) == ["a"]
    assert pauses == [1000, 10_000, 10_000]
    assert json.loads(made.unsaved["a"])["attempts"] == 4


def test_jitter_stays_within_its_share() -> None:
    for _ in range(200):
        made = progress(step("a", retry=StepRetry(2, (10.0,), jitter=0.2)))
        play(made, "a", BAD)
        assert 8000 <= (made.next_due() or 0) <= 12_000


@pytest.mark.parametrize(
    ("failure", "on", "again"),
    [
        (Failure("E", "", kinds=("E", "503")), (), True),
        (Failure("E", "", kinds=("E", "503")), ("503",), True),
        (Failure("E", "", kinds=("E", "503")), ("502", "F"), False),
        (Failure("TemplateError", "", kinds=("TemplateError",), again=False), (), False),
    ],
)
def test_what_is_tried_again(failure: Failure, on: tuple[str, ...], again: bool) -> None:
    made = progress(step("a", retry=StepRetry(2, (1.0,), on=on)))
    assert play(made, "a", Report(failure=failure)) is again


def test_it_goes_on_from_what_was_stored() -> None:
    first = progress(step("a"), step("b"), step("c", "a"), retry=None)
    play(first, "a", Report(output='{"n": 1}'))
    first.begin(first.workflow.steps[1], 5)
    stored = {name: json.loads(text) for name, text in first.unsaved.items()}
    again = progress(*first.workflow.steps, stored=stored)
    assert names(again.ready(0)) == ["b", "c"]
    assert again.done()["a"] == {"output": {"n": 1}, "status": "succeeded", "error": None, "truncated": None}
    assert again.begin(again.workflow.steps[1], 9) == 2


def test_what_failed_in_an_earlier_attempt_at_the_whole_begins_again_with_all_its_attempts() -> None:
    retry = StepRetry(2, (1.0,))
    first = progress(step("a", retry=retry))
    assert play(first, "a", BAD)
    assert not play(first, "a", BAD)
    stored = {"a": json.loads(first.unsaved["a"])}
    same = progress(step("a", retry=retry), stored=stored)
    assert (same.ready(0), bool(same.failure())) == ([], True)
    later = progress(step("a", retry=retry), stored=stored, round_=1)
    assert (names(later.ready(0)), later.failure()) == (["a"], None)
    assert play(later, "a", BAD)


def test_stored_nonsense_does_no_harm() -> None:
    stored = {"a": {"status": "retrying", "due": "soon", "attempts": "x", "failures": None}, "gone": {"status": 3}}
    made = progress(step("a"), stored=stored)
    assert names(made.ready(0)) == ["a"]
    assert made.begin(made.workflow.steps[0], 0) == 1


def test_the_plan_is_written_down_with_what_each_step_needs() -> None:
    made = progress(step("a"), step("b", "a"), on_failure=(step("z"),))
    made.note_plan(1.5)
    assert json.loads(made.unsaved[""]) == {
        "steps": ["a", "b"],
        "on_failure": ["z"],
        "kinds": {"a": "run", "b": "run", "z": "run"},
        "needs": {"b": ["a"]},
        "spent": 1.5,
        "round": 0,
    }


@pytest.mark.parametrize(
    "report",
    [
        Report(output='[1,"\\u00fc"]'),
        Report(skipped=True),
        Report(failure=Failure("E", "why", "Traceback", ("E", "1"), again=False)),
    ],
)
def test_a_report_comes_through_the_pipe_as_it_was(report: Report) -> None:
    data = reports.encode(report)
    assert reports.decode(data) == report
    assert reports.decode(data[:-1]) != report


@pytest.mark.parametrize("data", [b"", b"x", b"o{", b"o", b"f[]", b"f{}", b"\xff"])
def test_what_is_no_whole_report_is_none(data: bytes) -> None:
    assert reports.decode(data) is None
