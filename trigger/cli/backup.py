"""`backup`: write a copy of the data to a file."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from pathlib import Path

import click

from trigger.cli.common import complain, to_look_at
from trigger.errors import StartError
from trigger.up.backup import write_backup


@click.command()
@click.argument("file")
def backup(file: str) -> None:
    """Write a copy of the private Redis' data to FILE (.tar.gz; - for stdout), while the service runs or not."""
    data = to_look_at().settings.data
    size = _write_out(data) if file == "-" else _write_private(data, file)
    complain(f"{size:,} bytes are in the backup; it holds the input and output of executions, and secrets")


def _write_out(data: Path) -> int:
    try:
        return write_backup(data, sys.stdout.buffer)
    except OSError as error:
        raise StartError(f"stdout can't be written: {error.strerror}") from error


def _write_private(data: Path, file: str) -> int:
    """Write the backup to a file for its owner only, which is there when it is complete."""
    try:
        if os.path.lexists(file) and not stat.S_ISREG(os.lstat(file).st_mode):  # a device or a link stays what it is
            with open(file, "wb") as out:
                return write_backup(data, out)
        descriptor, partial = tempfile.mkstemp(prefix=".backup-", dir=os.path.dirname(os.path.abspath(file)))
        try:
            with open(descriptor, "wb") as out:
                size = write_backup(data, out)
            os.replace(partial, file)
        except BaseException:
            os.unlink(partial)
            raise
    except OSError as error:
        raise StartError(f"{file} can't be written: {error.strerror}; name a file that this user may write") from error
    return size
