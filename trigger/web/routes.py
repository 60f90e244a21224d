"""The HTTP interface. All routes in one glance:

    GET      /                                  for browsers: on to the console
    GET|POST <prefix>/<module>/<method>/async   start the API's workflow: 202 and the execution's uid
    GET      /v1/executions                     the list of executions, for operators
    GET      /v1/executions/<uid>               the record of an execution
    GET      /v1/executions/<uid>/logs          its log, also while it grows
    POST     /v1/executions/<uid>/cancel        what an operator can do about it: it never starts or is told to end,
    POST     /v1/executions/<uid>/rerun         is done again as a new one,
    POST     /v1/executions/<uid>/resume        or gone on with as a new one
    GET      /openapi.json                      the description of the APIs, for programs
    GET      /docs                              for people, who can try them out
    GET      /docs/<asset>                      what that page is made of
    GET      /metrics                           figures for Prometheus
    GET      /console/…                         the pages for operators: trigger.console has their routes
    GET      /healthz                           this process is alive
    GET      /readyz                            the config in force, Redis, the workers; 503 when no call can be taken

Every answer is JSON, but for pages, figures and logs; a refusal is always {"response": {"error": {"code",
"message"}}}.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Flask, Response, g, request
from werkzeug.exceptions import HTTPException

from trigger.config.model import Api, Config, NoAuth
from trigger.errors import (
    ApiNotEnabled,
    ApiNotFound,
    BadRequest,
    InvalidParams,
    MethodNotAllowed,
    PathNotFound,
    RequestError,
)
from trigger.inputs import parse_query
from trigger.store import tracing
from trigger.store.queueing import Call
from trigger.web import readiness, sender
from trigger.web.answers import accepted, answer, internal_error, only, refusal, shown_path, traced, whole
from trigger.web.auth import Credentials, is_forgeable
from trigger.web.docs import DocsViews
from trigger.web.executions import Views
from trigger.web.log import LogView
from trigger.web.metrics_view import MetricsView
from trigger.web.request_body import check_length, whole_body
from trigger.web.service import Service
from trigger.web.tally import Answered

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

logger = logging.getLogger("trigger.api")


def blueprint(service: Service) -> Blueprint:
    """The routes above, working with `service`."""
    routes = Blueprint("api", __name__)
    # OPTIONS is for the views too: Flask would answer it before they check anything.
    route = functools.partial(routes.route, provide_automatic_options=False)

    def resolved(view: Callable[[Api], Response]) -> Callable[..., Response]:
        """Finds the API in the route table and makes the checks that need no credential, in the contract's order."""

        @functools.wraps(view)
        def wrapper(prefix: str, module: str, method: str) -> Response:
            call, environ = _this_call()
            config: Config = call.config
            check_length(environ, config.server.max_body)
            if prefix != config.server.prefix[1:]:
                raise PathNotFound("There is nothing at this path")
            api = config.apis.get((module, method))
            if api is None or _has_escapes(environ):
                raise ApiNotFound("There is no such API")
            call.api = api
            verb = environ["REQUEST_METHOD"]
            if verb not in api.verbs:
                allow = {"Allow": ", ".join(api.verbs)}
                if verb == "OPTIONS":
                    return answer({"verbs": list(api.verbs)}, headers=allow)
                raise MethodNotAllowed(f"The API accepts {' and '.join(api.verbs)}", headers=allow)
            if not api.enabled:
                raise ApiNotEnabled("API is not enabled")
            if "prefetch" in environ.get("HTTP_SEC_PURPOSE", ""):
                raise BadRequest("A browser's prefetch starts nothing")
            return view(api)

        return wrapper

    def authenticated(view: Callable[[Api, str | None], Response]) -> Callable[[Api], Response]:
        """Enforces the API's configured authentication; the view gets who the caller is. Refuses calls that a page of
        another site could have made a browser send."""

        @functools.wraps(view)
        def wrapper(api: Api) -> Response:
            call, environ = _this_call()
            # An API that asks for none looks at none: what a proxy or a browser adds does not concern it.
            credentials = Credentials() if isinstance(api.auth, NoAuth) else Credentials.of(environ)
            call.caller = service.guard.admit(api, credentials, client())
            if is_forgeable(api.auth, credentials):
                sender.refuse_foreign(environ)
            return view(api, call.caller)

        return wrapper

    def client() -> str:
        """The caller's address."""
        call, environ = _this_call()
        config: Config = call.config
        return sender.address(environ, config.server.proxies)

    @route("/<path:prefix>/<module>/<method>/async")
    @resolved
    @authenticated
    def trigger(api: Api, caller: str | None) -> Response:
        call, environ = _this_call()
        config: Config = call.config
        shape = service.shapes.of(api)
        text = environ.get("QUERY_STRING")
        query = parse_query(text.encode("latin-1")) if text else {}
        body: Any = {} if environ["REQUEST_METHOD"] == "GET" else whole_body(environ, config.server.max_body)
        value = shape.apply(body, query)
        asked = Call(api, value, caller, shape.secrets, key=_idempotency_key(environ), request=call.request_id)
        service.watermark.check()
        new = service.submitter.submit(asked, config)
        return accepted(call, new.uid, replayed=new.replayed)

    def body(limit: int) -> Any:
        return whole_body(request.environ, limit)

    views = Views(service, client, body, lambda: _idempotency_key(request.environ))
    logs_of = LogView(service)

    @route("/v1/executions")
    def list_executions() -> Response:
        return views.list()

    @route("/v1/executions/<uid>")
    def execution(uid: str) -> Response:
        return views.record(uid)

    @route("/v1/executions/<uid>/logs")
    def logs(uid: str) -> Response:
        views.check_reader(uid)
        return logs_of(uid)

    @route("/v1/executions/<uid>/cancel")
    def cancel(uid: str) -> Response:
        return views.cancel(uid)

    @route("/v1/executions/<uid>/rerun")
    def rerun(uid: str) -> Response:
        return views.rerun(uid)

    @route("/v1/executions/<uid>/resume")
    def resume(uid: str) -> Response:
        return views.resume(uid)

    def reader_of_docs() -> str:
        """The operator who is signed in to the console, or whose password comes along."""
        config: Config = g.config
        session = service.sessions.of_cookies(request.cookies, config.operators)
        return views.operator() if session is None else session.operator

    docs = DocsViews(reader_of_docs)

    @route("/openapi.json")
    def openapi() -> Response:
        return docs.openapi()

    @route("/docs")
    def docs_page() -> Response:
        return docs.page()

    @route("/docs/<name>")
    def docs_asset(name: str) -> Response:
        return docs.asset(name)

    figures = MetricsView(service, views.operator)

    @route("/metrics")
    def metrics() -> Response:
        return figures()

    @route("/healthz")
    def healthz() -> Response:
        only("GET")
        return answer({"status": "alive"})

    @route("/readyz")
    def readyz() -> Response:
        only("GET")
        state = readiness.state(service.redis, service.watcher, service.watermark)
        shown = state.as_json()
        if state.ready:
            return answer(shown)
        problems = "; ".join(shown["problems"])
        return answer({"error": {"code": "serverError.notReady", "message": problems}, **shown}, 503)

    @route("/")
    def first() -> Response:
        """Lead a person with a browser to the console; there is nothing here for programs."""
        config: Config = g.config
        browser = any(kind == "text/html" and quality > 0 for kind, quality in request.accept_mimetypes)
        if not browser or not config.operators or request.method not in ("GET", "HEAD"):
            raise PathNotFound("There is nothing at this path")
        return whole(b"", "text/plain", 303, {"Location": "/console/", "Vary": "Accept"})

    proxy_warning = sender.ProxyWarning()

    @routes.before_app_request
    def begin() -> None:
        """One version of the config counts for all of a call, whatever is edited meanwhile."""
        call, environ = _this_call()
        call.started = time.perf_counter()
        call.config = config = service.watcher.current
        proxy_warning.check(environ, config.server.proxies)
        given = environ.get("HTTP_X_REQUEST_ID", "") if config.server.proxies else ""
        call.request_id = given if tracing.is_request_id(given) else None
        hosts = config.server.hosts
        if hosts and not _is_served(environ.get("HTTP_HOST", ""), hosts):
            raise BadRequest("This host is not served here")
        if environ["PATH_INFO"].startswith("//"):  # werkzeug would take it for a path with one slash
            raise PathNotFound("There is nothing at this path")

    @routes.after_app_request
    def log(response: Response) -> Response:
        """One line per call with its outcome. Headers and queries are left out: they may hold a secret."""
        call, environ = _this_call()
        found_by = traced(call)
        response.headers.add("X-Request-Id", found_by["request"])
        path = request.path
        if response.status_code < 400 and _is_look(environ["REQUEST_METHOD"], path):
            return response
        seconds = time.perf_counter() - call.started
        fields = {
            "verb": environ["REQUEST_METHOD"],
            "path": shown_path(path),
            "status": response.status_code,
            "ms": round(seconds * 1000, 1),
            "client": client()[:64],
        }
        if caller := call.get("caller"):
            fields["caller"] = caller
        refused: RequestError | None = call.get("refused")
        if refused:
            fields["error"] = f"{refused.code}: {refused.message}"
        service.tally.note(
            Answered(
                method=fields["verb"],
                path=fields["path"],
                below=path.startswith(f"{call.config.server.prefix}/"),
                api=call.get("api"),
                client=fields["client"],
                status=response.status_code,
                refused=refused,
                replayed="Idempotency-Replayed" in response.headers,
                seconds=seconds,
            )
        )
        text = " ".join([f"{name}={value}" for name, value in fields.items()])
        logger.info(text, extra={"fields": fields | found_by})
        return response

    return routes


def register_errors(app: Flask) -> None:
    """Gives every error of the app the one JSON shape."""

    @app.errorhandler(RequestError)
    def refused(error: RequestError) -> Response:
        return refusal(error)

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> Response:
        if error.code == 404:
            return refusal(PathNotFound(f"There is nothing at this path{_hint(request.path, g.config.server.prefix)}"))
        return refusal(BadRequest(error.name, status=error.code or 400))

    @app.errorhandler(Exception)
    def failed(error: Exception) -> Response:
        return refusal(internal_error(error, logger))


def _hint(path: str, prefix: str) -> str:
    """Return how a path that is nearly that of an API is to end. It is the same whether there is such an API or not."""
    below = path.removeprefix(f"{prefix}/")
    if below == path:
        return ""
    match below.rstrip("/").split("/"):
        case [module, method] if module and method:
            return "; did you mean …/async?"
        case [_, _, "async"] if below.endswith("/"):
            return "; did you mean …/async, without a slash at the end?"
    return ""


def _this_call() -> tuple[Any, WSGIEnvironment]:
    """What is noted about the call in `g`, and its environ, without Flask's proxies, which cost more than the look."""
    return g._get_current_object(), request.environ


def _idempotency_key(environ: WSGIEnvironment) -> str | None:
    """The Idempotency-Key header: a quoted string as in draft-ietf-httpapi-idempotency-key-header, or a bare one."""
    raw: str | None = environ.get("HTTP_IDEMPOTENCY_KEY")
    if raw is None:
        return None
    quoted = len(raw) >= 2 and raw[0] == raw[-1] == '"'
    key = raw[1:-1] if quoted else raw
    if not 1 <= len(key) <= 255 or not (key.isascii() and key.isprintable()):
        raise InvalidParams("The Idempotency-Key must have 1 to 255 printable ASCII characters")
    return key


def _is_served(host: str, hosts: Collection[str]) -> bool:
    """Whether a Host header is one of `hosts`: each with or without a port; ".example.org" also stands for what is
    under it. Names are compared without case (RFC 9110, section 4.2.3)."""
    host = host.lower()
    name = host.rpartition(":")[0] or host
    for served in map(str.lower, hosts):
        if served in (host, name) or (served.startswith(".") and f".{name}".endswith(served)):
            return True
    return False


def _is_look(verb: str, path: str) -> bool:
    """Whether it is a look from outside or from a page of the console: those come again and again."""
    return path in ("/healthz", "/readyz", "/metrics") or (verb == "GET" and path.startswith("/console/"))


def _has_escapes(environ: WSGIEnvironment) -> bool:
    """Whether the path was sent with percent escapes: "/a%2Fb" is decoded to "/a/b", but it is not that path."""
    return "%" in environ.get("RAW_URI", "").partition("?")[0]
