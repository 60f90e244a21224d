"""The room that is left in a page: large values are cut to fit, so that it stays small whatever an execution holds."""

from __future__ import annotations

import json
from bisect import bisect_right
from dataclasses import dataclass
from typing import Any

from markupsafe import escape

TOO_DEEP = "(nested too deep to be shown here)"

# What a page has around a value, in bytes.
AROUND = 250


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A text, or what of it a page shows."""

    text: str
    is_cut: bool = False


class Room:
    """Counts what texts take in a page, in bytes.

    Arguments: `size` of all that is shown with it; `around`, what a page has around each text. Where there is no more
    room than that, nothing of a text is shown.
    """

    def __init__(self, size: int, around: int = AROUND) -> None:
        self.left = size
        self._around = around

    def beginning(self, text: str, most: int) -> Excerpt:
        """As much of the beginning of a text as fits into `most` bytes and into the room that is left."""
        size = self._size(most)
        fits = _how_many(text[: size + 1], size)
        return self._taken(text[:fits], fits < len(text))

    def end(self, text: str, most: int) -> Excerpt:
        """The same of its end."""
        size = self._size(most)
        fits = _how_many(text[::-1][: size + 1], size)
        return self._taken(text[len(text) - fits :], fits < len(text))

    def json(self, value: Any, most: int) -> Excerpt:
        """The same of a value as JSON, indented."""
        pieces: list[str] = []
        length = 0
        try:
            for piece in json.JSONEncoder(ensure_ascii=False, indent=2).iterencode(value):
                pieces.append(piece)
                length += len(piece)
                if length > most:
                    break
        except RecursionError:
            return Excerpt(TOO_DEEP, is_cut=True)
        return self.beginning("".join(pieces), most)

    def _size(self, most: int) -> int:
        return max(0, min(most, self.left - self._around))

    def _taken(self, text: str, is_cut: bool) -> Excerpt:
        self.left -= _taken(text) + self._around
        return Excerpt(text, is_cut)


def _taken(text: str) -> int:
    return len(escape(text).encode("utf-8", "replace"))


def _how_many(text: str, size: int) -> int:
    """How many characters of the beginning of a text take at most `size` bytes in a page."""
    if _taken(text) <= size:
        return len(text)
    return bisect_right(range(len(text) + 1), size, key=lambda count: _taken(text[:count])) - 1
