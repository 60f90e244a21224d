"""The timeline of an execution: its spans follow on one another, add up to the whole, and say what ran."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tests.store.conftest import FAILED, LATER, SUCCEEDED, Bench
from trigger.store import Record, acts
from trigger.store.steps import StepRecord
from trigger.store.timeline import Span, timeline

START = datetime(2026, 1, 31, 12, tzinfo=UTC)


def at(ms: int) -> str:
    return (START + timedelta(milliseconds=ms)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def step(name: str, begin: int, end: int | None) -> StepRecord:
    return StepRecord(name, "python", "succeeded", 1, at(begin), None if end is None else at(end))


def short(spans: tuple[Span, ...]) -> list[tuple[str, int | None, str]]:
    return [(span.what, span.ms, "+".join(span.steps)) for span in spans]


def test_steps_side_by_side_share_a_span() -> None:
    steps = [step("a", 10, 30), step("b", 20, 50), step("c", 55, 60)]
    assert short(timeline(at(0), at(61), [(at(4), at(61))], steps)) == [
        ("queued", 4, ""),
        ("running", 6, ""),
        ("running", 10, "a"),
        ("running", 10, "a+b"),
        ("running", 20, "b"),
        ("running", 5, ""),
        ("running", 5, "c"),
        ("running", 1, ""),
    ]


def test_between_runs_it_waits_also_in_the_middle_of_a_step() -> None:
    runs = [(at(2), at(12)), (at(1012), at(1020))]
    assert short(timeline(at(0), at(1020), runs, [step("a", 3, 1019)])) == [
        ("queued", 2, ""),
        ("running", 1, ""),
        ("running", 9, "a"),
        ("waiting", 1000, ""),
        ("running", 7, "a"),
        ("running", 1, ""),
    ]


def test_what_goes_on_has_no_end_yet() -> None:
    assert short(timeline(at(0), None, [], [])) == [("queued", None, "")]
    running = timeline(at(0), None, [(at(5), None)], [step("a", 6, 8), step("b", 9, None)])
    assert short(running)[-1] == ("running", None, "b")
    assert (running[-1].since, running[-1].to) == (at(9), None)
    assert short(timeline(at(0), None, [(at(5), at(7))], [])) == [
        ("queued", 5, ""),
        ("running", 2, ""),
        ("waiting", None, ""),
    ]


def test_steps_of_the_execution_that_is_resumed_took_none_of_its_time() -> None:
    spans = timeline(at(1000), at(1010), [(at(1001), at(1010))], [step("a", 0, 9), step("b", 1002, 1010)])
    assert short(spans) == [("queued", 1, ""), ("running", 1, ""), ("running", 8, "b")]


MOMENTS = st.integers(-50, 200)


@given(
    end=st.one_of(st.none(), st.integers(0, 100)),
    runs=st.lists(st.tuples(MOMENTS, st.one_of(st.none(), MOMENTS)), max_size=4),
    steps=st.lists(st.tuples(MOMENTS, st.one_of(st.none(), MOMENTS)), max_size=6),
)
def test_whatever_the_clocks_say_it_adds_up(
    end: int | None, runs: list[tuple[int, int | None]], steps: list[tuple[int, int | None]]
) -> None:
    whole = timeline(
        at(0),
        None if end is None else at(end),
        [(at(begin), None if stop is None else at(stop)) for begin, stop in sorted(runs, key=lambda run: run[0])],
        [step(f"s{n}", begin, stop) for n, (begin, stop) in enumerate(steps)],
    )
    assert all(before.to == after.since for before, after in pairwise(whole))
    if end is not None:
        assert sum(span.ms or 0 for span in whole) == end
        assert all(span.ms for span in whole)
        assert not whole or (whole[0].since, whole[-1].to) == (at(0), at(end))
    else:
        assert whole[0].since == at(0)
        assert [span.to for span in whole].index(None) == len(whole) - 1


def total(record: Record) -> int:
    assert record.created_at
    assert record.ended_at
    whole = datetime.fromisoformat(record.ended_at) - datetime.fromisoformat(record.created_at)
    return whole // timedelta(milliseconds=1)


def whats(record: Record) -> list[str]:
    """What the spans are; how long each takes, and so whether one of no length is left out, is the machine's."""
    return [span.what for span in record.timeline]


def test_every_run_of_a_real_execution_is_in_its_record(bench: Bench) -> None:
    uid = bench.accept()
    bench.run(LATER)
    assert whats(bench.record(uid))[-1] == "waiting"
    bench.reap()  # it is due
    taken = bench.take()
    assert taken
    assert bench.release(*taken) == "queued"  # its worker died
    bench.run(SUCCEEDED)
    record = bench.record(uid)
    assert record.attempt == 3
    runs = (bench.redis.hget(f"rq:job:{uid}", "runs") or b"").splitlines()
    assert len(runs) == 2
    assert sum(span.ms or 0 for span in record.timeline) == max(0, total(record))


def test_the_end_of_what_is_cancelled_between_two_runs_is_no_run(bench: Bench) -> None:
    uid = bench.accept()
    bench.run(LATER)
    before = whats(bench.record(uid))
    acts.cancel(bench.redis, uid, "ada")
    assert "running" not in whats(bench.record(uid))[len(before) :]
    assert whats(bench.record(uid)).count("running") <= 1


def test_the_record_of_one_that_failed_at_once_adds_up(bench: Bench) -> None:
    bench.accept()
    record = bench.record(bench.run(FAILED))
    assert sum(span.ms or 0 for span in record.timeline) == max(0, total(record))
