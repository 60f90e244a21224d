"""The data folder: private to us, and used by one running service at a time."""

from __future__ import annotations

import fcntl
import os
import re
import time
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from trigger.errors import StartError
from trigger.lifeline import is_there

LOCK_NAME = "lock"
# A server that was killed needs a moment to let go of the folder; one that runs does not let go.
PATIENCE_SECONDS = 10.0


class Holder(NamedTuple):
    """Who holds the lock of a data folder, and its last word, counted."""

    pid: int
    reports: int
    said: str


def holder(path: Path) -> Holder | None:
    """Return who uses a data folder now; None when nobody does. It can't be stale: a lock ends with its process."""
    try:
        descriptor = os.open(path / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        found = _read(descriptor)
        return found if found is not None and is_there(found.pid) else None
    finally:
        os.close(descriptor)
    return None


def _read(descriptor: int) -> Holder | None:
    """Return what the lock file says; None in the moment before its holder has written into it."""
    # What stands behind that is left of a longer text, which is about to be cut off.
    found = re.match(r"(\d+)\n(\d+) (.*)\n", os.pread(descriptor, 4096, 0).decode("utf-8", "replace"))
    return Holder(int(found[1]), int(found[2]), found[3]) if found else None


class DataFolder:
    """A data folder, made if it is missing, closed to other users (mode 0700) and locked until `close`.

    The lock is a flock(2) on the file `lock`, which belongs to the open file: `lock_fd` handed to a child process
    keeps the folder locked until that child is gone too. So a private Redis that outlives a killed supervisor for a
    moment still keeps a second one away from its files.

    Raises:
        StartError: the folder is in use, open to other users, or can't be made or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._reports = 0
        try:
            self._make_private()
            self.lock_fd = os.open(self.path / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StartError(
                f"the data folder {self.path} can't be used: {error.strerror}; "
                "set TRIGGER_DATA to a folder that this user may write"
            ) from error
        try:
            self._lock()
        except StartError:
            os.close(self.lock_fd)
            raise

    def _make_private(self) -> None:
        try:
            self.path.mkdir(mode=0o700, parents=True)
        except FileExistsError:
            if (owner := self.path.stat().st_uid) != os.geteuid():
                raise StartError(
                    f"the data folder {self.path} is another user's ({owner}), who could read and change all in it; "
                    "run as that user, or set TRIGGER_DATA to a folder of this one"
                ) from None
            if not self.path.stat().st_mode & 0o077:
                return
            # Closing a folder with other files in it could lock their users out: only an empty one, or one that
            # has been ours before, is closed without asking.
            entries = os.listdir(self.path)
            if entries and LOCK_NAME not in entries:
                raise StartError(
                    f"the data folder {self.path} is open to other users and holds other files; "
                    f"set TRIGGER_DATA to a folder of its own, or close this one: chmod 700 {self.path}"
                ) from None
            self.path.chmod(0o700)

    def _lock(self) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                fcntl.flock(self.lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                found = _read(self.lock_fd)
                if time.monotonic() > deadline or (found is not None and is_there(found.pid)):
                    raise StartError(
                        f"the data folder {self.path} is in use by another Trigger"
                        + (f" (process {found.pid})" if found is not None else "")
                        + "; stop that one first, or set TRIGGER_DATA to another folder"
                    ) from None
                time.sleep(0.02)
        self.report("started")

    def report(self, said: str) -> None:
        """Write into the lock file who holds it, and the last word of that process about itself."""
        self._reports += 1
        text = f"{os.getpid()}\n{self._reports} {said}\n".encode()
        os.truncate(self.lock_fd, os.pwrite(self.lock_fd, text, 0))

    def close(self) -> None:
        """Unlock the folder, unless a child still holds `lock_fd`."""
        os.close(self.lock_fd)

    def __enter__(self) -> DataFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
