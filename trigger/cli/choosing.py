"""Which executions a command acts on: those named, those that stdin names, or those that fit filters; and how fast."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar

import click
from redis import Redis

from trigger import store
from trigger.cli.common import complain
from trigger.errors import ExecutionNotFound, RequestError, UsageError
from trigger.logs import escaped
from trigger.store import Status

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

# So many are acted on at once, in which Redis serves nobody else.
BATCH = 100
MAX_TOLD = 20  # failures that are told one by one

_RATE = re.compile(r"([0-9]{1,6})/([smh])")
_SECONDS = {"s": 1, "m": 60, "h": 3600}

uids = click.argument("uids", metavar="UID...", nargs=-1)


def filters(statuses: Iterable[Status] = Status) -> Callable[[F], F]:
    """The options that narrow a list of executions; `statuses` are those that make sense."""
    options = [
        click.option("--module", metavar="MODULE", help="Only those of a module."),
        click.option("--method", metavar="METHOD", help="Only those of a method."),
        click.option(
            "--status", type=click.Choice([str(one) for one in statuses]), help="Only those that are this now."
        ),
        click.option("--since", metavar="TIME", help="Only those accepted since: 24h, yesterday, 2026-01-31 (12:00)."),
        click.option("--until", metavar="TIME", help="Only those accepted before; as --since."),
        click.option("--caller", metavar="NAME", help="Only those of a caller."),
    ]

    def decorate(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def several(statuses: Iterable[Status]) -> Callable[[F], F]:
    """The argument and the options of a command that acts on executions, of which filters find those in `statuses`."""

    def decorate(command: F) -> F:
        for option in (
            click.option("--yes", is_flag=True, help="Do not ask, how many the filters find."),
            click.option(
                "--rate", metavar="N/s", callback=_rate, help="At most so many a second (5/s), minute or hour."
            ),
            filters(statuses),
            uids,
        ):
            command = option(command)
        return command

    return decorate


def _rate(context: click.Context, option: click.Parameter, text: str | None) -> float | None:
    """How many a second."""
    if text is None:
        return None
    match = _RATE.fullmatch(text)
    if match is None or int(match[1]) == 0:
        raise click.BadParameter(f"must be such as 5/s, 100/m or 1000/h, not {text!r}")
    return int(match[1]) / _SECONDS[match[2]]


def named(given: Sequence[str]) -> list[str]:
    """The uids of a command line, each once; `-` stands for those on stdin, one a line or more."""
    found = [uid for one in given for uid in (sys.stdin.read().split() if one == "-" else [one])]
    return list(dict.fromkeys(found))


def unknown(uid: str) -> str:
    """Return the message for a uid that leads nowhere."""
    return f"there is no execution {escaped(uid)}, or its record is no longer kept"


@dataclass(slots=True)
class Chosen:
    """The executions to act on. `by_filter`: nobody has named them, and those that have ended since are passed over."""

    uids: list[str]
    by_filter: bool


def choose(
    redis: Redis, given: Sequence[str], options: dict[str, str | None], usual: Sequence[Status], verb: str, *, yes: bool
) -> Chosen:
    """The executions that a command is to act on, after asking where filters found them.

    `usual` are those acted on where no --status is given; `verb` what is asked.

    Raises UsageError when neither uids nor filters are given, or both; click.Abort when the answer is no.
    """
    set_filters = {name: text for name, text in options.items() if text}
    if bool(given) == bool(set_filters):
        raise UsageError(
            "name executions by their uids (- reads them from stdin), or choose them by filters, such as --status"
        )
    if given:
        return Chosen(named(given), by_filter=False)
    now = time.time()
    wanted = [set_filters["status"]] if "status" in set_filters else [str(status) for status in usual]
    found: dict[str, None] = {}
    for status in wanted:
        query = store.Query.parse({**set_filters, "status": status}, now=now)
        found.update((summary.uid, None) for summary in store.every(redis, query))
    if found and not yes:
        many = "1 execution" if len(found) == 1 else f"{len(found):,} executions"
        try:
            sure = click.confirm(f"{verb.capitalize()} {many}?", err=True)
        except click.Abort:
            raise UsageError(f"nobody has answered whether to {verb} {many}; in a script, say --yes") from None
        if not sure:
            raise click.Abort
    return Chosen(sorted(found), by_filter=True)  # the oldest first


def batches(uids: Sequence[str], rate: float | None) -> Iterator[list[str]]:
    """The uids in pieces; with `rate`, so many of them a second."""
    size = BATCH if rate is None else max(1, min(BATCH, int(rate / 10)))
    begin, rest, given = time.monotonic(), iter(uids), 0
    while piece := list(islice(rest, size)):
        if rate is not None:
            time.sleep(max(0.0, begin + given / rate - time.monotonic()))
        yield piece
        given += len(piece)


@dataclass(slots=True)
class BatchResult:
    """The count of what a command did to several executions; `done` is the word for it."""

    chosen: Chosen
    done: str
    counts: dict[str, int] = field(default_factory=lambda: {"done": 0, "skipped": 0, "failed": 0})

    def acted(self) -> None:
        """One more is done."""
        self.counts["done"] += 1

    def passed(self, uid: str, why: RequestError) -> None:
        """One was not to be acted on any more: nothing is wrong with that where there are others."""
        if len(self.chosen.uids) == 1 and not self.chosen.by_filter:
            self.failed(uid, why)
            return
        self.counts["skipped"] += 1
        if not self.chosen.by_filter:
            complain(f"{uid}: {why}")

    def failed(self, uid: str, why: RequestError) -> None:
        """One could not be acted on."""
        self.counts["failed"] += 1
        if self.counts["failed"] <= MAX_TOLD:
            complain(unknown(uid) if isinstance(why, ExecutionNotFound) else f"{uid}: {why}")
            for name, mistakes in (why.details or {}).get("fields", {}).items():
                complain(f"  {name or 'input'}: {' '.join(mistakes)}")

    def stop(self, left: int, why: RequestError) -> None:
        """Nothing more can be done: those that are left have failed."""
        self.counts["failed"] += left
        complain(f"{why}" if left == 1 else f"{why}; {left:,} executions are left")

    def conclude(self) -> int:
        """Say how many there were of each, and return the exit status."""
        if len(self.chosen.uids) != 1 or self.chosen.by_filter:
            counts = self.counts
            complain(f"{counts['done']:,} {self.done}, {counts['skipped']:,} skipped, {counts['failed']:,} failed")
        return 1 if self.counts["failed"] else 0
