"""The page of refused calls: who called what from where, and why it was not accepted; alike ones together, or each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from flask import Response

from trigger.console.lists import MAX_SEARCH, part
from trigger.console.page import Pages
from trigger.store.refused import KEPT, Refused, recent_refusals
from trigger.web.call import ReceivedCall
from trigger.web.service import Service

PAGE = 100  # calls, or groups of them, on a page
FEW = 3  # addresses that are named of a group
EACH = "each"  # the view that shows the calls one by one


@dataclass(frozen=True, slots=True)
class Alike:
    """Calls for one API, or for none, that were refused for one reason: the newest first."""

    calls: Sequence[Refused]

    @property
    def newest(self) -> Refused:
        return self.calls[0]

    @property
    def oldest(self) -> Refused:
        return self.calls[-1]

    @property
    def paths(self) -> int:
        """How many different ones were called."""
        return len({(call.method, call.path) for call in self.calls})

    @property
    def clients(self) -> Sequence[str]:
        """The addresses they came from, the last one first."""
        return list(dict.fromkeys(call.client for call in self.calls))

    @property
    def query(self) -> str:
        """That of the page with each of them."""
        asked = {"api": self.newest.api, "reason": self.newest.reason, "view": EACH}
        return urlencode({name: value for name, value in asked.items() if value})


def alike(calls: Sequence[Refused]) -> list[Alike]:
    """The calls, the newest first, put together."""
    groups: dict[tuple[object, ...], list[Refused]] = {}
    for call in calls:
        groups.setdefault((call.api, call.status, call.reason, call.message), []).append(call)
    return [Alike(group) for group in groups.values()]


@dataclass(frozen=True, slots=True)
class RefusedPage:
    """GET /console/refused?api=&reason=&view=&page="""

    service: Service
    pages: Pages

    def __call__(self, call: ReceivedCall) -> Response:
        asked = {name: call.args.get(name, "").strip()[:MAX_SEARCH] for name in ("api", "reason", "view")}
        everything = recent_refusals(self.service.redis, KEPT)
        wanted = asked["api"].lower()
        found = [
            refused
            for refused in everything
            if (wanted in refused.api.lower() or wanted in refused.path.lower())
            and (not asked["reason"] or refused.reason == asked["reason"])
        ]
        groups = [Alike([refused]) for refused in found] if asked["view"] == EACH else alike(found)
        return self.pages(
            "refused.html",
            part=part(groups, call.args.get("page", ""), PAGE),
            count=len(found),
            few=FEW,
            asked=asked,
            reasons=sorted({refused.reason for refused in everything} | ({asked["reason"]} - {""})),
            query=_query(asked),
            other=_query({**asked, "view": "" if asked["view"] == EACH else EACH}),
            most=KEPT,
        )


def _query(asked: dict[str, str]) -> str:
    return urlencode({name: value for name, value in asked.items() if value})
