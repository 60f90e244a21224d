"""The list of executions, newest first: what the filters ask for, a page at a time."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from flask import Response

from trigger import store
from trigger.config.model import Config
from trigger.console.page import Pages, see_other
from trigger.errors import InvalidParams
from trigger.store import Query, Status, listing
from trigger.web.call import ReceivedCall
from trigger.web.service import Service

PATH = "/console/executions"

# With more APIs than these, one is typed and not chosen.
CHOSEN = 40

# How many earlier pages a link knows the way back to, and how many characters of a filter are taken.
TRAIL, MAX_FILTER = 20, 200

_FILTERS = ("api", "status", "since", "until", "caller")


@dataclass(frozen=True, slots=True)
class _Asked:
    """The query of a URL: the filters as they were typed, the cursor of the page, and those of the pages before it."""

    filters: Mapping[str, str]
    uid: str
    cursor: str
    trail: Sequence[str]

    @classmethod
    def read(cls, args: Mapping[str, str]) -> _Asked:
        given = {name: value.strip()[:MAX_FILTER] for name, value in args.items()}
        filters = {name: given.get(name, "") for name in _FILTERS}
        trail = [cursor for cursor in args.get("trail", "").split(".") if cursor]
        return cls(filters, given.get("uid", ""), given.get("cursor", ""), trail[-TRAIL:])

    def query(self, now: float) -> Query:
        """Raises InvalidParams, with the mistakes by the filter."""
        module, slash, method = self.filters["api"].partition("/")
        mistakes: dict[str, Sequence[str]] = {}
        if "/" in method or (slash and not (module and method)):
            mistakes["api"] = ["must be a module or module/method"]
        if self.uid:
            mistakes["uid"] = ["must be the 25 digits of a whole uid"]
        given = {name: text for name, text in self.filters.items() if name != "api"}
        try:
            query = Query.parse({**given, "module": module, "method": method, "cursor": self.cursor}, now=now)
        except InvalidParams as error:
            mistakes |= (error.details or {})["fields"]
        if mistakes:
            raise InvalidParams("Some filters can't be understood", details={"fields": mistakes})
        return query

    def older(self, cursor: str) -> str:
        """Where the list goes on."""
        return self._path(cursor, (*self.trail, self.cursor) if self.cursor else self.trail)

    @property
    def newer(self) -> str | None:
        """Where one came from; None on the first page."""
        if not self.cursor:
            return None
        return self._path(self.trail[-1], self.trail[:-1]) if self.trail else self._path("", ())

    @property
    def first(self) -> str:
        return self._path("", ())

    def _path(self, cursor: str, trail: Sequence[str]) -> str:
        query = {**self.filters, "cursor": cursor, "trail": ".".join(trail)}
        asked = urlencode({name: value for name, value in query.items() if value})
        return f"{PATH}?{asked}" if asked else PATH


@dataclass(frozen=True, slots=True)
class ExecutionsPage:
    """GET /console/executions"""

    service: Service
    pages: Pages

    def __call__(self, call: ReceivedCall) -> Response:
        asked = _Asked.read(call.args)
        if store.is_uid(asked.uid):
            return see_other(f"{PATH}/{asked.uid}")
        mistakes: dict[str, Sequence[str]] = dict.fromkeys((*_FILTERS, "uid", "cursor"), ())
        query, found = Query(), store.Page((), None)
        try:
            query = asked.query(time.time())
        except InvalidParams as error:
            mistakes |= (error.details or {})["fields"]
        else:
            with self.service.breaker.reading():
                found = store.page(self.service.redis, query)
        return self.pages(
            "executions.html",
            asked=asked,
            mistakes=mistakes,
            is_filtered=any(asked.filters.values()),
            is_mistaken=any(mistakes.values()),
            query=query,
            found=found.executions,
            older=asked.older(found.next) if found.next else None,
            reached=_reached(found) if len(found.executions) < query.limit else None,
            looked=listing.WALK,
            apis=_choices(call.config, asked.filters["api"]),
            statuses=tuple(Status),
            live=not asked.cursor,
        )


def _choices(config: Config, chosen: str) -> Mapping[str, Sequence[str]] | None:
    """The methods to choose from, by module; None where they are too many, or something else was asked for."""
    if len(config.apis) > CHOSEN:
        return None
    choices = {name: tuple(f"{name}/{method}" for method in module.methods) for name, module in config.modules.items()}
    known = {"", *choices, *(api for apis in choices.values() for api in apis)}
    return choices if chosen in known else None


def _reached(page: store.Page) -> float | None:
    """Back to when executions were looked at, in seconds since 1970; None when there are no older ones."""
    if page.next is None:
        return None
    before = Query.parse({"cursor": page.next}, now=0).before
    return None if before is None else store.accepted_ms(before) / 1000
