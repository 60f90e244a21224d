"""An output as a page shows it: as JSON that folds, or the beginning of one that was too large to be kept."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from trigger.console.room import Excerpt, Room
from trigger.store import Record, StepRecord

# A character that a JSON text has as its number, one or two of them; and the backslashes before it.
_NUMBERED = re.compile(r"(?<!\\)((?:\\\\)*)(\\ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}|\\u[0-9a-f]{4})")


@dataclass(frozen=True, slots=True)
class Output:
    """As much of an output as there is room for; `size` is that of the whole in bytes, where that was not kept."""

    piece: Excerpt
    size: int | None

    @classmethod
    def of(cls, of: Record | StepRecord, room: Room, most: int) -> Output | None:
        """That of an execution or a step; None where there is none."""
        if of.output is None:
            return None
        if of.truncated:
            return cls(room.beginning(_NUMBERED.sub(_written_out, beginning(of)), most), of.output["bytes"])
        return cls(room.json(of.output, most), None)


def beginning(of: Record | StepRecord) -> str:
    """Return the beginning of an output that was too large: JSON text, or nothing if it might be part of a secret."""
    return str(of.output.get("beginning", ""))


def _written_out(numbered: re.Match[str]) -> str:
    """The characters themselves, where they can be seen."""
    text: str = json.loads(f'"{numbered[2]}"')
    return numbered[1] + text if text.isprintable() else numbered[0]
