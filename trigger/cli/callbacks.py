"""The command that lists callbacks, and has them sent again."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence

import click
from redis import Redis

from trigger import store
from trigger.cli.choosing import named, unknown
from trigger.cli.common import as_json, complain, to_look_at
from trigger.cli.terminal import table
from trigger.errors import RequestError, UsageError
from trigger.store import Status
from trigger.store import callbacks as stored
from trigger.store.callbacks import CallbackState
from trigger.store.moments import read_moment

_AGAIN = "again"


@click.command()
@click.argument("words", metavar="[again] [UID]...", nargs=-1)
@click.option("--to", metavar="NAME", help="Only those to a callback of the config.")
@click.option("--status", type=click.Choice([str(one) for one in Status]), help="Only those that are this now.")
@click.option("--since", metavar="TIME", help="Only those begun since: 24h, yesterday, 2026-01-31 (12:00).")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 1000), help="How many, newest first.")
@as_json
def callbacks(
    words: tuple[str, ...], to: str | None, status: str | None, since: str | None, limit: int, machine: bool
) -> None:
    """List callbacks, the newest first, or those of executions; or send those of executions AGAIN.

    again UID... sends all callbacks of executions again, or those of --to; what waits for its next attempt is sent now.
    - stands for uids on stdin.
    """
    is_again = words[:1] == (_AGAIN,)
    uids = named(words[1:] if is_again else words)
    if is_again and (not uids or status or since):
        raise UsageError(
            "name executions by their uids, such as: callbacks again UID --to ops; - reads them from stdin"
        )
    redis = to_look_at().connect()
    if is_again:
        sys.exit(_send_again(redis, uids, to, machine))
    if uids:
        found = [
            one for uid in uids for one in _of(redis, uid) if to in (None, one.to) and status in (None, one.status)
        ]
    else:
        try:
            begun = read_moment(since, time.time()) if since else None
        except ValueError as error:
            raise UsageError(f"--since {error}") from None
        found = stored.listed(redis, limit=limit, to=to, status=Status(status) if status else None, since=begun)
    table([one.as_row() if machine else _row(one) for one in found], machine)


def _of(redis: Redis, uid: str) -> Sequence[CallbackState]:
    found = stored.of(redis, uid) if store.is_uid(uid) else None
    if found is None:
        complain(unknown(uid))
    return found or ()


def _row(one: CallbackState) -> dict[str, object]:
    error = one.error or {}
    return {
        "of": one.of,
        "to": one.to,
        "status": one.status,
        "attempts": one.attempts,
        "next": one.next,
        "begun": one.created_at,
        "error": error.get("message"),
    }


def _send_again(redis: Redis, uids: Sequence[str], to: str | None, machine: bool) -> int:
    """Send callbacks again; the exit status."""
    good = True
    for uid in uids:
        names = [to] if to else [one.to for one in _of(redis, uid)]
        if not names:
            complain(f"{uid} has called nobody back")
        good = good and bool(names)
        for name in names:
            try:
                by = stored.again(redis, uid, name) if store.is_uid(uid) else None
            except RequestError as error:
                complain(f"{uid}: {error}")
                good = False
                continue
            if by is None:
                complain(unknown(uid))
                good = False
            else:
                row = {"of": uid, "to": name, "uid": by}
                click.echo(json.dumps(row) if machine else f"{uid} is sent again to {name} by {by}")
    return 0 if good else 1
