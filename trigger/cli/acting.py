"""The commands for executions: list, show, read their logs, and act on them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

import click
from redis.exceptions import RedisError

from trigger import executions
from trigger.cli.common import as_json, complain, config_in_force, connected
from trigger.cli.terminal import safe, show_record, table
from trigger.config.model import MISSING, Config
from trigger.errors import ExecutionNotFound, StartError
from trigger.executions import log_reading
from trigger.inputs import Shape, parse_json

if TYPE_CHECKING:
    from trigger import acts

T = TypeVar("T")

# How long one question of `logs -f` waits for more, in seconds; then it asks again.
FOLLOW_PATIENCE = 10.0

# How many of the last lines of a log `show` shows of what has failed.
LAST_LINES = 10


def stranded(config: Config) -> Mapping[str, int]:
    """How many executions wait for each workflow that a config lacks; none where Redis can't be asked."""
    try:
        return executions.stranded(connected(config), config.workflows)
    except RedisError:
        return {}


@click.command("executions")
@click.option("--module", metavar="MODULE", help="Only those of a module.")
@click.option("--method", metavar="METHOD", help="Only those of a method.")
@click.option(
    "--status", type=click.Choice([str(status) for status in executions.Status]), help="Only those that are this now."
)
@click.option("--since", metavar="TIME", help="Only those accepted since 2026-01-31T12:00:00Z, or in the last 24h.")
@click.option("--until", metavar="TIME", help="Only those accepted before; as --since.")
@click.option("--caller", metavar="NAME", help="Only those of a caller.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 1000), help="How many, newest first.")
@click.option("--cursor", metavar="CURSOR", help="Where to go on, as said at the end of an earlier list.")
@as_json
def list_executions(limit: int, machine: bool, **filters: str | None) -> None:
    """List executions, the newest first."""
    given = {name: text for name, text in filters.items() if text}
    query = executions.Query.parse(given, now=time.time())
    page = executions.collect(connected(config_in_force()), query, limit)
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
        machine,
    )
    if page.next:
        complain(f"there may be more: --cursor {page.next}")


@click.command()
@click.argument("uid")
@as_json
def show(uid: str, machine: bool) -> None:
    """Show the record of an execution: what failed, why, with what input, and how to go on."""
    config = config_in_force()
    redis = connected(config)
    record = executions.read(redis, uid, config.masked) if executions.is_uid(uid) else None
    if record is None:
        raise _unknown(uid)
    show_record(record, machine, lambda step: log_reading.last(redis, uid, LAST_LINES, step))


@click.command("logs")
@click.argument("uid")
@click.option("-f", "--follow", "until_end", is_flag=True, help="Go on until the execution has ended.")
@as_json
def logs_(uid: str, until_end: bool, machine: bool) -> None:
    """Show the log of an execution, as text or as a JSON object a line."""
    redis = connected(config_in_force())
    if not executions.is_uid(uid) or executions.api_of(redis, uid) is None:
        raise _unknown(uid)
    page, position = None, log_reading.START
    while page is None or (not page.ended and (until_end or len(page.lines) == log_reading.MAX_LINES)):
        wait = FOLLOW_PATIENCE if until_end else 0.0
        page = log_reading.follow(redis, uid, position, log_reading.MAX_LINES, wait)
        position = page.next
        for line in map(json.dumps, page.as_json()) if machine else page.as_text():
            click.echo(safe(line, keep="\t"))


@click.command()
@click.argument("uid")
@as_json
def cancel(uid: str, machine: bool) -> None:
    """Cancel an execution: it never starts, or its run is told to end."""
    from trigger import acts

    redis = connected(config_in_force())
    status = _acted(lambda uid: acts.cancel(redis, uid, "the command line"), uid)
    said = "is cancelled" if status is executions.Status.CANCELLED else f"is {status} and told to end"
    click.echo(json.dumps({"uid": uid, "status": status}) if machine else f"{uid} {said}")


@click.command()
@click.argument("uid")
@click.option("--data", metavar="JSON", help="The input, instead of the same one.")
@as_json
def rerun(uid: str, data: str | None, machine: bool) -> None:
    """Start an execution again: a new one, with the same input."""
    from trigger import acts

    edited = MISSING if data is None else parse_json(data.encode("utf-8", "surrogateescape"))
    parts = parts_now()
    new = _acted(lambda uid: acts.rerun(parts, uid, edited=edited), uid).uid
    click.echo(json.dumps({"uid": new, "rerun_of": uid}) if machine else new)


@click.command()
@click.argument("uid")
@as_json
def resume(uid: str, machine: bool) -> None:
    """Go on with a failed or cancelled execution of a workflow with steps: a new one, which does the rest."""
    from trigger import acts

    parts = parts_now()
    new = _acted(lambda uid: acts.resume(parts, uid), uid).uid
    click.echo(json.dumps({"uid": new, "resumed_from": uid}) if machine else new)


def parts_now() -> acts.Parts:
    """What starting an execution takes, with the config as it is now."""
    from trigger import acts
    from trigger.queueing import Submitter

    config = config_in_force()
    redis = connected(config)
    return acts.Parts(redis, Submitter(redis), config, lambda api: Shape(api.input))


def _acted(act: Callable[[str], T], uid: str) -> T:
    """What an act on an execution answers, if there is that execution."""
    try:
        if executions.is_uid(uid):
            return act(uid)
    except ExecutionNotFound:
        pass
    raise _unknown(uid)


def _unknown(uid: str) -> StartError:
    return StartError(f"there is no execution {uid}, or its record is no longer kept")


COMMANDS = (list_executions, show, logs_, cancel, rerun, resume)
