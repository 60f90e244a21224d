"""A signal may come at any moment, also while the log is being written."""

from __future__ import annotations

import io
import logging
import os
import signal
from collections import deque

import pytest

from trigger.worker.worker import QueueWorker


class Interrupted(io.RawIOBase):
    """A file on whose first write the process gets a SIGHUP."""

    came = b""

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        first, self.came = not self.came, self.came + bytes(data)
        if first:
            os.kill(os.getpid(), signal.SIGHUP)
        return len(data)


def test_a_signal_in_the_middle_of_a_line_of_the_log_breaks_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    worker = QueueWorker.__new__(QueueWorker)
    worker._stop_at, worker._told = None, deque()
    file = Interrupted()
    stream = io.TextIOWrapper(io.BufferedWriter(file), write_through=True)  # type: ignore[type-var]
    handler = logging.StreamHandler(stream)
    logger = logging.getLogger("trigger.worker")
    logger.addHandler(handler)
    level, before = logger.level, signal.signal(signal.SIGHUP, worker._on_hangup)
    logger.setLevel(logging.INFO)
    try:
        logger.info("a line")
        assert worker._renews
        worker._say_told()
    finally:
        signal.signal(signal.SIGHUP, before)
        logger.removeHandler(handler)
        logger.setLevel(level)
    assert capsys.readouterr().err == ""
    assert file.came == b"a line\nstarting anew, when the running execution has ended\n"
