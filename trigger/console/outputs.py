"""An output as a page shows it: as JSON that folds, or the beginning of one that was too large to be kept."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from trigger.console.room import Piece, Room

# A character that a JSON text has as its number, one or two of them; and the backslashes before it.
_NUMBERED = re.compile(r"(?<!\\)((?:\\\\)*)(\\ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}|\\u[0-9a-f]{4})")


@dataclass(frozen=True, slots=True)
class Truncated:
    """What is kept of an output that was too large: how many bytes it had, and its beginning, as JSON text."""

    size: int
    beginning: str


def truncated(output: Any) -> Truncated | None:
    """None for an output that was kept whole."""
    if not isinstance(output, dict) or output.get("truncated") is not True:
        return None
    size, beginning = output.get("bytes"), output.get("beginning", "")
    if output.keys() - {"truncated", "bytes", "beginning"} or type(size) is not int or not isinstance(beginning, str):
        return None
    return Truncated(size, beginning)


@dataclass(frozen=True, slots=True)
class Output:
    """What of an output there is room for; `size` is that of the whole in bytes, where that was not kept."""

    piece: Piece
    size: int | None

    @classmethod
    def of(cls, output: Any, room: Room, most: int) -> Output | None:
        """None where there is no output."""
        if output is None:
            return None
        found = truncated(output)
        if found is None:
            return cls(room.json(output, most), None)
        return cls(room.beginning(_NUMBERED.sub(_written_out, found.beginning), most), found.size)


def _written_out(numbered: re.Match[str]) -> str:
    """The characters themselves, where they can be seen."""
    text: str = json.loads(f'"{numbered[2]}"')
    return numbered[1] + text if text.isprintable() else numbered[0]
