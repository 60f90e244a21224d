"""The HTTP interface. All routes in one glance:

    GET|POST <prefix>/<module>/<method>/async   start the API's workflow: 202 and the execution's uid
    GET      /v1/executions                     the list of executions, for operators
    GET      /v1/executions/<uid>               the record of an execution
    GET      /v1/executions/<uid>/logs          its log, also while it grows
    POST     /v1/executions/<uid>/cancel        what an operator can do about it: it never starts or is told to end,
    POST     /v1/executions/<uid>/rerun         is done again as a new one,
    POST     /v1/executions/<uid>/resume        or gone on with as a new one
    GET      /healthz                           this process is alive
    GET      /readyz                            the config in force, Redis, the workers; 503 when no call can be taken

Every answer is JSON; a refusal is always {"response": {"error": {"code", "message"}}}.
"""

from __future__ import annotations

import functools
import ipaddress
import json
import logging
import re
import secrets
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any
from urllib.parse import quote

from flask import Blueprint, Flask, Response, g, request
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Rule

from trigger import readiness
from trigger.auth import Credentials
from trigger.config.model import Api, Config
from trigger.errors import (
    ApiNotEnabled,
    ApiNotFound,
    BadRequest,
    BodyTooLarge,
    InternalError,
    InvalidParams,
    MethodNotAllowed,
    PathNotFound,
    QueueUnavailable,
    RequestError,
)
from trigger.executions_api import Answer, Views
from trigger.inputs import parse_body, parse_query, read_body
from trigger.log_api import LogView
from trigger.queueing import Call
from trigger.service import Service

logger = logging.getLogger("trigger.api")

_REQUEST_ID = re.compile(r"[A-Za-z0-9-]{1,64}")

# What the server's stream raises, besides OSError, where a chunked body breaks the rules.
STREAM_ERRORS = (ParseException,)


class AnyVerb(Rule):
    """A route that takes every verb to its view: which ones an API accepts is the config's to say, after other checks.

    werkzeug itself would answer HEAD like GET, and start a workflow with it.
    """

    def __init__(self, string: str, **options: Any) -> None:
        super().__init__(string, **options | {"methods": None})


def answer(content: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """The one way an answer is made: {"response": …} as JSON, never cached and never guessed to be something else."""
    body = json.dumps({"response": content}, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    response = Response(body + b"\n", status, mimetype="application/json")
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"
    for name, value in (headers or {}).items():
        response.headers[name] = value
    return response


def refusal(error: RequestError) -> Response:
    """The answer to a call that is refused."""
    content: dict[str, Any] = {"code": error.code, "message": error.message}
    if error.details:
        content["details"] = error.details
    g.refused = error
    return answer({"error": content}, error.status, error.headers)


def blueprint(service: Service) -> Blueprint:
    """The routes above, working with `service`."""
    routes = Blueprint("api", __name__)
    # OPTIONS is for the views too: Flask would answer it before they check anything.
    route = functools.partial(routes.route, provide_automatic_options=False)

    def resolved(view: Callable[[Api], Response]) -> Callable[..., Response]:
        """Finds the API in the route table and makes the checks that need no credential, in the contract's order."""

        @functools.wraps(view)
        def wrapper(prefix: str, module: str, method: str) -> Response:
            config: Config = g.config
            g.body = _checked_size(config.server.max_body)
            if prefix != config.server.prefix[1:]:
                raise PathNotFound("There is nothing at this path")
            api = config.apis.get((module, method))
            if api is None or _has_escapes():
                raise ApiNotFound("There is no such API")
            verb = request.method
            if verb not in api.verbs:
                allow = {"Allow": ", ".join(api.verbs)}
                if verb == "OPTIONS":
                    return answer({"verbs": list(api.verbs)}, headers=allow)
                raise MethodNotAllowed(f"The API accepts {' and '.join(api.verbs)}", headers=allow)
            if not api.enabled:
                raise ApiNotEnabled("API is not enabled")
            if "prefetch" in request.headers.get("Sec-Purpose", ""):
                raise BadRequest("A browser's prefetch starts nothing")
            g.api = api
            return view(api)

        return wrapper

    def authenticated(view: Callable[[Api, str | None], Response]) -> Callable[[Api], Response]:
        """Enforces the API's configured authentication; the view gets who the caller is."""

        @functools.wraps(view)
        def wrapper(api: Api) -> Response:
            g.caller = service.guard.admit(api, Credentials.of(request.environ), client())
            return view(api, g.caller)

        return wrapper

    def client() -> str:
        """The caller's address: the peer's, or what as many proxies as are configured have passed on."""
        config: Config = g.config
        proxies = config.server.proxies
        if proxies:
            hops = request.headers.get("X-Forwarded-For", "").split(",")
            if len(hops) >= proxies and _is_address(address := hops[-proxies].strip()):
                return address
        return request.remote_addr or "unix"

    @route("/<path:prefix>/<module>/<method>/async")
    @resolved
    @authenticated
    def trigger(api: Api, caller: str | None) -> Response:
        config: Config = g.config
        shape = service.shapes.of(api)
        query = parse_query(request.environ.get("QUERY_STRING", "").encode("latin-1"))
        if request.method == "GET":
            body: Any = {}
        else:
            body = _parsed_body(config.server.max_body)
        value = shape.apply(body, query)
        call = Call(api, value, caller, shape.secrets, key=_idempotency_key())
        if service.watermark.problem:
            raise QueueUnavailable("The queue takes no calls now; try again later", headers={"Retry-After": "10"})
        accepted = service.submitter.submit(call, config)
        g.uid = accepted.uid
        headers = {"Location": f"/v1/executions/{accepted.uid}"}
        if accepted.replayed:
            headers["Idempotency-Replayed"] = "true"
        return answer({"uid": accepted.uid}, 202, headers)

    views = Views(service, client, _whole_body, _idempotency_key)
    logs_of = LogView(service.redis, answer)

    @route("/v1/executions")
    def list_executions() -> Response:
        return _as_response(views.list())

    @route("/v1/executions/<uid>")
    def execution(uid: str) -> Response:
        return _as_response(views.record(uid))

    @route("/v1/executions/<uid>/logs")
    def logs(uid: str) -> Response:
        views.check_reader(uid)
        return logs_of(uid)

    @route("/v1/executions/<uid>/cancel")
    def cancel(uid: str) -> Response:
        return _as_response(views.cancel(uid))

    @route("/v1/executions/<uid>/rerun")
    def rerun(uid: str) -> Response:
        return _as_response(views.rerun(uid))

    @route("/v1/executions/<uid>/resume")
    def resume(uid: str) -> Response:
        return _as_response(views.resume(uid))

    @route("/healthz")
    def healthz() -> Response:
        _only_get()
        return answer({"status": "alive"})

    @route("/readyz")
    def readyz() -> Response:
        _only_get()
        state = readiness.state(service.redis, service.watcher, service.watermark)
        if state.ready:
            return answer(state.as_json())
        problems = "; ".join(state.problems)
        return answer({"error": {"code": "serverError.notReady", "message": problems}, **state.as_json()}, 503)

    @routes.before_app_request
    def begin() -> None:
        """One version of the config counts for all of a call, whatever is edited meanwhile."""
        g.started = time.perf_counter()
        g.config = service.watcher.current
        hosts = g.config.server.hosts
        if hosts and not _is_served(request.environ.get("HTTP_HOST", ""), hosts):
            raise BadRequest("This host is not served here")
        if request.environ["PATH_INFO"].startswith("//"):  # werkzeug would take it for a path with one slash
            raise PathNotFound("There is nothing at this path")

    @routes.after_app_request
    def log(response: Response) -> Response:
        """One line per call with its outcome. Headers and queries are left out: they may hold a secret."""
        if request.path in ("/healthz", "/readyz") and response.status_code < 400:
            return response
        fields = {
            "method": request.method,
            "path": quote(request.path)[:200],
            "status": response.status_code,
            "ms": round((time.perf_counter() - g.started) * 1000, 1),
            "client": client()[:64],
        }
        if g.config.server.proxies and _REQUEST_ID.fullmatch(request_id := request.headers.get("X-Request-Id", "")):
            fields["request"] = request_id  # finds the call in the proxy's log
        if caller := g.get("caller"):
            fields["caller"] = caller
        if uid := g.get("uid"):
            fields["uid"] = uid
        refused: RequestError | None = g.get("refused")
        if refused:
            fields["error"] = f"{refused.code}: {refused.message}"
        text = " ".join(f"{name}={value}" for name, value in fields.items())
        logger.info(text, extra={"fields": fields})
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
            return refusal(PathNotFound("There is nothing at this path"))
        return refusal(BadRequest(error.name, status=error.code or 400))

    @app.errorhandler(Exception)
    def failed(error: Exception) -> Response:
        reference = secrets.token_hex(6)
        logger.error("internal error %s at %s", reference, request.path, exc_info=error)
        return refusal(InternalError(f"Something went wrong here; the log has it under {reference}"))


def _idempotency_key() -> str | None:
    """The Idempotency-Key header: a quoted string as in draft-ietf-httpapi-idempotency-key-header, or a bare one."""
    raw: str | None = request.environ.get("HTTP_IDEMPOTENCY_KEY")
    if raw is None:
        return None
    quoted = len(raw) >= 2 and raw[0] == raw[-1] == '"'
    key = raw[1:-1] if quoted else raw
    if not 1 <= len(key) <= 255 or not (key.isascii() and key.isprintable()):
        raise InvalidParams("The Idempotency-Key must have 1 to 255 printable ASCII characters")
    return key


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text  # after which an IPv6 address may have any text


def _is_served(host: str, hosts: Collection[str]) -> bool:
    """Whether a Host header is one of `hosts`: each with or without a port; ".example.org" also stands for what is
    under it. Names are compared without case (RFC 9110, section 4.2.3)."""
    host = host.lower()
    name = host.rpartition(":")[0] or host
    for served in map(str.lower, hosts):
        if served in (host, name) or (served.startswith(".") and f".{name}".endswith(served)):
            return True
    return False


def _only_get() -> None:
    if request.method not in ("GET", "HEAD"):
        raise MethodNotAllowed("Only GET is answered here", headers={"Allow": "GET, HEAD"})


def _as_response(given: Answer) -> Response:
    return answer(given.content, given.status, given.headers)


def _has_escapes() -> bool:
    """Whether the path was sent with percent escapes: "/a%2Fb" is decoded to "/a/b", but it is not that path."""
    return "%" in request.environ.get("RAW_URI", "").partition("?")[0]


def _checked_size(limit: int) -> bytes | None:
    """Refuses a body that is too large: by its declared length, or, where it has none, by reading it up to the limit.

    Answers the body if it had to be read for that.
    """
    environ = request.environ
    length = environ.get("CONTENT_LENGTH")
    if length:
        if int(length) > limit:
            raise BodyTooLarge(f"The body may have at most {limit} bytes")
        return None
    coding = environ.get("HTTP_TRANSFER_ENCODING", "").lower()
    if coding == "chunked":
        return read_body(environ["wsgi.input"], None, limit, stream_errors=STREAM_ERRORS)
    if coding:  # "gzip, chunked", which gunicorn lets pass
        raise BadRequest("Transfer-Encoding: only chunked is understood")
    return b""


def _whole_body(limit: int) -> Any:
    """The body of a POST, of at most `limit` bytes, as the value it stands for."""
    g.body = _checked_size(limit)
    return _parsed_body(limit)


def _parsed_body(limit: int) -> Any:
    """The body of a POST as the value it stands for."""
    environ = request.environ
    body = g.body
    if body is None:
        body = read_body(environ["wsgi.input"], int(environ["CONTENT_LENGTH"]), limit, stream_errors=STREAM_ERRORS)
    return parse_body(body, environ.get("CONTENT_TYPE", ""), environ.get("HTTP_CONTENT_ENCODING", ""))
