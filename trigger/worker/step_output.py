"""What one attempt at a step writes, as the runner in the child reads it: lines for the log, an output, a report."""

from __future__ import annotations

import os
import time
from contextlib import suppress

from trigger.executions.log import STREAMS, Log, Stream
from trigger.worker.outcome import MAX_OUTPUT
from trigger.worker.step_process import Ends
from trigger.worker.step_report import MAX_REPORT
from trigger.worker.wire import ALONE, LAST, READY, REPORT, STEP, Frames

_CHUNK = 64 * 1024
# How much is read of each pipe when all was written: more than a pipe holds.
_LAST = 1024 * 1024


class Output:
    """The pipes of a process, for one attempt after the other. What is kept is bounded, and so is what one call reads.

    Argument: `log` of the execution.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._step = ""
        self._attempt = 1
        self._keep = False
        self.is_all = False  # the process has said that nothing more is to come from it, and that it leaves nothing
        self.is_ready = False  # and that it can run another step
        (self._out, out), (self._err, err), (self._frames, frames) = os.pipe(), os.pipe(), os.pipe()
        self._given: tuple[int, ...] = (out, err, frames)
        self.open = {self._out, self._err, self._frames}
        for pipe in self.open:
            os.set_blocking(pipe, False)
        self._parser = Frames()
        self._streams = log.streams()
        self.report = bytearray()
        self.kept = bytearray()  # the beginning of stdout
        self.size = 0  # of all of it, in bytes

    def assign(self, step: str, attempt: int, *, keep: bool) -> None:
        """Says whose output it is; `keep` is whether stdout is the step's output."""
        self._step, self._attempt, self._keep = step, attempt, keep
        self.is_all = self.is_ready = False
        self.report.clear()
        self.kept.clear()
        self.size = 0

    def in_process(self, others: set[int]) -> Ends:
        """The ends for the process; `others` are descriptors of the child that it is to close."""
        out, err, frames = self._given
        return Ends(out, err, frames, foreign=tuple(self.open | others))

    def in_child(self) -> None:
        """Lets go of what only the process uses; called in the child, after the fork."""
        for pipe in self._given:
            os.close(pipe)
        self._given = ()

    def read(self, pipe: int) -> int:
        """Reads what a pipe holds, at most a chunk; the number of bytes, 0 at the end or when there is nothing."""
        try:
            data = os.read(pipe, _CHUNK)
        except BlockingIOError:
            return 0
        if not data:
            self._close(pipe)
        elif pipe == self._frames:
            for kind, level, at, text in self._parser.feed(data, STEP):
                if kind == REPORT:
                    self.report += text[: MAX_REPORT - len(self.report)]
                elif kind == LAST:
                    self.is_all, self.is_ready = text in (ALONE, READY), text == READY
                else:
                    self._write(STREAMS[kind], level, self._streams.feed(STREAMS[kind], level, text), at)
        else:
            if pipe == self._out and self._keep:
                self.size += len(data)
                self.kept += data[: MAX_OUTPUT - len(self.kept)]
            stream: Stream = "stdout" if pipe == self._out else "stderr"
            self._write(stream, "", self._streams.feed(stream, "", data), time.time())
        return len(data)

    def take_rest(self) -> None:
        """Reads what is left of an attempt, once its process writes no more of it."""
        for pipe in tuple(self.open):
            left = _LAST
            while left > 0 and (size := self.read(pipe)):
                left -= size
        for stream, level, lines in self._streams.close():
            self._write(stream, level, lines, time.time())

    def close(self) -> None:
        """Closes all."""
        for pipe in tuple(self.open):
            self._close(pipe)

    def abandon(self) -> None:
        """Closes all, after a fork that failed."""
        for pipe in (*self.open, *self._given):
            with suppress(OSError):
                os.close(pipe)

    def _close(self, pipe: int) -> None:
        self.open.discard(pipe)
        os.close(pipe)

    def _write(self, stream: Stream, level: str, lines: list[bytes], at: float) -> None:
        self._log.write_lines(stream, lines, level=level, step=self._step, attempt=self._attempt, at=at)
