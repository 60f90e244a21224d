"""The page of refused calls: who called what from where, and why it was not accepted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlencode

from flask import Response, request

from trigger.console.page import Pages
from trigger.executions.refused import KEPT, recent_refusals
from trigger.service import Service

PAGE = 100  # calls on a page
MAX_FILTER = 200  # characters of a filter

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RefusedPage:
    """GET /console/refused?api=&reason=&page="""

    service: Service
    pages: Pages

    def __call__(self) -> Response:
        asked = {name: request.args.get(name, "").strip()[:MAX_FILTER] for name in ("api", "reason")}
        everything = recent_refusals(self.service.redis, KEPT)
        wanted = asked["api"].lower()
        found = [
            call
            for call in everything
            if (wanted in call.api.lower() or wanted in call.path.lower())
            and (not asked["reason"] or call.reason == asked["reason"])
        ]
        number = _number(request.args.get("page", ""))
        shown, earlier, later = _cut(found, number)
        kept = {name: value for name, value in asked.items() if value}
        return self.pages(
            "refused.html",
            calls=shown,
            count=len(found),
            asked=asked,
            reasons=sorted({call.reason for call in everything} | ({asked["reason"]} - {""})),
            newer=f"?{urlencode({**kept, 'page': number - 1})}" if earlier else None,
            older=f"?{urlencode({**kept, 'page': number + 1})}" if later else None,
            is_first=number == 1,
            most=KEPT,
        )


def _number(text: str) -> int:
    """The number of a page, from 1 on; 1 for what is none."""
    return max(1, int(text)) if text.isascii() and text.isdigit() and len(text) <= 3 else 1


def _cut(items: Sequence[T], number: int) -> tuple[Sequence[T], bool, bool]:
    """What is on that page, and whether there is something before it, and after it."""
    begin = (number - 1) * PAGE
    return items[begin : begin + PAGE], number > 1, len(items) > begin + PAGE
