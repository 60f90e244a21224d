"""JSON that folds: in a page, each object and each list of an indented text opens and closes.

Nothing is added to what the text says, so that what is copied from the page is the text.
"""

from __future__ import annotations

from markupsafe import Markup, escape

MAX_FOLDS = 60  # of one text; what opens after them does not fold
AROUND = 62  # bytes that one takes at most
SHORT = 12  # lines; a text of no more of them does not fold
LONG, OPEN = 60, 2  # of one with more lines than LONG, only the first OPEN levels are open at first


def folded(text: str) -> Markup | None:
    """The markup of a text of JSON, indented, perhaps cut; None for one that is short enough."""
    lines = text.split("\n")
    if len(lines) <= SHORT:
        return None
    pieces: list[str] = []
    folds = 0
    levels: list[bool] = []  # those that are open here, and whether they fold
    for line in lines:
        content = f"{escape(line)}\n"
        if line.endswith(("{", "[")):  # a text ends with a quote
            levels.append(folds < MAX_FOLDS)
            if levels[-1]:
                folds += 1
                is_open = len(lines) <= LONG or len(levels) <= OPEN
                content = f"<details{' open' if is_open else ''}><summary>{content}</summary>"
        elif line.lstrip().startswith(("}", "]")) and levels and levels.pop():
            content += "</details>"
        pieces.append(content)
    return Markup("".join(pieces) + "</details>" * sum(levels))  # noqa: S704  each line is escaped
