"""The output of one attempt, as the worker reads it: lines for the log, an output, a report."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from trigger.store.log import Log, Stream, Streams
from trigger.store.outcome import MAX_OUTPUT
from trigger.workflows.channel import ALONE, GIVEN, LAST, REPORT
from trigger.workflows.report import MAX_GIVEN, MAX_REPORT

# How many levels of logging are told apart: a stream of bytes is kept for each.
_LEVELS = 16


class Collected:
    """The output of one attempt, kept within bounds.

    Arguments: `log`, which gives the execution's log when there is something for it; `step` and `attempt`, whose output
    it is; `keep`, whether stdout is the step's output.
    """

    def __init__(self, log: Callable[[], Log], step: str, attempt: int, *, keep: bool) -> None:
        self._log = log
        self._step, self._attempt, self._keep = step, attempt, keep
        self._streams: Streams | None = None
        self._levels: set[str] = set()
        self.given: str | None = None
        self.report = bytearray()
        self.is_all = False  # the process has said that nothing more is to come of this attempt
        self.is_alone = False  # and that it has no children
        self.kept = bytearray()  # the beginning of stdout
        self.size = 0  # of all of it, in bytes

    def note(self, kind: bytes, level: bytes, text: bytes) -> None:
        """Takes a message that is no text for the log."""
        if kind == GIVEN:
            self.given = _json(text)
        elif kind in (REPORT, LAST):
            self.report += text[: MAX_REPORT - len(self.report)]
            if kind == LAST:
                self.is_all, self.is_alone = True, level == ALONE

    def add(self, stream: Stream, data: bytes, *, level: str = "", at: float | None = None, raw: bool = False) -> None:
        """Adds a piece of a stream, which came at a time in seconds since 1970. `raw`: it was written to a pipe."""
        if raw and self._keep and stream == "stdout":
            self.size += len(data)
            self.kept += data[: MAX_OUTPUT - len(self.kept)]
        if self._streams is None:
            self._streams = self._log().streams()
        if len(self._levels) < _LEVELS or level in self._levels:
            self._levels.add(level)
        else:
            level = ""
        self._write(stream, level, self._streams.feed(stream, level, data), at)

    def close(self) -> None:
        """Ends the lines that have no end."""
        for stream, level, lines in self._streams.close() if self._streams is not None else ():
            self._write(stream, level, lines, None)

    def _write(self, stream: Stream, level: str, lines: list[bytes], at: float | None) -> None:
        if lines:
            moment = time.time() if at is None else at
            self._log().write_lines(stream, lines, level=level, step=self._step, attempt=self._attempt, at=moment)


def _json(text: bytes) -> str | None:
    """The text, if it is JSON and no longer than may be."""
    if len(text) > MAX_GIVEN:
        return None
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return None
    return text.decode("utf-8", "replace")
