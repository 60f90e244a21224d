"""The list of APIs, by module: what each is, how it fares, and its switch."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import groupby, zip_longest

from flask import Response

from trigger import store
from trigger.console.api_index import ApiIndex
from trigger.console.bars import days
from trigger.console.lists import MAX_SEARCH, PerConfig, part
from trigger.console.page import Pages
from trigger.console.switching import NotSwitched, follow_edit, switched
from trigger.web.call import ReceivedCall
from trigger.web.service import Service


@dataclass(frozen=True, slots=True)
class ApisPage:
    """GET /console/apis"""

    service: Service
    pages: Pages
    index: PerConfig[ApiIndex]

    def __call__(self, call: ReceivedCall) -> Response:
        follow_edit(call)
        return self.show(call, call.args.get("q", ""), call.args.get("page", ""))

    def show(self, call: ReceivedCall, search: str, number: str, refused: NotSwitched | None = None) -> Response:
        """The page `number`, from "1", of the APIs that `search` finds; `refused` is what was just not switched."""
        config = call.config
        listed = self.index.of(config)
        shown = part(listed.find(search), number)
        names = [(api.module, api.method) for api in shown.rows]
        figures = store.unless_away(lambda: days(self.service.redis, names, time.time()))
        rows = zip_longest(shown.rows, figures or ())
        groups = [(config.modules[name], list(rows)) for name, rows in groupby(rows, lambda row: row[0].module)]
        return self.pages(
            "apis.html",
            409 if refused else 200 if figures is not None else 503,
            groups=groups,
            search=search[:MAX_SEARCH],
            part=shown,
            listed=listed,
            away=figures is None,
            refused=refused,
            switched=switched(call),
        )
