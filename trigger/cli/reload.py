"""`reload`: have the running service take up new code, and say whether it did."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import click

from trigger.cli.common import to_look_at
from trigger.data_folder import Holder, holder
from trigger.errors import StartError
from trigger.up.reloading import PATIENCE_SECONDS

LOOK_SECONDS = 0.05


@click.command()
def reload() -> None:
    """Have the running service take up new code, config and queues, without a gap."""
    data = to_look_at().settings.data
    deadline = time.monotonic() + 2 * PATIENCE_SECONDS + 5
    before = _holder(data)
    while before.said == "reloading":  # somebody else has asked, and may have done so too early for us
        before = _awaited(data, before, deadline)
    os.kill(before.pid, signal.SIGHUP)
    now = _awaited(data, before, deadline)
    while now.said == "reloading":
        now = _awaited(data, now, deadline)
    if now.said != "reloaded":
        raise StartError(now.said)
    click.echo("reloaded: calls are taken by new web processes; workers follow when they have ended what they run")


def _holder(data: Path) -> Holder:
    found = holder(data)
    if found is None:
        raise StartError(
            f"no `up` runs on the data folder {data.absolute()}: start it, or set TRIGGER_DATA to its folder; "
            "web processes and workers that run alone are told by SIGHUP"
        )
    return found


def _awaited(data: Path, before: Holder, deadline: float) -> Holder:
    """Wait for the next report of the service, and return it."""
    while (now := _holder(data)).reports == before.reports and now.pid == before.pid:
        if time.monotonic() > deadline:
            raise StartError(f"the service (process {before.pid}) does not answer; its log may say why")
        time.sleep(LOOK_SECONDS)
    return now
