"""The commands that act on executions: one, several, or all that fit filters."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from trigger.cli.choosing import BatchResult, batches, choose, several
from trigger.cli.common import api_of, as_json, complain, parts_of, to_look_at
from trigger.cli.terminal import show_end
from trigger.config.scalars import DAY
from trigger.errors import (
    ExecutionEnded,
    ExecutionNotEnded,
    ExecutionNotFound,
    QueueUnavailable,
    RequestError,
    TooManyRequests,
    UsageError,
    WorkflowChanged,
)
from trigger.fields.model import MISSING
from trigger.inputs import parse_json
from trigger.store import Status, is_key, is_uid

if TYPE_CHECKING:
    from trigger.store import acts
    from trigger.store.queueing import Accepted

# Whose act it is, as the record says.
OPERATOR = "the command line"

# The longest wait of `call --wait`, in seconds.
FOREVER = 30 * DAY

_CANCELLABLE = (Status.QUEUED, Status.RETRYING, Status.RUNNING)
_RESUMABLE = (Status.FAILED, Status.CANCELLED)


@click.command()
@several(_CANCELLABLE)
@as_json
def cancel(uids: tuple[str, ...], yes: bool, rate: float | None, machine: bool, **options: str | None) -> None:
    """Cancel executions: they never start, or their run is told to end.

    By filters: those that have not ended. They are counted, and you are asked.
    """
    from trigger.store import acts

    redis = to_look_at().connect()
    chosen = choose(redis, uids, options, _CANCELLABLE, "cancel", yes=yes)
    result = BatchResult(chosen, "cancelled or told to end")
    for uid in chosen.uids:
        if not is_uid(uid):
            result.failed(uid, _unknown())
    for piece in batches([uid for uid in chosen.uids if is_uid(uid)], rate):
        for uid, outcome in acts.cancel_all(redis, piece, OPERATOR).items():
            if isinstance(outcome, RequestError):
                _not_done(result, uid, outcome)
                continue
            result.acted()
            if machine:
                click.echo(json.dumps({"uid": uid, "status": outcome}))
            elif not chosen.by_filter:
                said = "is cancelled" if outcome is Status.CANCELLED else f"is {outcome} and told to end"
                click.echo(f"{uid} {said}")
    sys.exit(result.conclude())


@click.command("call")
@click.argument("api", metavar="MODULE/METHOD")
@click.option("--data", metavar="JSON", help="The input; without it an empty object.")
@click.option(
    "--wait",
    "seconds",
    metavar="[SECONDS]",
    is_flag=False,
    flag_value=FOREVER,
    type=click.FloatRange(0, FOREVER),
    help="Wait for the end, and show the record; without a number for as long as it takes.",
)
@click.option("--key", metavar="KEY", help="An Idempotency-Key: a call with the same one starts nothing more.")
@as_json
def call_(api: str, data: str | None, seconds: float | None, key: str | None, machine: bool) -> None:
    """Call an API, as over HTTP but without credentials, and print the uid; it must be enabled.

    Exit status 0 when it is accepted, or with --wait, when it has succeeded.
    """
    from trigger.store import acts

    parts = parts_of(to_look_at())
    found = api_of(parts.config, api)
    if key is not None and not is_key(key):
        raise UsageError("--key must have 1 to 255 printable ASCII characters")
    body = {} if data is None else parse_json(data.encode("utf-8", "surrogateescape"))
    new = acts.call(parts, found, body, caller=OPERATOR, key=key)
    if new is None:
        complain("ignored: `when` of the API is not true for this input; nothing was started")
        sys.exit(1)
    if seconds is None:
        click.echo(json.dumps({"uid": new.uid, "replayed": new.replayed}) if machine else new.uid)
        return
    sys.exit(0 if show_end(parts, new.uid, seconds, machine) else 1)


@click.command()
@several(Status)
@click.option("--data", metavar="JSON", help="The input, instead of the same one.")
@as_json
def rerun(
    uids: tuple[str, ...], data: str | None, yes: bool, rate: float | None, machine: bool, **options: str | None
) -> None:
    """Start executions again: new ones, with the same input.

    By filters: those that have failed, or are what --status says. They are counted, and you are asked.
    """
    from trigger.store import acts

    edited = MISSING if data is None else parse_json(data.encode("utf-8", "surrogateescape"))

    def act(parts: acts.Parts, uid: str) -> Accepted:
        return acts.rerun(parts, uid, edited=edited, operator=OPERATOR)

    _start_anew(act, "rerun", "rerun_of", uids, options, yes=yes, rate=rate, machine=machine)


@click.command()
@several(_RESUMABLE)
@as_json
def resume(uids: tuple[str, ...], yes: bool, rate: float | None, machine: bool, **options: str | None) -> None:
    """Go on with failed or cancelled executions of workflows with steps: new ones, which do the rest.

    By filters: those that have failed, or are what --status says. They are counted, and you are asked.
    """
    from trigger.store import acts

    def act(parts: acts.Parts, uid: str) -> Accepted:
        return acts.resume(parts, uid, operator=OPERATOR)

    _start_anew(act, "resume", "resumed_from", uids, options, yes=yes, rate=rate, machine=machine)


def _start_anew(
    act: Callable[[acts.Parts, str], Accepted],
    verb: str,
    key: str,
    uids: tuple[str, ...],
    options: dict[str, Any],
    *,
    yes: bool,
    rate: float | None,
    machine: bool,
) -> None:
    """Start an execution anew for each that is chosen, and print the new uids; `key` is what JSON calls the old one."""
    parts = parts_of(to_look_at())
    chosen = choose(parts.redis, uids, options, (Status.FAILED,), verb, yes=yes)
    result = BatchResult(chosen, "started anew")
    left = len(chosen.uids)
    for uid in (uid for piece in batches(chosen.uids, rate) for uid in piece):
        try:
            new = act(parts, uid).uid if is_uid(uid) else None
        except (QueueUnavailable, TooManyRequests) as error:
            result.stop(left, error)
            break
        except RequestError as error:
            _not_done(result, uid, error)
            if isinstance(error, WorkflowChanged) and parts.config.unset:
                complain("  that a variable is not set in this shell may be why: set it, or do this in the console")
        else:
            if new is None:
                result.failed(uid, _unknown())
            else:
                result.acted()
                click.echo(json.dumps({"uid": new, key: uid}) if machine else new)
        left -= 1
    sys.exit(result.conclude())


def _not_done(result: BatchResult, uid: str, error: RequestError) -> None:
    gone = result.chosen.by_filter and isinstance(error, ExecutionNotFound)
    if gone or isinstance(error, ExecutionEnded | ExecutionNotEnded):
        result.passed(uid, error)
    else:
        result.failed(uid, error)


def _unknown() -> ExecutionNotFound:
    from trigger.store import acts

    return acts.unknown()


COMMANDS = (call_, cancel, rerun, resume)
