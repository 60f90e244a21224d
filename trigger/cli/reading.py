"""The commands that read executions: list them, show one, read its log, wait for their end."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext

import click
from redis import Redis

from trigger import store
from trigger.cli.choosing import filters, named, uids, unknown
from trigger.cli.common import as_json, complain, masked_in, to_look_at
from trigger.cli.terminal import show_record, table
from trigger.config.scalars import DAY, duration
from trigger.errors import StartError, UsageError
from trigger.logs import escaped
from trigger.store import FINAL, Status, log_reading
from trigger.store.telling import Watch, alone

# How long one question of `logs -f` waits for more, in seconds; then it asks again.
FOLLOW_PATIENCE = 10.0

# How many of the last lines of a log `show` shows of what has failed.
LAST_LINES = 10

# How often `wait` asks Redis itself, in seconds: else it would not see that Redis is gone.
LOOK_SECONDS = 5.0


@click.command("executions")
@filters()
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 1000), help="How many, newest first.")
@click.option("--cursor", metavar="CURSOR", help="Where to go on, as said at the end of an earlier list.")
@as_json
def list_executions(limit: int, machine: bool, **options: str | None) -> None:
    """List executions, the newest first."""
    given = {name: text for name, text in options.items() if text}
    query = store.Query.parse(given, now=time.time())
    page = store.collect(to_look_at().connect(), query, limit)
    if machine:
        click.echo(json.dumps(page.as_json(), ensure_ascii=False))
        return
    table(
        [
            {
                "uid": summary.uid,
                "api": f"{summary.module}/{summary.method}",
                "status": str(summary.status),
                "created": summary.created_at,
                "started": summary.started_at,
                "ended": summary.ended_at,
                "attempt": summary.attempt,
                "caller": summary.caller,
                "error": (summary.error or {}).get("message"),
            }
            for summary in page.executions
        ],
        machine=False,
    )
    if page.next:
        complain(f"there may be more: --cursor {page.next}")


@click.command()
@click.argument("uid")
@as_json
def show(uid: str, machine: bool) -> None:
    """Show the record of an execution: what failed, why, with what input, and how to go on."""
    found = to_look_at()
    redis = found.connect()
    record = store.read(redis, uid, masked_in(found)) if store.is_uid(uid) else None
    if record is None:
        raise StartError(unknown(uid))
    show_record(record, machine, lambda step: log_reading.last(redis, uid, LAST_LINES, step))


@click.command("logs")
@click.argument("uid")
@click.option("-f", "--follow", "until_end", is_flag=True, help="Go on until the execution has ended.")
@as_json
def logs_(uid: str, until_end: bool, machine: bool) -> None:
    """Show the log of an execution, as text or as a JSON object a line."""
    redis = to_look_at().connect()
    if not store.is_uid(uid) or store.api_of(redis, uid) is None:
        raise StartError(unknown(uid))
    page, position = None, log_reading.START
    with alone(redis, uid) if until_end else nullcontext() as watch:
        while page is None or (not page.ended and (until_end or len(page.lines) == log_reading.MAX_LINES)):
            wait = FOLLOW_PATIENCE if until_end else 0.0
            page = log_reading.follow(redis, uid, position, log_reading.MAX_LINES, wait, watch)
            position = page.next
            for line in map(json.dumps, page.as_json()) if machine else page.as_text():
                click.echo(escaped(line, keep="\t"))


@click.command("wait")
@uids
@click.option(
    "--timeout", metavar="TIME", default="30d", show_default=True, help="How long at most, such as 30s or 10m."
)
@as_json
def wait_(uids: tuple[str, ...], timeout: str, machine: bool) -> None:
    """Wait until executions have ended, and say how each has; exit status 0 when all have succeeded."""
    try:
        patience = duration(0, 365 * DAY)(timeout)
    except ValueError as error:
        raise UsageError(f"--timeout {error}") from None
    left = named(uids)
    if not left:
        raise UsageError("name executions by their uids; - reads them from stdin")
    redis = to_look_at().connect()
    with alone(redis, *left, only_end=True) as watch:
        sys.exit(0 if _ends(redis, left, watch, patience, timeout, machine=machine) else 1)


def _ends(redis: Redis, uids: Sequence[str], watch: Watch, patience: float, timeout: str, *, machine: bool) -> bool:
    """Wait for executions, and say how each has ended; whether all have succeeded."""
    begin, good, left = time.monotonic(), True, list(uids)
    while True:
        now = dict(zip(left, store.statuses(redis, left), strict=True))
        for uid, status in now.items():
            if status is None or status in FINAL:
                good = good and status is Status.SUCCEEDED
                _say(uid, status, machine)
        left = [uid for uid, status in now.items() if status is not None and status not in FINAL]
        if not left:
            return good
        if time.monotonic() - begin >= patience:
            for uid in left:
                _say(uid, now[uid], machine)
            complain(f"{len(left):,} {'has' if len(left) == 1 else 'have'} not ended after {timeout}")
            return False
        watch.wait(min(LOOK_SECONDS, begin + patience - time.monotonic()))


def _say(uid: str, status: Status | None, machine: bool) -> None:
    if status is None:
        complain(unknown(uid))
    else:
        click.echo(json.dumps({"uid": uid, "status": status}) if machine else f"{uid} {status}")


COMMANDS = (list_executions, show, logs_, wait_)
