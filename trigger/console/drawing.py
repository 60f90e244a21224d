"""A workflow's steps as a drawing: a box each, below those it needs. `templates/drawing.html` makes the SVG of it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from trigger.config.model import Workflow
from trigger.console.arranging import HEIGHT, Arrangement, arrange, rows_of
from trigger.store import Plan

# What is larger is no drawing any more; a page has room for this, and the server time.
MAX_BOXES, MAX_LINES = 50, 125

_MARGIN = 2  # around everything, for the strokes
_PAD = 12  # inside a box beside its text, and inside the frame
_LETTER, _SMALL = 7.3, 5.8  # width of a letter of the name (a fixed-width font), and of the words below it at most
_SPACE = 1000  # for the boxes of a row: what is wider is cut, but for what a box needs at least
_LEAST, _MOST = 160, 500
_SMALLEST = 88  # fits the longest status, too
_TITLE = 20  # height of the frame's title
_TITLE_WIDTH = 130


@dataclass(frozen=True, slots=True)
class Box:
    """A step: its upper left corner, its name, as much of that as fits, and the words below: its kind and its marks."""

    x: int
    y: int
    name: str
    label: str
    words: str
    late: bool  # runs only after a failure


@dataclass(frozen=True, slots=True)
class Frame:
    """The frame around the steps that run only after a failure."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Drawing:
    """Everything that the SVG shows. `lines` and `heads` (of arrows) are SVG paths; `words` say what is drawn."""

    width: int
    height: int
    box_width: int
    box_height: int
    boxes: tuple[Box, ...]
    lines: str
    heads: str
    frame: Frame | None
    words: str


def marks_of(workflow: Workflow) -> dict[str, tuple[str, ...]]:
    """The marks of the steps that have any: "when" for a condition, "3 attempts" if it may have so many."""
    marks = {}
    for step in (*workflow.steps, *workflow.on_failure):
        attempts = step.retry.attempts if step.retry else 1
        found = [*(["when"] if step.when is not None else []), *([f"{attempts} attempts"] if attempts > 1 else [])]
        if found:
            marks[step.name] = tuple(found)
    return marks


def draw(plan: Plan, marks: Mapping[str, Sequence[str]] | None = None) -> Drawing | None:
    """The drawing of a plan's steps; `marks` are short words by the name of a step.

    None when it has no steps, or more of them or of their needs than a drawing can show.
    """
    needs = {name: (plan.needs or {}).get(name, ()) for name in plan.steps}
    late = {name: plan.on_failure[index - 1 : index] if index else () for index, name in enumerate(plan.on_failure)}
    count = sum(len(set(needed)) for needed in needs.values())
    if not needs or len(needs) + len(late) > MAX_BOXES or count > MAX_LINES:
        return None
    rows = rows_of(needs)
    kinds, marks = plan.kinds or {}, marks or {}
    words = {name: " · ".join([kinds.get(name, ""), *marks.get(name, ())]) for name in (*needs, *late)}
    width = _width(words, max(map(len, rows)))
    return _joined(arrange(rows, needs, width), arrange(rows_of(late), late, width), words, width, _told(needs, late))


def _width(words: Mapping[str, str], across: int) -> int:
    """The width of every box: what the longest text takes, as far as there is room. An even number."""
    longest = max(max(len(name) * _LETTER, len(below) * _SMALL) for name, below in words.items())
    room = min(_MOST, max(_LEAST, _SPACE // across))
    return min(room, max(_SMALLEST, math.ceil(longest) + 2 * _PAD + 1)) // 2 * 2


def _joined(
    first: Arrangement,
    late: Arrangement,
    words: Mapping[str, str],
    width: int,
    told: str,
) -> Drawing:
    """Both parts, the late one framed below the other."""
    frame = None
    whole = first.width
    top = first.height
    if late.boxes:
        framed = max(late.width, _TITLE_WIDTH) + 2 * _PAD
        whole = max(whole, framed)
        frame = Frame(
            _MARGIN + (whole - framed) // 2, _MARGIN + top + 2 * _PAD, framed, late.height + _TITLE + 2 * _PAD
        )
        top = frame.y + frame.height - _MARGIN
    parts = [(first, (whole - first.width) // 2 + _MARGIN, _MARGIN)]
    if frame is not None:
        parts.append((late, frame.x + (frame.width - late.width) // 2, frame.y + _TITLE + _PAD))
    boxes = tuple(
        Box(left + x, upper + y, name, _cut(name, width), words[name], late=part is late)
        for part, left, upper in parts
        for name, (x, y) in part.boxes.items()
    )
    paths = [path for part, left, upper in parts for path in _paths(part, left, upper)]
    heads = dict.fromkeys(
        f"M{left + line.points[-1][0]} {upper + line.points[-1][1]}l-4-7h8z"
        for part, left, upper in parts
        for line in part.lines
    )
    return Drawing(
        width=whole + 2 * _MARGIN,
        height=top + 2 * _MARGIN,
        box_width=width,
        box_height=HEIGHT,
        boxes=boxes,
        lines="".join(paths),
        heads="".join(heads),
        frame=frame,
        words=told,
    )


def _paths(part: Arrangement, left: int, upper: int) -> Iterator[str]:
    """An SVG path for each line: curves between the rows, straight past them."""
    for line in part.lines:
        points = [(left + x, upper + y) for x, y in line.points]
        path = f"M{points[0][0]} {points[0][1]}"
        for index, (x, y) in enumerate(points[1:]):
            before_x, before_y = points[index]
            if x == before_x:
                path += f"V{y}"
            else:
                middle = (before_y + y) // 2
                path += f"C{before_x} {middle} {x} {middle} {x} {y}"
        yield path


def _cut(name: str, width: int) -> str:
    """As much of a name as fits, its beginning and its end: names often differ only there."""
    fits = int((width - 2 * _PAD) / _LETTER)
    if len(name) <= fits:
        return name
    end = (fits - 1) // 3
    return f"{name[: fits - 1 - end]}…{name[-end:]}"


def _told(needs: Mapping[str, Sequence[str]], late: Mapping[str, Sequence[str]]) -> str:
    """The drawing in words, for those who do not see it."""
    steps = [f"{name} after {', '.join(needed)}" if needed else f"{name} first" for name, needed in needs.items()]
    after = f" After a failure: {', '.join(late)}." if late else ""
    return f"Steps: {'; '.join(steps)}.{after}"
