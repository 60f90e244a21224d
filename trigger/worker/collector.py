"""Collecting, in the worker: it reads what its child and the programs that it starts write, into the execution's log.

The worker has one thread, so it reads while it waits for other things (`serve`), and it outlives the child: what a
killed child has written last is still in the pipes (`finish`). See `capture` for the other side.
"""

from __future__ import annotations

import logging
import os
import select
import socket
import time
from contextlib import suppress

from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from trigger.executions.log import STREAMS, Log, Stream, Streams
from trigger.inputs.masking import MASK
from trigger.worker.capture import Capture, ChildEnds
from trigger.worker.wire import AGAIN, DONE, GIVE_UP, Board, Frames, Owner

logger = logging.getLogger("trigger.worker")

# Lines are written so long after they came, and tried again so long after they could not be, in seconds.
DELAY = 0.2
PAUSE = 1.0
# How many lines are written each time, so that a flood leaves Redis time for others. The end writes all that is kept.
AT_ONCE = 2_000

_CHUNK = 64 * 1024
# How much is read at an end: more than a pipe holds. A process that was left behind may write for ever.
_LAST = 1024 * 1024
# How many old pipes are still emptied, for processes that were left behind, and how much of each.
_RETIRED = 16
_RETIRED_BYTES = 1024 * 1024
# Lines shown of one piece that no execution owns.
_STRAY_LINES = 20


class Collector:
    """The worker's side of one child, made before it is forked.

    Arguments: `redis`, where the logs are written; `limit`, how many bytes of each are kept; `secrets` of the config,
    masked in all of them.
    """

    def __init__(self, redis: Redis, *, limit: int, secrets: tuple[str, ...] = ()) -> None:
        self._redis = redis
        self._limit = limit
        self._secrets = secrets
        self._board = Board()
        self._control, control = socket.socketpair()
        self._ends = ChildEnds(os.pipe(), os.pipe(), os.pipe(), control, self._board)
        self._out, self._err, self._frames = self._ends.out[0], self._ends.err[0], self._ends.frames[0]
        self._open = {self._out, self._err, self._frames}
        self._retired: dict[int, int] = {}  # descriptors, with how much may still be read of each
        self._alive = True
        self._turn = 0
        self._owner: Owner | None = None
        self._log: Log | None = None
        self._streams: Streams | None = None  # of the log
        self._parser = Frames()
        self._due: float | None = None  # when to write next

    def in_child(self) -> Capture:
        """The other side; called in the child."""
        self._control.close()
        return Capture(self._ends)

    def in_worker(self) -> None:
        """Lets go of what only the child uses; called in the worker, after the fork."""
        for _, write in (self._ends.out, self._ends.err, self._ends.frames):
            os.close(write)
        self._ends.control.close()
        for pipe in self._open:
            os.set_blocking(pipe, False)

    def serve(self, seconds: float, wake: int | None = None) -> None:
        """Reads and writes for so many seconds; returns early when `wake` can be read, or when the child has gone."""
        deadline = time.monotonic() + seconds
        poll = self._poll(wake)
        while True:
            now = time.monotonic()
            if self._due is not None and now >= self._due:
                self._flush(AT_ONCE)
            left = min(deadline, self._due or deadline) - now
            ready = {descriptor for descriptor, _ in poll.poll(max(0.0, left) * 1000)}
            if ready & self._open:
                self._read_all()
            for pipe in ready & self._retired.keys():
                self._discard(pipe)
            if self._alive and self._control.fileno() in ready:
                self._answer()
            if ready - {wake}:
                poll = self._poll(wake)
            if (wake in ready) or (ready and not self._alive) or time.monotonic() >= deadline:
                return

    def finish(self) -> None:
        """Takes over what a dead child has written, and writes it while its execution is still held. May be repeated.

        Raises redis.exceptions.ConnectionError while Redis can't be reached.
        """
        self._alive = False
        self._read_last()
        self._close_lines()
        if not self._flush():
            raise RedisConnectionError("the log of the child's execution can't be written")
        self._log, self._due = None, None

    def close(self) -> None:
        """Closes all that is open, after `finish`."""
        self._control.close()
        for pipe in (*self._open, *self._retired):
            os.close(pipe)
        self._open.clear()
        self._retired.clear()
        self._board.close()

    # --- reading ---

    def _poll(self, wake: int | None) -> select.poll:
        poll = select.poll()
        for descriptor in (*self._open, *self._retired):
            poll.register(descriptor, select.POLLIN)
        if self._alive:
            poll.register(self._control, select.POLLIN)
        if wake is not None:
            poll.register(wake, select.POLLIN)
        return poll

    def _read_all(self) -> int:
        """Reads once what each pipe holds, and answers how many bytes that was."""
        # A program writes a while after it was started, and Python right after a program has ended: so the frames are
        # the later ones where both are there.
        size = 0
        for pipe, stream in ((self._out, "stdout"), (self._err, "stderr")):
            if data := self._read(pipe):
                size += len(data)
                self._add(b"o" if stream == "stdout" else b"e", "", data, time.time())
        if data := self._read(self._frames):
            size += len(data)
            for kind, level, at, text in self._parser.feed(data, self._board.turn):
                self._add(kind, level, text, at)
        return size

    def _read_last(self) -> None:
        size = 0
        while size < _LAST and (read := self._read_all()):
            size += read

    def _read(self, pipe: int) -> bytes:
        if pipe not in self._open:
            return b""
        self._board.look()
        try:
            data = os.read(pipe, _CHUNK)
        except BlockingIOError:
            return b""
        if not data:  # nobody holds the other end any more
            self._open.discard(pipe)
            os.close(pipe)
        return data

    def _discard(self, pipe: int) -> None:
        try:
            data = os.read(pipe, _CHUNK)
        except BlockingIOError:
            return
        self._retired[pipe] -= len(data)
        if not data or self._retired[pipe] <= 0:
            del self._retired[pipe]
            os.close(pipe)

    def _add(self, kind: bytes, level: str, data: bytes, at: float) -> None:
        """Adds a piece of output to the log of whose it is."""
        if self._board.turn != self._turn:
            self._switch()
        if self._log is None or self._streams is None:
            self._show_stray(data)
            return
        stream = STREAMS[kind]
        self._write(stream, level, self._streams.feed(stream, level, data), at)

    def _switch(self) -> None:
        """Takes over the owner that the child has posted."""
        self._owner = owner = self._board.owner()
        self._turn = self._board.turn if owner is not None else 0
        self._log = self._streams = None
        if owner is not None:
            secrets = (*owner.secrets, *self._secrets)
            about = {"uid": owner.uid, "request": owner.request}
            self._log = Log(self._redis, owner.uid, owner.execution, limit=self._limit, secrets=secrets, about=about)
            self._streams = self._log.streams()

    def _write(self, stream: Stream, level: str, lines: list[bytes], at: float) -> None:
        if self._log is None or self._owner is None or not lines:
            return
        if self._owner.hidden:
            lines = [MASK.encode()] * len(lines)
        self._log.write_lines(stream, lines, level=level, attempt=self._owner.attempt, at=at)
        if self._due is None:
            self._due = time.monotonic() + DELAY

    def _show_stray(self, data: bytes) -> None:
        for line in data.splitlines()[:_STRAY_LINES]:
            logger.info("written while no execution ran: %s", line.decode("utf-8", "replace"))

    # --- the end of an execution ---

    def _answer(self) -> None:
        """Does what the child asks at an execution's end, and tells it whether all is written."""
        try:
            question, descriptors, _, _ = socket.recv_fds(self._control, 1, 2)
        except ConnectionResetError:  # it was killed before it read the last answer
            question, descriptors = b"", []
        if not question:
            self._alive = False
            return
        self._read_last()
        self._close_lines()
        if descriptors:
            self._renew(*descriptors)
        done = self._flush() or question == GIVE_UP
        if done:
            self._log, self._owner, self._turn, self._due = None, None, 0, None
        with suppress(BrokenPipeError):  # it was killed while it asked
            self._control.send(DONE if done else AGAIN)

    def _renew(self, out: int, err: int) -> None:
        for old, new in ((self._out, out), (self._err, err)):
            if old in self._open:
                self._open.discard(old)
                self._retired[old] = _RETIRED_BYTES
            os.set_blocking(new, False)
            os.set_inheritable(new, False)
            self._open.add(new)
        self._out, self._err = out, err
        while len(self._retired) > _RETIRED:
            oldest = next(iter(self._retired))
            del self._retired[oldest]
            os.close(oldest)

    def _close_lines(self) -> None:
        for stream, level, lines in self._streams.close() if self._streams is not None else ():
            self._write(stream, level, lines, time.time())

    def _flush(self, most: int | None = None) -> bool:
        """Writes what there is; False where Redis can't be reached, and the next call may do better."""
        self._due = None
        if self._log is None:
            return True
        written = self._log.flush(most)
        if self._log.pending:
            self._due = time.monotonic() + (DELAY if written else PAUSE)
        return written or self._log.refused
