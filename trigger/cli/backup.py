"""`backup`: write a copy of the data to a file."""

from __future__ import annotations

import os
import sys
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
    size = write_backup(data, sys.stdout.buffer) if file == "-" else _write_private(data, file)
    complain(f"{size:,} bytes are in the backup; it holds the input and output of executions")


def _write_private(data: Path, file: str) -> int:
    """Write the backup to a file for its owner only, which is there when it is complete."""
    partial = f"{file}.part"
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "wb") as out:
            size = write_backup(data, out)
        os.replace(partial, file)
    except OSError as error:
        raise StartError(f"{file} can't be written: {error.strerror}; name a file that this user may write") from error
    return size
