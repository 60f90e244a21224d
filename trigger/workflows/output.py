"""Capture, in the process that runs foreign code: all that it prints, logs or lets others print goes to the worker.

The descriptors 1 and 2 are pipes that the worker reads, so C code and programs are caught. `sys.stdout`, `sys.stderr`
and logging send messages on the socket pair, so their order is kept. No thread reads here: the work may fork, it may
hold Python's lock as long as it likes, and nothing is lost when it is killed.
"""

from __future__ import annotations

import ctypes
import io
import logging
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TextIO

from trigger.workflows.channel import LOG, MAX_LEVEL, STDERR, STDOUT, say

# The logger of trigger.workflows.context; what else is "trigger" is the service's own log.
_WORKFLOW = "trigger.workflow"


class Capture:
    """The output of the process. Arguments: `sock`, its end of the socket pair; `out` and `err`, pipes."""

    def __init__(self, sock: int, out: int, err: int) -> None:
        self._sock = sock
        self._pipes = out, err
        self._stdout, self._stderr = self._stream(STDOUT, 1), self._stream(STDERR, 2)
        self._originals: tuple[TextIO, TextIO] = (sys.stdout, sys.stderr)
        self._libc = ctypes.CDLL(None)

    def divert(self) -> None:
        """Puts the pipes in place of stdout and stderr, for the rest of the process's life. Until then, what is written
        is in the service's log."""
        for stream in self._originals:
            stream.flush()
        for pipe, descriptor in zip(self._pipes, (1, 2), strict=True):
            os.dup2(pipe, descriptor)
            os.close(pipe)
        for stream in self._originals:
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(line_buffering=True)
        with suppress(ValueError):  # another C library has another name for it
            stdout = ctypes.c_void_p.in_dll(self._libc, "stdout")
            self._libc.setvbuf(stdout, None, 1, 0)  # _IOLBF: C's printf shows its lines at once too
        handler = _Handler(self._emit)
        root, workflow = logging.getLogger(), logging.getLogger(_WORKFLOW)
        # Each has its own: a workflow that configures logging changes the root's.
        root.handlers[:], workflow.handlers[:] = [handler], [handler]
        workflow.propagate = False
        root.setLevel(logging.INFO)
        sys.stdout, sys.stderr = self._stdout, self._stderr

    def flush(self) -> None:
        """Hands on what Python and C keep in buffers."""
        for stream in (self._stdout, self._stderr, *self._originals):
            with suppress(ValueError, OSError):  # closed by the work
                stream.flush()
        self._libc.fflush(None)

    def _stream(self, kind: bytes, descriptor: int) -> TextIO:
        raw = _Messages(lambda data: say(self._sock, kind, data), descriptor)
        # TextIOWrapper asks only for write() and flush(), as Python's own unbuffered stdout shows.
        return io.TextIOWrapper(raw, "utf-8", errors="backslashreplace", line_buffering=True)

    def _emit(self, record: logging.LogRecord, text: str) -> None:
        level = record.levelname.encode("ascii", "replace")[:MAX_LEVEL]
        say(self._sock, LOG, text.encode("utf-8", "replace") + b"\n", level)


class _Messages(io.RawIOBase):
    """The stream under `sys.stdout` or `sys.stderr`. Its descriptor is the pipe's, for programs."""

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
