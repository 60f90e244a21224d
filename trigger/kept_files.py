"""The files of forms, in the data folder: `files/<uid>/<number>`, for as long as their execution is not over.

Their names are ours: the sender's own name of a file is data, and never part of a path. They are written before the
execution is accepted, and go when its end is written. What a killed process has left there goes by `sweep`.
"""

from __future__ import annotations

import logging
import os
import random
import shutil
import stat
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from trigger.errors import QueueUnavailable

logger = logging.getLogger("trigger.files")

FREE_DISK = 64 * 1024 * 1024  # bytes that must stay free, here and where the private Redis writes
# How old a folder must be, in seconds, before one whose execution is not there goes: it may be about to be accepted.
YOUNG = 600.0
EVERY = 15.0  # seconds between two sweeps
SWEPT = 500  # folders looked at in one


class KeptFiles:
    """The files that are kept in the data folder `data`, which web and workers must share."""

    def __init__(self, data: Path) -> None:
        self._data = data.absolute()
        self._folder = self._data / "files"
        self._next_sweep = 0.0

    def path(self, uid: str, number: int) -> str:
        """Return where a file of the execution `uid` stands."""
        return str(self._folder / uid / str(number))

    def keep(self, uid: str, contents: Sequence[bytes]) -> None:
        """Write the files of an execution, numbered from 0. Raises QueueUnavailable; then nothing is left of them."""
        try:
            self._make_room(sum(map(len, contents)))
            os.mkdir(self._folder / uid, 0o700)
            for number, content in enumerate(contents):
                _write(self.path(uid, number), content)
            for folder in (self._folder / uid, self._folder):
                _sync(folder)
        except OSError as error:
            self.remove(uid)
            logger.error("the files of a call can't be kept in %s: %s", self._folder, error)  # noqa: TRY400
            raise QueueUnavailable("The files can't be kept now; try again", headers={"Retry-After": "10"}) from None

    def remove(self, uid: str) -> None:
        """Remove the files of an execution, if it has any."""
        folder = f"{self._folder}/{uid}"
        if not os.path.lexists(folder):  # most executions have none
            return
        try:
            shutil.rmtree(folder)
        except OSError as error:  # the workflow may have changed its modes, say
            logger.warning("the files of execution %s can't be removed: %s", uid, error)

    def sweep(self, is_uid: Callable[[str], bool], are_over: Callable[[Sequence[str]], Sequence[bool | None]]) -> None:
        """Remove what was left of executions that are over, if it is time for that again.

        `are_over` says of each uid whether the execution is over; None for one that is not there.
        """
        now = time.monotonic()
        if now < self._next_sweep:
            return
        self._next_sweep = now + EVERY
        try:
            uids = [name for name in os.listdir(self._folder) if is_uid(name)]
        except OSError:  # none was ever kept
            return
        if not uids:
            return
        uids = random.sample(uids, min(len(uids), SWEPT))  # so that long ones do not stand before the others
        for uid, is_over in zip(uids, are_over(uids), strict=True):
            if is_over or (is_over is None and self._age(uid) > YOUNG):
                self.remove(uid)

    def _age(self, uid: str) -> float:
        try:
            return time.time() - os.lstat(self._folder / uid).st_mtime
        except OSError:  # somebody else has removed it
            return 0.0

    def _make_room(self, size: int) -> None:
        self._data.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder.mkdir(mode=0o700, exist_ok=True)
        found = os.lstat(self._folder)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise OSError("it must be a folder of this user, closed to others: chmod 700 it")
        if shutil.disk_usage(self._folder).free < FREE_DISK + size:
            raise OSError("the disk is nearly full")


def _write(path: str, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
