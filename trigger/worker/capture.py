"""Capture, in the child: what a plain Python workflow prints, logs or lets others print goes to the worker.

The file descriptors 1 and 2 are pipes that the worker reads (see `collector`); so C code and programs are caught.
`sys.stdout`, `sys.stderr` and logging write frames into a third pipe, so that their order is kept. No thread reads
here: the child may fork, its code may hold Python's lock as long as it likes, and nothing is lost when it is killed.

An execution that writes nothing costs a look at the pipes. The end of one that does is told to the worker, which
answers once all of it is in Redis. What a process writes that outlives the execution which started it belongs to no
log: it keeps the old pipes, and the next execution gets new ones.
"""

from __future__ import annotations

import ctypes
import io
import logging
import os
import select
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TextIO

from trigger.worker import processes
from trigger.worker.wire import (
    AGAIN,
    ALONE,
    CROWDED,
    END,
    FRAME,
    GIVE_UP,
    LAST,
    MAX_FRAME,
    READY,
    RENEW,
    REPORT,
    STEP,
    Board,
)

# The logger of trigger.workflows.context; what else is "trigger" is the service's own log.
_WORKFLOW = "trigger.workflow"

# For how long the end of an execution waits until its log can be written, in seconds.
PATIENCE = 30.0

_LEVEL = 20  # bytes of a level's name


@dataclass(frozen=True, slots=True)
class ChildEnds:
    """The child's ends of what it shares with the worker: (read, write) of each pipe, and a socket for the end."""

    out: tuple[int, int]
    err: tuple[int, int]
    frames: tuple[int, int]
    control: socket.socket
    board: Board


class Capture:
    """Gives the output of one execution after the other to the worker. Made in the child, after the fork."""

    def __init__(self, ends: ChildEnds) -> None:
        self._ends = ends
        self._pipes = [ends.out[0], ends.err[0], ends.frames[0]]
        self._poll = self._poll_of(self._pipes)
        self._turn = 0
        self._active = False
        self._looks = 0
        self._give_up_at: float | None = None
        self._stdout, self._stderr = self._stream(b"o", 1), self._stream(b"e", 2)
        self._originals: tuple[TextIO, TextIO] = (sys.stdout, sys.stderr)
        self._libc = ctypes.CDLL(None)

    def install(self) -> None:
        """Puts the pipes in place of stdout and stderr, for the rest of the process's life.

        The service's own log goes on to what was stderr before.
        """
        for stream in self._originals:
            stream.flush()
        self._divert_logging(open(os.dup(2), "w", buffering=1, errors="backslashreplace"))  # noqa: SIM115  kept
        os.dup2(self._ends.out[1], 1)
        os.dup2(self._ends.err[1], 2)
        os.close(self._ends.out[1])
        os.close(self._ends.err[1])
        for stream in self._originals:
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(line_buffering=True)
        with suppress(ValueError):  # another C library has another name for it
            stdout = ctypes.c_void_p.in_dll(self._libc, "stdout")
            self._libc.setvbuf(stdout, None, 1, 0)  # _IOLBF: C's printf shows its lines at once too

    def begin(self, uid: str, request: str, execution: str, attempt: int, secrets: set[str]) -> None:
        """From now on the output is this execution's; its `secrets` are masked."""
        self._turn = self._turn % 0xFFFFFFFF + 1
        self._ends.board.post(self._turn, uid, request, execution, attempt, secrets)
        self._looks = self._ends.board.looks
        if not (_is_open(self._stdout) and _is_open(self._stderr)):  # after the execution before
            self._stdout, self._stderr = self._stream(b"o", 1), self._stream(b"e", 2)
        sys.stdout, sys.stderr = self._stdout, self._stderr
        self._active = True

    def end(self) -> bool:
        """Ends the execution's output. True when all of it is in Redis, or has been given up after PATIENCE.

        False when Redis can't be reached: to be called again before the execution's end is recorded.
        """
        if self._active:
            self._active = False
            self.flush()
            sys.stdout, sys.stderr = self._originals
            # In this order: what the pipe does not hold any more was counted before it was taken out.
            silent = not self._poll.poll(0) and self._ends.board.looks == self._looks
            left = processes.has_children()
            if silent and not left:
                self._ends.board.clear()
                return True
            self._give_up_at = time.monotonic() + PATIENCE
            return self._ask(RENEW if left else END)
        if self._give_up_at is None:
            return True
        return self._ask(END if time.monotonic() < self._give_up_at else GIVE_UP)

    def flush(self) -> None:
        """Hands on what Python and C keep in buffers."""
        for stream in (self._stdout, self._stderr, *self._originals):
            with suppress(ValueError, OSError):  # closed by the workflow
                stream.flush()
        self._libc.fflush(None)

    def note(self, data: bytes) -> None:
        """In the process of a step: tells the runner something before it ends."""
        self._send(REPORT, b"", data)

    def report(self, data: bytes, *, ready: bool) -> bool:
        """In the process of a step: tells the runner how it ended, when nothing more is to come of it.

        `ready`: whether the process could run another step. True when it was told so, for it has no children either.
        """
        self.note(data)
        last = CROWDED if processes.has_children() else READY if ready else ALONE
        self._send(LAST, b"", last)
        return last == READY

    def divert(self, out: int, err: int, frames: int) -> tuple[int, int, int]:
        """In the process of a step: puts these pipes in place of the worker's, for all it writes from now on.

        Returns the descriptors it writes to.
        """
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.dup2(frames, self._ends.frames[1], inheritable=False)
        for descriptor in (out, err, frames, *self._pipes, self._ends.control.detach()):
            os.close(descriptor)
        self._turn = STEP
        self._stdout, self._stderr = self._stream(b"o", 1), self._stream(b"e", 2)
        sys.stdout, sys.stderr = self._stdout, self._stderr
        self._active = True
        return 1, 2, self._ends.frames[1]

    def _ask(self, what: bytes) -> bool:
        if what == RENEW:
            self._renew()
        else:
            self._ends.control.sendall(what)
        if self._ends.control.recv(1) == AGAIN:
            return False
        self._give_up_at = None
        self._ends.board.clear()
        return True

    def _renew(self) -> None:
        """New pipes for 1 and 2: some process may hold the old ones, and write there whenever it likes."""
        (out, out_write), (err, err_write) = os.pipe(), os.pipe()
        os.dup2(out_write, 1)
        os.dup2(err_write, 2)
        socket.send_fds(self._ends.control, [RENEW], [out, err])
        for descriptor in (out_write, err_write, *self._pipes[:2]):
            os.close(descriptor)
        self._pipes[:2] = out, err
        self._poll = self._poll_of(self._pipes)

    @staticmethod
    def _poll_of(pipes: list[int]) -> select.poll:
        poll = select.poll()
        for pipe in pipes:
            poll.register(pipe, select.POLLIN)
        return poll

    def _stream(self, kind: bytes, descriptor: int) -> TextIO:
        raw = _Frames(lambda data: self._send(kind, b"", data), descriptor)
        # TextIOWrapper asks only for write() and flush(), as Python's own unbuffered stdout shows.
        return io.TextIOWrapper(raw, "utf-8", errors="backslashreplace", line_buffering=True)

    def _send(self, kind: bytes, level: bytes, data: bytes) -> None:
        now = time.time()
        room = MAX_FRAME - FRAME.size - len(level)
        for start in range(0, len(data), room):
            piece = data[start : start + room]
            os.write(self._ends.frames[1], FRAME.pack(self._turn, now, kind, len(level), len(piece)) + level + piece)

    def _emit(self, record: logging.LogRecord, text: str) -> None:
        level = record.levelname.encode("ascii", "replace")[:_LEVEL]
        self._send(b"l", level, text.encode("utf-8", "replace") + b"\n")

    def _divert_logging(self, service: TextIO) -> None:
        root, ours, workflow = logging.getLogger(), logging.getLogger("trigger"), logging.getLogger(_WORKFLOW)

        def is_for_service(record: logging.LogRecord) -> bool:
            return _is_service(record) or (not self._active and record.levelno >= logging.WARNING)

        handlers = root.handlers[:]
        for handler in handlers:
            if isinstance(handler, logging.StreamHandler):
                handler.setStream(service)
            handler.addFilter(is_for_service)
        execution = _Handler(self._emit)
        execution.addFilter(lambda record: self._active and not _is_service(record))
        # Each has its own: a workflow that configures logging changes the root's, and ours go on.
        root.handlers[:] = workflow.handlers[:] = [execution, *handlers]
        ours.handlers[:] = handlers
        ours.propagate = workflow.propagate = False
        root.setLevel(logging.INFO)


class _Frames(io.RawIOBase):
    """What is under `sys.stdout` or `sys.stderr` during an execution. Its descriptor is the pipe's, for programs."""

    def __init__(self, send: Callable[[bytes], None], descriptor: int) -> None:
        self._send = send
        self._descriptor = descriptor
        self.name = "<stdout>" if descriptor == 1 else "<stderr>"

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def write(self, data: Any, /) -> int:
        piece = bytes(data)
        self._send(piece)
        return len(piece)


class _Handler(logging.Handler):
    """Gives a record's text, with its traceback, to `emit`."""

    def __init__(self, emit: Callable[[logging.LogRecord, str], None]) -> None:
        super().__init__()
        self._emit_text = emit

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
            named = record.name not in ("root", _WORKFLOW)
            self._emit_text(record, f"{record.name}: {text}" if named else text)
        except Exception:  # noqa: BLE001  the boundary that logging itself has: what is logged may fail at str()
            self.handleError(record)


def _is_service(record: logging.LogRecord) -> bool:
    return record.name.startswith("trigger.") and record.name != _WORKFLOW


def _is_open(stream: TextIO) -> bool:
    try:
        return not stream.closed
    except ValueError:  # what is under it was taken away
        return False
