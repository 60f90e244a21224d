"""A process that runs foreign code, as its worker has it: what it is told, what is read from it, and how it ends."""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import struct
import time
from collections.abc import Mapping
from typing import Any

from trigger.config.model import Config
from trigger.store.log import STREAMS, Stream
from trigger.workflows import channel, processes
from trigger.workflows.channel import CLEAN, ENDED, LAST, MAX_MESSAGE, PID, SPOILT, UNSTARTED, WARM, heard
from trigger.workflows.collected import Collected
from trigger.workflows.guardian import spawn
from trigger.workflows.loop import Loop
from trigger.workflows.performer import Performer

logger = logging.getLogger("trigger.worker")

# How many messages, and how much of a pipe, are read before others have their turn.
_MESSAGES = 200
_CHUNK = 64 * 1024
# How much is read at the end of an attempt: more than a pipe holds. What was left behind may write forever.
_LAST = 1024 * 1024
# After these a process says nothing for a while.
_PAUSES = (LAST, CLEAN, SPOILT)
# How much is read of what was left behind, in bytes.
_STILL_READ = 1024 * 1024
# Lines shown of one piece of output that belongs to no execution.
_STRAY_LINES = 20
# How often that is read again where it is the last time: a socket holds some hundred messages.
_ROUNDS = 50
_BUFFER = bytearray(MAX_MESSAGE)
# Messages of one kind that follow each other within this time, in seconds, are taken as one.
_MOMENT = 0.02


class Process:
    """One that was forked, with its guardian, and reads what it is told.

    Arguments: see Performer. Raises OSError when there can't be one more.
    """

    def __init__(self, config: Config, environ: Mapping[str, str], loop: Loop, *, warm: bool) -> None:
        self.config = config
        self._loop = loop
        self._sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._out, out = os.pipe()
        try:
            self._err, err = os.pipe()
        except OSError:
            os.close(self._out)
            os.close(out)
            raise
        self._open: dict[int, Stream | None] = {self._sock.fileno(): None, self._out: "stdout", self._err: "stderr"}
        try:
            performer = Performer(config, environ, theirs, out, err, warm=warm)
            self.guardian = spawn(performer.main, theirs.fileno(), (out, err))
        except OSError:
            self._sock.close()
            os.close(self._out)
            os.close(self._err)
            raise
        finally:
            theirs.close()
            os.close(out)
            os.close(err)
        self.born = time.monotonic()
        self.is_warming = warm  # it imports what the config names
        self.is_fit = warm  # it has imported something, so it is for work in Python
        self.is_clean: bool | None = True  # it can be given work; None until it has looked
        self.collected: Collected | None = None  # of the attempt that it runs
        self.problem: str | None = None  # why it could not be started
        self.is_gone = False  # its guardian has ended, and note was taken of that
        self._pid = 0
        self._still_read: int | None = None  # bytes, of one that was let go
        # How it has ended: its exit status, or the signal that it was killed by, negative; None also where nobody can
        # tell, for its guardian is gone too.
        self.status: int | None = None
        self._told: tuple[str, set[str]] = ("", set())  # a run, and the steps whose ends it knows
        self._poll = select.poll()
        for descriptor, stream in self._open.items():
            self._poll.register(descriptor, select.POLLIN)
            os.set_blocking(descriptor, False)
            loop.add(descriptor, self.hear if stream is None else lambda fd=descriptor: self._read(fd))  # type: ignore[misc]

    # --- what it is told ---

    def give(self, run: str, order: Mapping[str, Any], subject: Mapping[str, Any], done: Mapping[str, Any]) -> bool:
        """Tells it to run a step; False when it is not there (any more).

        `order` is what the performer is told each time. `subject` and `done`, the ends of steps, are only told as far
        as it does not know them.
        """
        known = self._told[1] if self._told[0] == run else set()
        new = {name: ended for name, ended in done.items() if name not in known}
        whole = {"run": run, "done": new, **order}
        if self._told[0] != run:
            whole["subject"] = subject
        try:
            channel.order(self._sock, whole)
        except OSError:
            return False
        self._told = run, known | new.keys()
        self.is_fit, self.is_clean = True, None
        return True

    def tell_to_end(self) -> None:
        """SIGTERM for it and its process group; it gets no more orders."""
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it is gone
        if self._is_below():
            processes.send_group(self._pid, signal.SIGTERM)
        else:
            self.kill()

    def _is_below(self) -> bool:
        """Whether the process id is known, and that of a child of the guardian."""
        return not self.is_gone and self._pid in processes.children(self.guardian)

    # --- what is read from it ---

    def hear_all(self) -> None:
        """Reads all that it has said, when it says no more."""
        for _ in range(_ROUNDS):
            if not self.hear():
                break

    def hear(self) -> bool:
        """Reads what it has said; whether there may be more."""
        if self._sock.fileno() not in self._open:
            return False
        pieces: list[bytes] = []
        last: tuple[bytes, bytes, float] | None = None
        is_all = False
        for _ in range(_MESSAGES):
            try:
                size = self._sock.recv_into(_BUFFER)
                kind, at, level, text = heard(_BUFFER, size)
            except BlockingIOError:
                is_all = True
                break
            except (OSError, struct.error):  # it is gone; or it was not the performer that has written there
                self._close_socket()
                is_all = True
                break
            if kind in STREAMS:
                if last is not None and kind == last[0] and level == last[1] and at - last[2] <= _MOMENT:
                    pieces.append(text)
                    continue
                self._add_pieces(last, pieces)
                last, pieces = (kind, level, at), [text]
                continue
            self._add_pieces(last, pieces)
            last = None
            self._note(kind, level, text)
            if kind in _PAUSES:
                break
        self._add_pieces(last, pieces)
        return not is_all

    def _close_socket(self) -> None:
        """Nobody is at the other end, or nobody who can be understood."""
        self._let_go_of(self._sock.fileno())
        self._sock.close()

    def _add_pieces(self, last: tuple[bytes, bytes, float] | None, pieces: list[bytes]) -> None:
        if last is not None:
            kind, level, at = last
            self._add(STREAMS[kind], b"".join(pieces), level=level.decode("ascii", "replace"), at=at)

    def _note(self, kind: bytes, level: bytes, text: bytes) -> None:
        if kind in (CLEAN, SPOILT):
            self.is_clean = kind == CLEAN
        elif kind == WARM:
            self.is_warming = False
        elif kind in (PID, ENDED):
            self._note_number(kind, text)
        elif kind == UNSTARTED:
            self.problem = text.decode("utf-8", "replace")
        elif self.collected is not None:
            self.collected.note(kind, level, text)

    def _note_number(self, kind: bytes, text: bytes) -> None:
        try:
            number = int(text)
        except ValueError:  # the guardian has not said that
            self._close_socket()
            return
        if kind == ENDED:
            self.status = number
        elif not self._pid and number > 1:
            self._pid = number

    def _read(self, pipe: int) -> int:
        """Reads what a pipe holds, at most a chunk; the number of bytes, 0 at the end or when there is nothing."""
        try:
            data = os.read(pipe, _CHUNK)
        except BlockingIOError:
            return 0
        if not data:
            self._let_go_of(pipe)
            os.close(pipe)
        else:
            self._add(self._open[pipe] or "stdout", data, raw=True)
        return len(data)

    def _add(self, stream: Stream, data: bytes, *, level: str = "", at: float | None = None, raw: bool = False) -> None:
        if self.collected is not None:
            self.collected.add(stream, data, level=level, at=at, raw=raw)
            return
        if self._still_read is not None:
            self._still_read -= len(data)
            if self._still_read <= 0:
                self.close()
            return
        for line in data.splitlines()[:_STRAY_LINES]:
            logger.info("written while no execution ran: %s", line.decode("utf-8", "replace"))

    def read_rest(self) -> None:
        """Reads what is left of an attempt, when nothing more is written of it."""
        if not self._poll.poll(0):
            return
        self.hear_all()
        for pipe in (self._out, self._err):
            left = _LAST
            while pipe in self._open and left > 0 and (size := self._read(pipe)):
                left -= size

    def await_look(self, seconds: float) -> bool:
        """Whether it says within that time that it can be given work."""
        deadline = time.monotonic() + seconds
        self.hear()
        while self.is_clean is None and not self.has_ended and (left := deadline - time.monotonic()) > 0:
            select.select([self._sock], [], [], left)
            self.hear()
        return self.is_clean is True and not self.has_ended

    # --- how it ends ---

    @property
    def seems_ready(self) -> bool:
        """Whether it has run something, and nothing speaks against giving it more."""
        return self.is_fit and not self.is_warming and self.is_clean is not False and not self.has_ended

    @property
    def has_ended(self) -> bool:
        """Whether it runs no more, or can't be heard any more."""
        return self.is_gone or self.status is not None or self._sock.fileno() not in self._open

    def note_end(self) -> None:
        """Takes note that the guardian has ended, and so has the process."""
        self.is_gone = True
        self.hear_all()
        if self.status is None and self._still_read is None:
            self._close_socket()

    def has_left(self) -> bool:
        """Whether a process of its process group runs."""
        return not self.is_gone and any(
            processes.is_running_in(one, self._pid) for one in processes.children(self.guardian)
        )

    def end(self) -> None:
        """Ends it, with all it has started, if something of that is still there."""
        if not self.has_ended or (not self.is_gone and processes.children(self.guardian)):
            self.kill()

    def kill(self) -> None:
        """Kills it, with all it has started, and waits until they are gone."""
        if not self.is_gone:
            processes.await_end(processes.kill_tree(self.guardian))
            self.is_gone = True

    def let_go(self) -> set[int]:
        """Ends it, but not what it has started: that may write on, to nobody. Returns the ids of its processes, and of
        their session: the process's own id, too."""
        left = set() if self.is_gone else processes.descendants(self.guardian)
        ends = [self.guardian, self._pid] if self._is_below() else [] if self.is_gone else [self.guardian]
        for pid in ends:
            processes.send(pid, signal.SIGKILL)
        self.collected, self._still_read = None, _STILL_READ
        return left

    def close(self) -> None:
        """Closes what is open."""
        for descriptor in tuple(self._open):
            self._let_go_of(descriptor)
            if descriptor in (self._out, self._err):
                os.close(descriptor)
        self._sock.close()

    def _let_go_of(self, descriptor: int) -> None:
        if descriptor in self._open:
            del self._open[descriptor]
            self._loop.remove(descriptor)
            self._poll.unregister(descriptor)
