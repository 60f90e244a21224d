"""Writing an execution's log: a Redis stream with an entry for each line, of which the newest part is kept.

An entry has the fields s (stream: o, e, l), l (level), p (step), a (attempt) and m (text); the milliseconds of its id
are the time of the line, by Redis' clock. The field `log` of the job's hash counts: bytes in the stream, lines cut, the
id up to which they are cut, and who wrote last which batch. It ends with the record, as the stream does.
"""

from __future__ import annotations

import logging
import secrets as random
import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from redis import Redis
from redis.exceptions import RedisError, ResponseError

from trigger.store.keys import JOB, LOG
from trigger.store.lines import Secrets, Splitter, shown
from trigger.store.lua import load

logger = logging.getLogger("trigger.log")

Stream = Literal["stdout", "stderr", "log"]

LETTERS: dict[Stream, str] = {"stdout": "o", "stderr": "e", "log": "l"}
STREAMS: dict[bytes, Stream] = {letter.encode(): stream for stream, letter in LETTERS.items()}

# What an entry takes in Redis besides its text, in bytes; with it many short lines count for what they cost.
ENTRY = 32

WRITE = load("write_log", ENTRY=ENTRY)

# What one call of the script carries at most: Redis does nothing else meanwhile.
_BATCH_LINES = 100
_BATCH_BYTES = 32 * 1024


@dataclass(slots=True)
class _Piece:
    """Lines that came together; `at` in seconds since 1970."""

    at: float
    stream: Stream
    level: str
    step: str
    attempt: int
    lines: list[bytes]

    def size_of(self, lines: list[bytes]) -> int:
        """Return the size of these lines in Redis, in bytes."""
        return sum(map(len, lines)) + len(lines) * (len(self.step) + ENTRY)

    def take(self, count: int) -> _Piece:
        """The first so many lines, which are gone from here."""
        taken, self.lines = self.lines[:count], self.lines[count:]
        return replace(self, lines=taken)


@dataclass(frozen=True, slots=True)
class _Batch:
    """The lines that one call of the script writes; repeated with the same number until it has had a reply."""

    number: int
    cut: int
    lines: list[tuple[float, str, str, str, int, str]] = field(default_factory=list)


class Streams:
    """Streams of bytes as their lines, by stream and level; see Splitter."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets
        self._splitters: dict[tuple[Stream, str], Splitter] = {}

    def feed(self, stream: Stream, level: str, data: bytes) -> list[bytes]:
        """The lines that end with this piece of a stream."""
        splitter = self._splitters.get((stream, level))
        if splitter is None:
            splitter = self._splitters[stream, level] = Splitter(self._secrets)
        return splitter.feed(data)

    def close(self) -> list[tuple[Stream, str, list[bytes]]]:
        """The last line of each stream, by stream and level; then they begin anew."""
        last = [(stream, level, splitter.close()) for (stream, level), splitter in self._splitters.items()]
        self._splitters.clear()
        return last


class Log:
    """Writes the log of one run of an execution, in batches.

    Arguments: `redis`; `uid`, and `run`, the id of the run: once another run has it, or it has ended, nothing is
    written any more; `limit`, how many bytes of the log are kept; `secrets`, which are masked in every line; `about`,
    what lines of the service's own log carry when they speak of this one.

    Lines wait here until `flush`, at most `limit` bytes of them: what is older could not be kept and is only counted.
    It is for one thread.
    """

    def __init__(
        self,
        redis: Redis,
        uid: str,
        run: str,
        *,
        limit: int,
        secrets: Iterable[str] = (),
        about: Mapping[str, Any] | None = None,
    ) -> None:
        self._redis = redis
        self._about = about or {"uid": uid}
        self._script = WRITE.on(redis)
        self._uid = uid
        self._run = run
        self._limit = limit
        self._secrets = Secrets(secrets)
        self._writer = random.token_hex(4)
        self._waiting: deque[_Piece] = deque()
        self._bytes = 0  # of those
        self._cut = 0  # lines dropped here, not yet counted in Redis
        self._batch: _Batch | None = None
        self._batches = 0
        self._over = False
        self._failing = False
        self.refused = False  # Redis answered the last flush with an error: it is there, but takes nothing

    @property
    def pending(self) -> bool:
        """Whether there is something to flush."""
        return bool(self._waiting or self._cut or self._batch)

    def streams(self) -> Streams:
        """New streams of bytes, whose lines are meant for `write_lines`."""
        return Streams(self._secrets)

    def write(
        self, stream: Stream, text: str, *, level: str = "", step: str = "", attempt: int = 1, at: float | None = None
    ) -> None:
        """Adds one or more whole lines; the end of the last one may be left out.

        A secret that is cut in two by two calls is not found: text that comes in pieces goes through `streams`.
        """
        data = text.encode("utf-8", "replace")
        lines = (data[:-1] if data.endswith(b"\n") else data).split(b"\n")
        self.write_lines(stream, lines, level=level, step=step, attempt=attempt, at=at)

    def write_lines(
        self,
        stream: Stream,
        lines: Iterable[bytes],
        *,
        level: str = "",
        step: str = "",
        attempt: int = 1,
        at: float | None = None,
    ) -> None:
        """Adds lines, each without its end; `at` is their time in seconds since 1970, now if left out."""
        lines = list(lines)
        if self._over or not lines:
            return
        piece = _Piece(time.time() if at is None else at, stream, level, step, attempt, lines)
        self._waiting.append(piece)
        self._bytes += piece.size_of(lines)
        while self._bytes > self._limit and (len(self._waiting) > 1 or len(self._waiting[0].lines) > 1):
            self._drop()

    def _drop(self) -> None:
        """Drops the oldest lines, as many of the oldest piece as there are too many."""
        oldest = self._waiting[0]
        size = oldest.size_of(oldest.lines)
        if len(self._waiting) > 1 and self._bytes - size >= self._limit:
            self._waiting.popleft()
            self._bytes -= size
            self._cut += len(oldest.lines)
            return
        count = 0
        for line in oldest.lines if len(self._waiting) > 1 else oldest.lines[:-1]:
            if self._bytes <= self._limit:
                break
            self._bytes -= oldest.size_of([line])
            count += 1
        self._cut += len(oldest.take(count).lines)
        if not oldest.lines:
            self._waiting.popleft()

    def flush(self, most: int | None = None) -> bool:
        """Writes all that waits, or at most so many lines. False when Redis did not take them: they are kept, and the
        next call tries again.
        """
        self.refused = False
        batches = None if most is None else most // _BATCH_LINES
        while self.pending and batches != 0:
            batches = None if batches is None else batches - 1
            batch = self._batch = self._batch or self._next_batch()
            try:
                going = self._send(batch)
            except RedisError as error:
                if not self._failing:
                    logger.warning("the execution's log can't be written now: %s", error, extra={"fields": self._about})
                self._failing = True
                self.refused = isinstance(error, ResponseError)
                return False
            self._batch = None
            self._failing = False
            if not going:
                self._over = True
                self._waiting.clear()
                self._bytes = self._cut = 0
        return True

    def _next_batch(self) -> _Batch:
        pieces: list[_Piece] = []
        count = size = 0
        while self._waiting and count < _BATCH_LINES and size < _BATCH_BYTES:
            piece = self._waiting[0].take(_BATCH_LINES - count)
            if not self._waiting[0].lines:
                self._waiting.popleft()
            pieces.append(piece)
            count += len(piece.lines)
            size += piece.size_of(piece.lines)
        self._bytes -= size
        self._batches += 1
        batch = _Batch(self._batches, self._cut)
        self._cut = 0
        for piece in pieces:
            given = piece.at, LETTERS[piece.stream], piece.level, piece.step, piece.attempt
            for texts in shown(piece.lines, self._secrets):
                batch.lines.extend((*given, text) for text in texts)
        return batch

    def _send(self, batch: _Batch) -> bool:
        now = time.time()
        lines: list[Any] = []
        for at, *rest in batch.lines:
            lines += (max(0, int((now - at) * 1000)), *rest)
        written = self._script(
            stream=LOG + self._uid,
            job=JOB + self._uid,
            run=self._run,
            by=self._writer,
            number=batch.number,
            keep=self._limit,
            dropped=batch.cut,
            more=lines,
        )
        return bool(written)
