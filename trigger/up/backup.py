"""A copy of all that the private Redis holds, taken while it runs.

Redis only ever adds to the last of its append-only files, so what is copied is what it held at that moment. From time
to time it writes them anew and removes the old ones: then the copy is begun again.
"""

from __future__ import annotations

import io
import os
import tarfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from trigger.errors import StartError

# Where Redis 7 and newer list their files; before there was one file, beside the others.
MANIFEST = Path("appendonlydir/appendonly.aof.manifest")
SINGLE = Path("appendonly.aof")
# What is kept beside Redis' files, where it is there.
OTHERS = (Path("config.last-good.yaml"), Path("admin.password"))


def write_backup(data: Path, out: BinaryIO) -> int:
    """Write a tar archive, compressed by gzip, of what a data folder holds; return how many bytes it holds unpacked.

    Raises:
        StartError: there is no data of a private Redis.
    """
    size = 0
    with ExitStack() as stack, tarfile.open(fileobj=out, mode="w|gz") as archive:
        for name, content in _opened(data, stack):
            member = tarfile.TarInfo(os.fspath(name))
            member.mode = 0o600
            member.mtime = int(time.time())
            member.size = content.seek(0, io.SEEK_END)  # what is added from now on is not copied
            content.seek(0)
            archive.addfile(member, content)
            size += member.size
    return size


def _opened(data: Path, stack: ExitStack) -> Iterator[tuple[Path, BinaryIO]]:
    """The files, all of one moment."""
    while True:
        try:
            manifest = (data / MANIFEST).read_bytes()
        except FileNotFoundError:
            manifest = b""
        names = [MANIFEST.parent / line.split()[1] for line in manifest.decode().splitlines()] or [SINGLE]
        try:
            files = [(name, stack.enter_context((data / name).open("rb"))) for name in names]
        except FileNotFoundError as error:
            if manifest and (data / MANIFEST).read_bytes() != manifest:
                continue
            raise StartError(
                f"there is no data of a private Redis in {data.absolute()}: {error.filename} is missing; "
                "set TRIGGER_DATA to the data folder, or use the tools of the Redis that REDIS_URL names"
            ) from error
        if not manifest or (data / MANIFEST).read_bytes() == manifest:
            break
    if manifest:
        yield MANIFEST, io.BytesIO(manifest)
    yield from files
    for name in (*OTHERS, *(path.relative_to(data) for path in sorted((data / "versions").glob("*.json")))):
        if (data / name).exists():
            yield name, stack.enter_context((data / name).open("rb"))
