"""What a worker and its child share for the child's output: the form of a frame, and whose output it is."""

from __future__ import annotations

import mmap
import select
import struct
from collections.abc import Iterator
from dataclasses import dataclass

# A frame holds what Python wrote or logged: the turn it belongs to, its time in seconds since 1970, the stream (o, e
# or l), how many bytes of level and then of text follow.
FRAME = struct.Struct("<IdcBH")
# The turn of all frames of a step, which has a pipe of its own.
STEP = 1
# The kind of frames that hold what a step's process says to the runner: how it ended.
REPORT = b"r"
# The last frame of an attempt at a step: all is said. The process ends now, with children or ALONE, or it is as it was
# before and READY for another.
LAST = b"z"
CROWDED = b"0"
ALONE = b"1"
READY = b"2"
# A write of no more than this is never mixed with another one's (pipe(7), PIPE_BUF), whoever writes.
MAX_FRAME = select.PIPE_BUF

# Frames of one kind that follow each other within this time, in seconds, are taken as one.
_MOMENT = 0.02

# What the child asks of the worker when an execution has ended, and the answers.
END = b"E"  # write all there is of its output
RENEW = b"N"  # likewise, and here are new pipes for the next one
GIVE_UP = b"G"  # forget what could not be written
DONE = b"1"
AGAIN = b"0"

_SIZE = 8 * 1024 * 1024  # of which the system gives no more than was ever written to
_LOOKS = struct.Struct("<Q")
_HEAD = struct.Struct("<II?")
_BODY = _LOOKS.size + _HEAD.size


class Frames:
    """Reads frames from a pipe, however they were cut into reads."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes, present: int) -> Iterator[tuple[bytes, str, float, bytes]]:
        """The frames of the turn `present` as (kind, level, time, text), neighbours of one kind as one."""
        data = self._rest + data
        start = 0
        kind, level, since, texts = b"", b"", 0.0, list[bytes]()
        while len(data) - start >= FRAME.size:
            turn, at, its_kind, level_size, size = FRAME.unpack_from(data, start)
            text_start = start + FRAME.size + level_size
            if len(data) < text_start + size:
                break
            its_level = data[start + FRAME.size : text_start]
            start = text_start + size
            if turn != present:
                continue  # of a process that was left behind
            if texts and (its_kind != kind or its_level != level or at - since > _MOMENT):
                yield kind, level.decode(), since, b"".join(texts)
                texts = []
            if not texts:
                kind, level, since = its_kind, its_level, at
            texts.append(data[text_start:start])
        self._rest = data[start:]
        if texts:
            yield kind, level.decode(), since, b"".join(texts)


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose output it is: an execution's uid, the id of its request, that of this run of it, its attempt and secrets.

    `hidden`: the secrets were too many to be written here, so no text of it may be shown at all.
    """

    uid: str
    request: str
    execution: str
    attempt: int
    secrets: tuple[str, ...]
    hidden: bool = False


class Board:
    """Memory that both see. The child posts the owner of what it writes; the worker counts when it looks for output.

    It costs the child no system call, and the worker does not wake up for an execution that writes nothing.
    """

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _SIZE)

    @property
    def looks(self) -> int:
        """How often the worker has taken something out of the pipes. It counts before, so none is missed."""
        return int(_LOOKS.unpack_from(self._memory)[0])

    def look(self) -> None:
        _LOOKS.pack_into(self._memory, 0, self.looks + 1)

    def post(self, turn: int, uid: str, request: str, execution: str, attempt: int, secrets: set[str]) -> None:
        """Makes an execution the owner of what comes from now on; `turn` is another number for each."""
        # Secrets of several lines are hidden line by line, so it is no loss that they can't be told apart here.
        body = "\n".join((uid, request, execution, str(attempt), *secrets)).encode("utf-8", "replace")
        hidden = len(body) > _SIZE - _BODY
        if hidden:
            body = "\n".join((uid, request, execution, str(attempt))).encode()
        self.clear()
        self._memory[_BODY : _BODY + len(body)] = body
        _HEAD.pack_into(self._memory, _LOOKS.size, turn, len(body), hidden)

    def clear(self) -> None:
        """Makes nobody the owner."""
        _HEAD.pack_into(self._memory, _LOOKS.size, 0, 0, False)

    @property
    def turn(self) -> int:
        """The number of the present owner, 0 for nobody."""
        return int(_HEAD.unpack_from(self._memory, _LOOKS.size)[0])

    def owner(self) -> Owner | None:
        """The present owner; None for nobody, or while the child is just writing down another one."""
        head = _HEAD.unpack_from(self._memory, _LOOKS.size)
        turn, length, hidden = head
        body = self._memory[_BODY : _BODY + length]
        if not turn or _HEAD.unpack_from(self._memory, _LOOKS.size) != head:
            return None
        uid, request, execution, attempt, *secrets = body.decode().split("\n")
        return Owner(uid, request, execution, int(attempt), tuple(secrets), hidden)

    def close(self) -> None:
        self._memory.close()
