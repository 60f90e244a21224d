"""`backup`: write a copy of the data to a file."""

from __future__ import annotations

from typing import BinaryIO

import click

from trigger.backup import write_backup
from trigger.cli.common import complain, settings_of


@click.command()
@click.argument("file", type=click.File("wb", lazy=False))
def backup(file: BinaryIO) -> None:
    """Write a copy of the private Redis' data to FILE (.tar.gz; - for stdout), while the service runs or not."""
    size = write_backup(settings_of().data, file)
    complain(f"{size:,} bytes are in the backup; it holds the input and output of executions")
