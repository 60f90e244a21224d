"""The page of refused calls: who called what from where, and why it was not accepted."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

from flask import Response, request

from trigger.console.lists import MAX_SEARCH, part
from trigger.console.page import Pages
from trigger.executions.refused import KEPT, recent_refusals
from trigger.service import Service

PAGE = 100  # calls on a page


@dataclass(frozen=True, slots=True)
class RefusedPage:
    """GET /console/refused?api=&reason=&page="""

    service: Service
    pages: Pages

    def __call__(self) -> Response:
        asked = {name: request.args.get(name, "").strip()[:MAX_SEARCH] for name in ("api", "reason")}
        everything = recent_refusals(self.service.redis, KEPT)
        wanted = asked["api"].lower()
        found = [
            call
            for call in everything
            if (wanted in call.api.lower() or wanted in call.path.lower())
            and (not asked["reason"] or call.reason == asked["reason"])
        ]
        return self.pages(
            "refused.html",
            part=part(found, request.args.get("page", ""), PAGE),
            asked=asked,
            reasons=sorted({call.reason for call in everything} | ({asked["reason"]} - {""})),
            query=urlencode({name: value for name, value in asked.items() if value}),
            most=KEPT,
        )
