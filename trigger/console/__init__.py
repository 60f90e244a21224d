"""The console: pages for operators at /console/. All routes in one glance:

    GET       /console/                          the overview: is all well?
    GET|POST  /console/sign-in                   the form, or a link that signs in once; what the form sends
    POST      /console/sign-out
    GET       /console/static/<name>             styles and scripts

    GET       /console/apis                      the APIs by module, searched, a page at a time
    GET       /console/apis/<module>/<method>    one of them
    POST      /console/apis/<module>/<method>/switch    enables or disables it, in the file
    POST      /console/apis/<module>/<method>/debug     calls it with a simulated request
    GET       /console/workflows                 the list, searched, a page at a time
    GET       /console/workflows/<name>          what one does, drawn; what starts it; how it fares
    GET       /console/executions                the list, filtered, a page at a time
    GET       /console/executions/<uid>          what has become of one, and what can be done about it
    GET         …/record.json, /output           all of its record, and of its output, as files
    GET         …/log, /log.txt                  the lines of its log for our script, and as text
    POST        …/cancel, /rerun, /resume

    GET       /console/refused                   the last calls that were refused
    GET       /console/system                    Redis, queues, workers, the config in force and its last refused edit

Every page works without scripts, but for what follows by itself. A change is a POST that ends with a redirect.
"""

from __future__ import annotations

import functools
import logging
import time

from flask import Blueprint, Response, g
from redis.exceptions import RedisError
from werkzeug.exceptions import HTTPException

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
from trigger.errors import BadRequest, PathNotFound, QueueUnavailable, RequestError
from trigger.store import counters
from trigger.web.answers import internal_error, only
from trigger.web.service import Service

logger = logging.getLogger("trigger.console")


def blueprint(service: Service) -> Blueprint:
    """The routes above, working with `service`."""
    routes = Blueprint("console", __name__, url_prefix="/console")
    route = functools.partial(routes.route, provide_automatic_options=False)
    assets = Assets()
    pages = Pages(assets, lambda: _failures(service))
    gate = Gate(service, pages)

    route("/sign-in", endpoint="sign_in")(gate.sign_in)
    route("/sign-out", endpoint="sign_out")(gate.sign_out)
    one_api = ApiPage(service, pages)
    all_apis = ApisPage(service, pages, PerConfig(api_index.listed))
    switch = Switch(service, pages, all_apis.show, one_api.show)
    route("/apis", endpoint="apis")(gate.page(all_apis))
    route("/apis/<module>/<method>", endpoint="api")(gate.page(one_api))
    route("/apis/<module>/<method>/switch", endpoint="switch")(gate.change(switch))
    route("/apis/<module>/<method>/debug", endpoint="debug")(gate.change(one_api.debug))

    workflows = PerConfig(workflow_index.listed)
    route("/workflows", endpoint="workflows")(gate.page(WorkflowsPage(service, pages, workflows)))
    route("/workflows/<path:name>", endpoint="workflow")(gate.page(WorkflowPage(service, pages, workflows)))

    route("/refused", endpoint="refused")(gate.page(RefusedPage(service, pages)))
    route("/system", endpoint="system")(gate.page(SystemPage(service, pages)))

    execution = ExecutionPage(service, pages)
    log, acts = LogViews(service), ExecutionActs(service, execution)
    route("/executions", endpoint="executions")(gate.page(ExecutionsPage(service, pages)))
    route("/executions/<uid>", endpoint="execution")(gate.page(execution))
    route("/executions/<uid>/record.json", endpoint="record")(gate.page(execution.record))
    route("/executions/<uid>/output", endpoint="output")(gate.page(execution.output))
    route("/executions/<uid>/log", endpoint="log")(gate.page(log.lines))
    route("/executions/<uid>/log.txt", endpoint="log_text")(gate.page(log.text))
    for act in (acts.cancel, acts.rerun, acts.resume):
        route(f"/executions/<uid>/{act.__name__}", endpoint=act.__name__)(gate.change(act))

    route("/", endpoint="overview")(gate.page(OverviewPage(service, pages)))

    @route("")
    def first() -> Response:
        only("GET")
        return see_other("/console/")

    @route("/static/<name>")
    def static(name: str) -> Response:
        only("GET")
        found = assets.answer(name)
        if found is None:
            raise PathNotFound("There is no such file")
        return found

    @route("/<path:rest>")
    def nothing(rest: str) -> Response:
        raise PathNotFound("There is no such page")

    @routes.before_request
    def begin() -> None:
        g.refused_edit = service.watcher.refused

    @routes.errorhandler(RequestError)
    def refused(error: RequestError) -> Response:
        g.refused = error
        return pages("problem.html", error.status, error.headers, problem=error)

    @routes.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> Response:
        return refused(BadRequest(error.name, status=error.code or 400))

    @routes.errorhandler(RedisError)
    def away(error: RedisError) -> Response:
        logger.warning("a page can't be shown, Redis: %s", error)
        return refused(QueueUnavailable("This page needs Redis, which can't be used now: System says what is wrong"))

    @routes.errorhandler(Exception)
    def failed(error: Exception) -> Response:
        return refused(internal_error(error, logger))

    return routes


def _failures(service: Service) -> int | None:
    """How many executions failed in the last 24 hours; None while Redis can't say."""
    try:
        with service.breaker.reading():
            return counters.failed(service.redis, time.time())
    except QueueUnavailable:
        return None
