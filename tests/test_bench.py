"""The benches' tables, chart and definitions hold. Nothing is measured here."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench import console, report, tables
from bench.chart import Panel, chart
from bench.figures import Figures, Spread, machine
from bench.stacks import BY_NAME, STACKS, Stack
from bench.stage import BODY
from bench.tables import number, spread, table
from bench.targets import TARGETS, AllFigures, Target, targets
from bench.venvs import PEERS, MissingProgram, need_program, requirements
from tests.support import ROOT
from trigger.config import load

PEERS_AND_US = [pytest.param(stack, id=stack.name) for stack in STACKS]


def figures_of(*values: tuple[str, str, str, list[float]]) -> Figures:
    figures = Figures("trigger_path", {"rounds": 3})
    for stack, case, metric, rounds in values:
        for value in rounds:
            figures.add(stack, case, **{metric: value})
    return figures


@pytest.fixture(scope="module")
def kept() -> AllFigures:
    """The figures that docs/benchmarks.md shows."""
    return report.read()


def test_a_ratio_is_taken_within_each_round() -> None:
    figures = figures_of(("ours", "c16", "rps", [10, 40, 90]), ("rq", "c16", "rps", [10, 20, 30]))
    assert figures.ratio("rps", ("ours", "c16"), ("rq", "c16")) == Spread(2, 1, 3)


def test_figures_are_read_back_as_they_were_kept(tmp_path: Path) -> None:
    figures = figures_of(("ours", "c16", "rps", [1.5, 2.5]), ("rq", "c16", "p50", [3.0]))
    figures.machine = machine(redis="7.0.15")
    figures.save(tmp_path / "results" / "trigger_path.json")
    assert Figures.load(tmp_path / "results" / "trigger_path.json") == figures


def test_numbers_show_three_digits_that_count() -> None:
    assert [number(value) for value in (0, 0.01234, 1.234, 12.34, 123.4, 12345.6)] == [
        *("0", "0.012", "1.23", "12.3", "123", "12,346"),
    ]
    assert spread(Spread.of([3, 1, 2])) == "2.00 [1.00-3.00]"


def test_a_table_has_its_first_column_on_the_left() -> None:
    assert table(["", "a"], [["x", "1"]]) == "|  | a |\n| --- | ---: |\n| x | 1 |"


def test_our_row_is_the_first_and_the_others_follow_by_their_speed() -> None:
    metrics = ("rps", "p50", "p99", "cpu", "redis_cpu", "failed")
    figures = figures_of(
        *(
            (stack, "none c16", metric, [value] * 3)
            for stack, value in (("ours", 2.0), ("rq", 1.0), ("huey", 4.0))
            for metric in metrics
        )
    )
    rows = tables.trigger_path(figures).splitlines()[4:]
    assert [row.split(" | ")[:2] for row in rows] == [
        ["| **Trigger**", "1"],
        ["| Flask + huey", "0.500 [0.500-0.500]"],
        ["| Flask + RQ", "2.00 [2.00-2.00]"],
    ]


def test_a_target_is_met_by_the_median_alone() -> None:
    least = Target("", 2.0, "at least", lambda _: Spread(2.0, 1.0, 3.0))
    most = Target("", 2.0, "at most", lambda _: Spread(2.1, 1.0, 3.0))
    assert (least.met({}), most.met({})) == (True, False)


def test_a_page_keeps_what_is_around_its_parts() -> None:
    page = "a\n<!-- begin x -->\nold\n<!-- end x -->\nb\n"
    filled = report.fill(page, {"x": "new"})
    assert filled == "a\n<!-- begin x -->\n\nnew\n\n<!-- end x -->\nb\n"
    assert report.fill(filled, {"x": "new"}) == filled


def test_a_chart_is_xml_with_a_bar_for_each_stack_that_was_measured() -> None:
    figures = figures_of(("rq", "c", "rps", [1, 2, 3]), ("ours", "c", "rps", [2, 4, 6]))
    svg = ElementTree.fromstring(chart([Panel("A & B", figures, "c", "rps", True, False)]))
    bars = [element for element in svg if element.tag.endswith("rect")]
    assert [bar.get("class") for bar in bars] == ["bar ours", "bar"]
    assert float(bars[0].get("width", 0)) == pytest.approx(2 * float(bars[1].get("width", 0)), abs=1)
    assert all(float(bar.get("x", 0)) + float(bar.get("width", 0)) < float(svg.get("width", 0)) for bar in bars)


def test_the_page_and_its_chart_show_the_kept_figures(kept: AllFigures) -> None:
    page = report.PAGE.read_text()
    assert report.fill(page, report.parts(kept)) == page
    assert set(re.findall(r"<!-- begin (\w+) -->", page)) == set(report.parts(kept))
    assert report.CHART.read_text() == chart(report.panels(kept))


def test_each_target_has_a_row_that_says_whether_it_is_met(kept: AllFigures) -> None:
    rows = targets(kept).splitlines()[2:]
    assert [row.split(" | ")[0].removeprefix("| ") for row in rows] == [target.text for target in TARGETS]
    assert {row.split(" | ")[-1].removesuffix(" |") for row in rows} <= {"yes", "**no**"}


def test_no_call_has_failed_and_no_job_has_run_twice(kept: AllFigures) -> None:
    for figures in kept.values():
        ours = {key: values for key, values in figures.values.items() if key[0] == "ours"}
        assert not [key for key, values in ours.items() if key[2] in ("failed", "doubled") and any(values)]


def test_the_body_of_a_call_has_100_bytes() -> None:
    assert len(BODY) == 100


@pytest.mark.parametrize("stack", PEERS_AND_US)
def test_a_stack_is_pinned_and_its_modules_are_there(stack: Stack) -> None:
    if stack.venv:
        lines = requirements(stack.venv).read_text().splitlines()
        assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9a-z.]+|#.*", line) for line in lines)
    modules = re.findall(r"\b(?:flask|starlette)_[a-z]+\b", " ".join((*stack.web, *stack.worker)))
    for module in {*modules, *([stack.front] if stack.front else [])}:
        ast.parse((PEERS / f"{module}.py").read_text())


@pytest.mark.parametrize("stack", PEERS_AND_US)
def test_a_peer_says_what_it_does_less(stack: Stack) -> None:
    assert bool(stack.less) == (stack.name not in ("ours", "before"))


@pytest.mark.parametrize("name", report.BENCHMARKS)
def test_a_bench_knows_its_stacks_and_tells_its_options(name: str) -> None:
    assert set(import_module(f"bench.{name}").STACKS) <= set(BY_NAME)
    said = subprocess.run([sys.executable, "-m", f"bench.{name}", "--help"], cwd=ROOT, capture_output=True, text=True)
    assert "--rounds" in said.stdout


def test_a_missing_program_is_named_with_its_package() -> None:
    with pytest.raises(MissingProgram, match="sudo apt install no-such-program"):
        need_program("no-such-program")


def test_each_make_target_runs_a_bench_that_the_page_names() -> None:
    makefile = (ROOT / "Makefile").read_text()
    runs = dict(re.findall(r"^(bench-[a-z]+):.*\n\t@\$\(PYTHON\) -m bench\.(\w+) --save$", makefile, re.MULTILINE))
    assert set(runs.values()) == set(report.BENCHMARKS)
    assert set(re.findall(r"\bmake (bench-[a-z]+)", report.PAGE.read_text())) == set(runs)
    assert re.search(r"^bench: (.*)$", makefile, re.MULTILINE)[1].split() == list(runs)  # type: ignore[index]


def test_the_consoles_config_is_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "MODULES", 2)
    monkeypatch.setattr(console, "METHODS", 3)
    (tmp_path / "config.yaml").write_text(console.config_text())
    config = load(tmp_path / "config.yaml", {})
    assert len(config.apis) == 7
    assert len(config.workflows["stepped"].steps) == console.STEPS
    assert set(config.operators) == {"admin"}


def test_a_page_that_is_too_large_or_too_slow_does_not_fit() -> None:
    fits = console.Cost("/console/x", 200, 99_999, 200.0, 49.9, 200.0)
    assert fits.fits
    for wrong in ({"status": 503}, {"size": 100_000}, {"median": 50.0}):
        assert not replace(fits, **wrong).fits
    assert "| `/console/x` | 200 | 99,999 | 200 | 49.9 | 200 | yes |" in console.report([fits])
