"""The list of workflows, and the page of one: what it does, what starts it, how it fares."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from flask import Response

from trigger import store
from trigger.config.model import Api, Workflow
from trigger.console.drawing import draw, marks_of
from trigger.console.lists import MAX_SEARCH, PerConfig, found, part
from trigger.console.page import Pages
from trigger.console.week import Week, weeks
from trigger.console.workflow_index import WorkflowIndex
from trigger.errors import PathNotFound
from trigger.store import Plan, Summary
from trigger.web.call import ReceivedCall
from trigger.web.service import Service

RECENT = 10  # executions that the page of a workflow shows
MANY = 25  # steps; one looks for some where there are more


@dataclass(frozen=True, slots=True)
class WorkflowsPage:
    """GET /console/workflows"""

    service: Service
    pages: Pages
    index: PerConfig[WorkflowIndex]

    def __call__(self, call: ReceivedCall) -> Response:
        config = call.config
        listed = self.index.of(config)
        search = call.args.get("q", "")[:MAX_SEARCH]
        shown = part(listed.find(search), call.args.get("page", ""))
        names = [workflow.name for workflow in shown.rows]
        figures = store.unless_away(lambda: weeks(self.service.redis, names, time.time()))
        rows = [
            (workflow, listed.starters[workflow.name], figures[number] if figures is not None else None)
            for number, workflow in enumerate(shown.rows)
        ]
        status = 503 if figures is None else 200
        return self.pages(
            "workflows.html", status, listed=listed, search=search, part=shown, rows=rows, away=figures is None
        )


@dataclass(frozen=True, slots=True)
class Activity:
    """A workflow's activity: its last seven days, and its newest executions."""

    week: Week
    recent: Sequence[Summary]


@dataclass(frozen=True, slots=True)
class WorkflowPage:
    """GET /console/workflows/<name>"""

    service: Service
    pages: Pages
    index: PerConfig[WorkflowIndex]

    def __call__(self, call: ReceivedCall, name: str) -> Response:
        config = call.config
        workflow = config.workflows.get(name)
        if workflow is None:
            raise PathNotFound("There is no workflow of that name")
        starters = self.index.of(config).starters[name]
        late = frozenset(step.name for step in workflow.on_failure)
        activity = store.unless_away(lambda: self._activity(workflow, starters))
        steps = (*workflow.steps, *workflow.on_failure)
        search = call.args.get("q", "")[:MAX_SEARCH]
        texts = [f"{step.name}\n{step.calls}\n{step.action.kind}".casefold() for step in steps]
        return self.pages(
            "workflow.html",
            200 if activity else 503,
            config=config,
            workflow=workflow,
            starters=starters,
            late=late,
            steps=part(found(steps, texts, search), call.args.get("page", "")),
            search=search,
            is_long=len(steps) > MANY,
            drawing=draw(Plan.of(workflow), marks_of(workflow)),
            activity=activity,
        )

    def _activity(self, workflow: Workflow, starters: Sequence[Api]) -> Activity:
        redis = self.service.redis
        (week,) = weeks(redis, [workflow.name], time.time())
        apis = [(api.module, api.method) for api in starters]
        return Activity(week, store.recent(redis, workflow.name, apis, RECENT))
