"""The console: pages for operators at /console/. All routes in one glance are in ROUTES.

Every page works without scripts, but for what follows by itself. A change is a POST that ends with a redirect.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping

from flask import Blueprint, Response
from redis.exceptions import RedisError

from trigger.console import api_index, workflow_index
from trigger.console.api import ApiPage
from trigger.console.apis import ApisPage
from trigger.console.execution import ExecutionPage
from trigger.console.execution_acts import ExecutionActs
from trigger.console.execution_log import LogViews
from trigger.console.executions import ExecutionsPage
from trigger.console.gate import Gate
from trigger.console.lists import PerConfig
from trigger.console.overview import OverviewPage
from trigger.console.page import Assets, Pages, see_other
from trigger.console.refused import RefusedPage
from trigger.console.switching import Switch
from trigger.console.system import SystemPage
from trigger.console.workflows import WorkflowPage, WorkflowsPage
from trigger.errors import PathNotFound, QueueUnavailable
from trigger.store import counters
from trigger.web.admission import only
from trigger.web.answers import refused
from trigger.web.call import ReceivedCall, View, current
from trigger.web.service import Service

logger = logging.getLogger("trigger.console")

# What an operator who is signed in can look at: the path below /console, and the view by its name in `_views`.
PAGES = {
    "/": "overview",  # is all well?
    "/apis": "apis",  # by module, searched, a page at a time
    "/apis/<module>/<method>": "api",
    "/workflows": "workflows",  # searched, a page at a time
    "/workflows/<path:name>": "workflow",  # what it does, drawn; what starts it; how it fares
    "/executions": "executions",  # filtered, a page at a time
    "/executions/<uid>": "execution",  # what has become of it, and what can be done about it
    "/executions/<uid>/record.json": "record",  # all of it, as a file
    "/executions/<uid>/output": "output",  # all of it, as a file
    "/executions/<uid>/log": "log_lines",  # for our script
    "/executions/<uid>/log.txt": "log_text",
    "/refused": "refused",  # the last calls that were refused
    "/system": "system",  # Redis, queues, workers, the config in force and its last refused edit
}
# What they can change, by a form of such a page.
CHANGES = {
    "/apis/<module>/<method>/switch": "switch",  # enables or disables it, in the file
    "/apis/<module>/<method>/debug": "debug",  # calls it with a simulated request
    "/executions/<uid>/cancel": "cancel",
    "/executions/<uid>/rerun": "rerun",
    "/executions/<uid>/resume": "resume",
    "/executions/<uid>/callbacks/<name>/again": "call_back_again",
}
# For everybody.
OPEN = {
    "": "first",
    "/sign-in": "sign_in",  # the form, or a link that signs in once; what the form sends
    "/sign-out": "sign_out",
    "/static/<name>": "static",  # styles and scripts
    "/<path:rest>": "nothing",
}


def blueprint(service: Service) -> Blueprint:
    """Return the routes above, working with `service`."""
    routes = Blueprint("console", __name__, url_prefix="/console")
    assets = Assets()
    pages = Pages(assets, lambda: _failures(service))
    gate = Gate(service, pages)
    views = _views(service, pages, gate, assets)
    for path, name in PAGES.items():
        routes.add_url_rule(path, name, gate.page(views[name]))
    for path, name in CHANGES.items():
        routes.add_url_rule(path, name, gate.change(views[name]))
    for path, name in OPEN.items():
        routes.add_url_rule(path, name, views[name])

    @routes.before_request
    def begin() -> None:
        current().refused_edit = service.watcher.refused

    @routes.errorhandler(Exception)
    def failed(error: Exception) -> Response:
        if isinstance(error, RedisError):
            logger.warning("a page can't be shown, Redis: %s", error)
            error = QueueUnavailable("This page needs Redis, which can't be used now: System says what is wrong")
        problem = refused(current(), error, logger)
        return pages("problem.html", problem.status, problem.headers, problem=problem)

    return routes


def _views(service: Service, pages: Pages, gate: Gate, assets: Assets) -> Mapping[str, View]:
    """Return the views by their names in the routes."""
    apis, api = ApisPage(service, pages, PerConfig(api_index.listed)), ApiPage(service, pages)
    workflows = PerConfig(workflow_index.listed)
    execution, log = ExecutionPage(service, pages), LogViews(service)
    acts = ExecutionActs(service, execution)
    return {
        "overview": OverviewPage(service, pages),
        "apis": apis,
        "api": api,
        "switch": Switch(service, pages, apis.show, api.show),
        "debug": api.debug,
        "workflows": WorkflowsPage(service, pages, workflows),
        "workflow": WorkflowPage(service, pages, workflows),
        "executions": ExecutionsPage(service, pages),
        "execution": execution,
        "record": execution.record,
        "output": execution.output,
        "log_lines": log.lines,
        "log_text": log.text,
        "cancel": acts.cancel,
        "rerun": acts.rerun,
        "resume": acts.resume,
        "call_back_again": acts.call_back_again,
        "refused": RefusedPage(service, pages),
        "system": SystemPage(service, pages),
        "first": _first,
        "sign_in": gate.sign_in,
        "sign_out": gate.sign_out,
        "static": assets.answer,
        "nothing": _nothing,
    }


def _first(call: ReceivedCall) -> Response:
    only(call, "GET")
    return see_other("/console/")


def _nothing(call: ReceivedCall, rest: str) -> Response:
    raise PathNotFound("There is no such page")


def _failures(service: Service) -> int | None:
    """Return how many executions failed in the last 24 hours; None while Redis can't say."""
    try:
        with service.breaker.reading():
            return counters.failed(service.redis, time.time())
    except QueueUnavailable:
        return None
