"""Reading the files a config is made of, and telling whether they have changed since."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Stamp:
    """One state of a file, told from others by which file it is, and the times and size found there."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int
    mode: int


def stamp(path: Path) -> Stamp | None:
    """The state of a file now; None when there is none, or it can't be looked at."""
    try:
        return _stamp(os.stat(path))
    except (OSError, ValueError):
        return None


def read(path: Path, limit: int) -> tuple[bytes, Stamp]:
    """The bytes of a regular file of at most `limit` bytes, and its state just before they were read.

    Raises ValueError with a reason that fits after the file's name: "is a directory".
    """
    try:
        # Opening a pipe would wait for its writer; O_NONBLOCK opens it at once, and then it is refused.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise ValueError("does not exist") from None
    except PermissionError:
        raise ValueError("may not be read by this user") from None
    except OSError as error:
        raise ValueError(f"can't be opened: {os.strerror(error.errno or 0)}") from None
    except ValueError:
        raise ValueError("has no possible file name") from None
    try:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise ValueError("is a directory")
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("is not a regular file")
        with open(descriptor, "rb", closefd=False) as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise ValueError(f"can't be read: {os.strerror(error.errno or 0)}") from None
    finally:
        os.close(descriptor)
    if len(content) > limit:
        raise ValueError(f"is larger than {limit // 1024} KiB")
    return content, _stamp(status)


def _stamp(status: os.stat_result) -> Stamp:
    return Stamp(
        device=status.st_dev,
        inode=status.st_ino,
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
        ctime_ns=status.st_ctime_ns,
        mode=status.st_mode,
    )
