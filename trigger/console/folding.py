"""JSON that folds: in a page, each object and each list of an indented text opens and closes.

Nothing is added to what the text says, so that what is copied from the page is the text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from markupsafe import Markup, escape

MAX_FOLDS = 60  # of one text, those of the outer levels first
AROUND = 70  # bytes that one takes at most
SHORT = 12  # lines; a text of no more of them does not fold
LONG, OPEN = 60, 2  # of one with more lines than LONG, only the first OPEN levels are open at first

_LINE_END = "<i>\n</i>"  # of a head; not shown, as each stands in a line of its own anyway


def folded(text: str) -> Markup | None:
    """The markup of a text of JSON, indented, perhaps cut; None for one that is short enough."""
    lines = text.split("\n")
    if len(lines) <= SHORT:
        return None
    left = _allowed(lines)
    pieces: list[str] = []
    levels: list[bool] = []  # those that are open here, and whether they fold
    for line in lines:
        content = f"{escape(line)}\n"
        if _opens(line):
            depth = len(levels)
            levels.append(left[depth] > 0)
            if levels[-1]:
                left[depth] -= 1
                mark = " open" if len(lines) <= LONG or depth < OPEN else ""
                content = f"<details{mark}><summary>{escape(line)}{_LINE_END}</summary>"
        elif _closes(line) and levels and levels.pop():
            content += "</details>"
        pieces.append(content)
    return Markup("".join(pieces) + "</details>" * sum(levels))  # noqa: S704  each line is escaped


def _allowed(lines: Sequence[str]) -> Counter[int]:
    """How many of each level fold."""
    depth, found = 0, Counter[int]()
    for line in lines:
        if _opens(line):
            found[depth] += 1
            depth += 1
        elif _closes(line) and depth:
            depth -= 1
    left = MAX_FOLDS
    for level in sorted(found):
        found[level] = min(found[level], left)
        left -= found[level]
    return found


def _opens(line: str) -> bool:
    return line.endswith(("{", "["))  # a text ends with a quote


def _closes(line: str) -> bool:
    return line.lstrip().startswith(("}", "]"))
