"""The drawing of a workflow's steps: where everything stands, and what its SVG says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations, pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import Environment, PackageLoader, StrictUndefined

from trigger.config.model import PythonAction, RunAction, Step, StepRetry, Workflow
from trigger.console.arranging import ACROSS, GAP, HEIGHT, Arrangement, arrange, rows_of
from trigger.console.drawing import MAX_BOXES, MAX_LINES, Drawing, draw, marks_of
from trigger.store import Plan

Needs = Mapping[str, Sequence[str]]

WIDTH = 120


def chain(count: int) -> Needs:
    names = [f"step{index}" for index in range(count)]
    return {name: names[index - 1 : index] if index else [] for index, name in enumerate(names)}


def fan(count: int) -> Needs:
    parts = [f"part{index}" for index in range(count)]
    return {"begin": [], **{part: ["begin"] for part in parts}, "end": parts}


SHAPES: dict[str, Needs] = {
    "one": {"only": []},
    "a list of 3": chain(3),
    "a list of 20": chain(20),
    "three at once": {"a": [], "b": [], "c": [], "end": ["a", "b", "c"]},
    "a diamond": {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]},
    "a fan of 12": fan(12),
    "lines past rows": {"a": [], "b": ["a"], "c": ["b"], "d": ["c", "a"], "e": ["d", "a", "b"]},
    "two that have nothing in common": {"a": [], "b": ["a"], "x": [], "y": ["x"], "z": ["y"]},
    "told from the end": {"c": ["b"], "b": ["a"], "a": []},
    "12 lists side by side": {
        **{f"a{index}": [] for index in range(12)},
        **{f"b{index}": [f"a{index}"] for index in range(12)},
        **{f"c{index}": [f"b{index}"] for index in range(12)},
    },
}


@st.composite
def shapes(draw_: st.DrawFn) -> Needs:
    count = draw_(st.integers(1, 25))
    names = [f"s{index}" for index in range(count)]
    near = draw_(st.integers(1, count))  # how far back a step's needs reach
    return {
        name: draw_(st.lists(st.sampled_from(names[max(0, index - near) : index]), max_size=4, unique=True))
        if index
        else []
        for index, name in enumerate(names)
    }


def arranged(needs: Needs) -> Arrangement:
    return arrange(rows_of(needs), needs, WIDTH)


def check(needs: Needs, found: Arrangement) -> None:
    assert found.boxes.keys() == needs.keys()
    for x, y in found.boxes.values():
        assert 0 <= x <= found.width - WIDTH
        assert 0 <= y <= found.height - HEIGHT
    for (x, y), (other_x, other_y) in combinations(found.boxes.values(), 2):
        # Rounding to whole units takes one at most.
        assert abs(x - other_x) >= WIDTH + GAP - 1 if y == other_y else abs(y - other_y) > HEIGHT
    pairs = [(line.needed, line.box) for line in found.lines]
    assert sorted(pairs) == sorted((needed, name) for name, all_ in needs.items() for needed in all_)
    for line in found.lines:
        (from_x, from_y), (to_x, to_y) = found.boxes[line.needed], found.boxes[line.box]
        assert line.points[0] == (from_x + WIDTH // 2, from_y + HEIGHT)
        assert line.points[-1] == (to_x + WIDTH // 2, to_y)
        assert all(0 <= x <= found.width and 0 <= y <= found.height for x, y in line.points)
        assert all(above < below for (_, above), (_, below) in pairwise(line.points))
        for (x, top), (also, bottom) in list(pairwise(line.points))[1::2]:  # past a row
            assert x == also
            assert bottom - top == HEIGHT
            assert not [1 for left, y in found.boxes.values() if y == top and left < x < left + WIDTH]


@pytest.mark.parametrize("needs", SHAPES.values(), ids=SHAPES)
def test_boxes_keep_apart_and_lines_run_down_past_them(needs: Needs) -> None:
    check(needs, arranged(needs))


@given(shapes())
def test_so_they_do_whatever_the_steps_need(needs: Needs) -> None:
    check(needs, arranged(needs))


def test_steps_that_run_in_order_stand_straight_below_each_other() -> None:
    found = arranged(chain(20))
    assert {x for x, _ in found.boxes.values()} == {0}
    assert found.width == WIDTH
    assert [name for name, _ in sorted(found.boxes.items(), key=lambda item: item[1][1])] == list(chain(20))


def test_a_box_stands_in_the_middle_of_those_around_it() -> None:
    boxes = arranged(SHAPES["a diamond"]).boxes
    assert boxes["a"][0] == boxes["d"][0] == (boxes["b"][0] + boxes["c"][0]) // 2
    assert boxes["b"][1] == boxes["c"][1]


def test_a_row_is_no_wider_than_a_screen() -> None:
    found = arranged(fan(12))
    assert sorted([len([1 for _, y in found.boxes.values() if y == row]) for row in rows(found)]) == [1, 1, 6, 6]
    assert found.width < (ACROSS + 3) * (WIDTH + GAP)


def rows(found: Arrangement) -> set[int]:
    return {y for _, y in found.boxes.values()}


def crossings(found: Arrangement) -> int:
    """How many pairs of lines cross between two rows; what runs together counts once."""
    across = {section for line in found.lines for section in list(pairwise(line.points))[::2]}
    return sum(
        1
        for ((a, top), (b, _)), ((c, other_top), (d, _)) in combinations(across, 2)
        if top == other_top and (a - c) * (b - d) < 0
    )


def test_lines_cross_only_where_they_must() -> None:
    for name in ("three at once", "a diamond", "a fan of 12", "lines past rows", "12 lists side by side"):
        assert crossings(arranged(SHAPES[name])) == 0, name
    assert crossings(arranged({"a": [], "b": [], "x": ["b"], "y": ["a"]})) == 0
    assert crossings(arranged({"a": [], "b": [], "x": ["a", "b"], "y": ["a", "b"]})) == 1


def test_what_can_not_be_drawn_is_left_out() -> None:
    assert arranged({"a": ["gone"], "b": ["a", "a"]}).lines == arranged({"a": [], "b": ["a"]}).lines
    assert arranged({"a": ["b"], "b": ["a"], "c": []}).boxes.keys() == {"a", "b", "c"}  # in a record somebody wrote
    assert arranged({}) == Arrangement(0, 0, {}, ())


# The drawing of a plan, and its SVG.

SVG = "{http://www.w3.org/2000/svg}"


def plan(needs: Needs, on_failure: Sequence[str] = ()) -> Plan:
    return Plan(
        tuple(needs),
        tuple(on_failure),
        dict.fromkeys([*needs, *on_failure], "python"),
        {name: tuple(needed) for name, needed in needs.items()},
    )


def drawn(plan_: Plan, marks: Mapping[str, Sequence[str]] | None = None) -> Drawing:
    drawing = draw(plan_, marks)
    assert drawing is not None
    return drawing


def svg(drawing: Drawing, statuses: Mapping[str, str] | None = None) -> ElementTree.Element:
    """The SVG, parsed as the XML that it has to be, too."""
    environment = Environment(
        loader=PackageLoader("trigger.console"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    source = '{% from "drawing.html" import steps_drawing %}{{ steps_drawing(drawing, statuses) }}'
    html = environment.from_string(source).render(drawing=drawing, statuses=statuses)
    found = ElementTree.fromstring(html.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ')).find(f"{SVG}svg")
    assert found is not None
    return found


def boxes(root: ElementTree.Element) -> dict[str, tuple[str, str, str]]:
    """The classes, the label and the note of each box, by what its title says."""
    found = {}
    for group in root.iter(f"{SVG}g"):
        label, note = (text.text or "" for text in group.iter(f"{SVG}text"))
        found[group.findtext(f"{SVG}title", "")] = " ".join(group.get("class", "").split()), label, note
    return found


def test_everything_is_inside_of_the_drawing() -> None:
    for late in ([], ["complain"], ["undo", "complain"]):
        drawing = drawn(plan(SHAPES["lines past rows"], late))
        frame = drawing.frame
        assert (frame is None) is (not late)
        for box in drawing.boxes:
            assert 0 < box.x < drawing.width - drawing.box_width
            assert 0 < box.y < drawing.height - drawing.box_height
            if frame is not None and box.late:
                assert frame.x < box.x < frame.x + frame.width - drawing.box_width
                assert frame.y < box.y < frame.y + frame.height - drawing.box_height
            elif frame is not None:
                assert box.y + drawing.box_height < frame.y
        if frame is not None:
            assert frame.y + frame.height < drawing.height


def test_a_box_says_what_the_step_is_and_when_it_runs() -> None:
    workflow = Workflow(
        "orders",
        None,
        steps=(
            Step("quote", PythonAction("shop:quote")),
            Step("order", RunAction(("order",)), needs=("quote",), when="{{ true }}", retry=StepRetry(4)),
            Step("tell", RunAction(("tell",)), needs=("order",), retry=StepRetry(1)),
        ),
        on_failure=(Step("complain", RunAction(("complain",)), when="{{ true }}"),),
    )
    root = svg(drawn(Plan.of(workflow), marks_of(workflow)))
    assert boxes(root) == {
        "quote: python": ("box", "quote", "python"),
        "order: run · when · 4 attempts": ("box", "order", "run · when · 4 attempts"),
        "tell: run": ("box", "tell", "run"),
        "complain: run · when": ("box late", "complain", "run · when"),
    }
    assert root.get("role") == "img"
    assert root.get("aria-label") == (
        "Steps: quote first; order after quote; tell after order. After a failure: complain."
    )


def test_a_status_colours_its_box_and_is_said() -> None:
    root = svg(drawn(plan(chain(3))), {"step0": "succeeded", "step1": "failed"})
    assert boxes(root) == {
        "step0: python, succeeded": ("box succeeded", "step0", "succeeded"),
        "step1: python, failed": ("box failed", "step1", "failed"),
        "step2: python": ("box", "step2", "python"),
    }


def test_a_long_name_is_cut_in_the_middle_and_whole_in_its_title() -> None:
    names = [f"load_the_customers_of_the_whole_{part:_<27}_east" for part in ("world", "house", "yard")]
    found = boxes(svg(drawn(plan({**{name: [] for name in names}, "end": names}))))
    for name in names:
        _, label, _ = found[f"{name}: python"]
        assert len(label) in range(38, 44)
        beginning, end = label.split("…")
        assert name.startswith(beginning)
        assert name.endswith(end)
    assert found["end: python"][1] == "end"


def test_what_is_too_large_is_no_drawing() -> None:
    assert draw(Plan()) is None
    assert draw(plan(chain(MAX_BOXES))) is not None
    assert draw(plan(chain(MAX_BOXES + 1))) is None
    assert draw(plan(chain(MAX_BOXES), ["complain"])) is None
    half = [f"a{index}" for index in range(20)]
    assert draw(plan({**{name: [] for name in half}, **{f"b{name}": half[:6] for name in half}})) is not None
    assert MAX_LINES in range(20 * 6, 20 * 7)
    assert draw(plan({**{name: [] for name in half}, **{f"b{name}": half[:7] for name in half}})) is None


def test_the_largest_drawing_leaves_room_on_its_page() -> None:
    names = [f"a_step_with_quite_a_long_name_that_is_cut_{index}" for index in range(MAX_BOXES)]
    needs = {
        name: names[max(0, index - 8) : index : 4] + names[index - 1 : index] * (index % 2)
        for index, name in enumerate(names)
    }
    assert sum(map(len, needs.values())) in range(MAX_LINES - 20, MAX_LINES + 1)
    assert len(ElementTree.tostring(svg(drawn(plan(needs))))) < 60_000


def test_nothing_in_a_plan_can_become_markup() -> None:
    # The config lets no such names through, but the plan of a record is read from Redis.
    evil = '"><script>alert(1)</script>'
    root = svg(drawn(Plan((evil,), (f"{evil}2",), {evil: evil}, {})), {evil: evil})
    assert not list(root.iter(f"{SVG}script"))
    assert len(list(root.iter(f"{SVG}g"))) == 2
