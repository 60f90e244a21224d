"""The command that lists the calls that were refused."""

from __future__ import annotations

from dataclasses import asdict

import click

from trigger.cli.common import as_json, to_look_at
from trigger.cli.terminal import table
from trigger.store.refused import KEPT, recent_refusals


@click.command()
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, KEPT), help="How many, newest first.")
@as_json
def refused(limit: int, machine: bool) -> None:
    """List the last calls that were refused, and why, the newest first."""
    found = recent_refusals(to_look_at().connect(), limit)
    if machine:
        table([asdict(call) for call in found], machine)
    else:
        table(
            [
                {
                    "time": call.time,
                    "client": call.client,
                    "call": f"{call.method} {call.path}",
                    "status": call.status,
                    "reason": call.reason,
                    "message": call.message,
                }
                for call in found
            ],
            machine,
        )
