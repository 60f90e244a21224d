"""The HTTP interface. All routes in one glance are in ROUTES, but for /console/…, which trigger.console has.

Every answer is JSON, but for pages, figures and logs; a refusal is always {"response": {"error": {"code",
"message"}}}.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Collection
from typing import Any, NamedTuple

from flask import Blueprint, Flask, Response

from trigger.config.model import Api, SignatureAuth
from trigger.errors import BadRequest, NotReady, PathNotFound
from trigger.inputs import parse_query
from trigger.inputs.forms import Upload
from trigger.signatures import delivery
from trigger.store import tracing
from trigger.store.conditions import is_wanted, limits_of
from trigger.store.queueing import Call
from trigger.web import answers, docs, executions, handshakes, readiness, sender, waiting
from trigger.web.admission import authenticated, only, resolved
from trigger.web.answers import answer, refusal, shown_path, whole
from trigger.web.call import ReceivedCall, View, current
from trigger.web.events import events
from trigger.web.log import logs
from trigger.web.metrics_view import metrics
from trigger.web.service import Service
from trigger.web.tally import Answered
from trigger.web.uploads import FormFiles

logger = logging.getLogger("trigger.api")


@resolved
@authenticated
def trigger(call: ReceivedCall, api: Api) -> Response:
    """Start the API's workflow: 202 and the execution's uid."""
    service, environ = call.service, call.environ
    shape = service.shapes.of(api)
    auth = api.auth if isinstance(api.auth, SignatureAuth) else None
    text = environ.get("QUERY_STRING") if auth is None else ""  # nobody has signed it
    query = parse_query(text.encode("latin-1")) if text else {}
    has_body = environ["REQUEST_METHOD"] != "GET"
    uploads: list[Upload] | None = None if api.files is None else []
    body: Any = call.value(api.body, uploads) if has_body else {}
    if api.answer.handshake and (answered := handshakes.after(call, api, body)) is not None:
        return answered
    files = None
    if api.files is not None and api.files.max:
        files = FormFiles.of(service.files, api.files, body, uploads or ())
        body = body if files is None else files.named_in(body)
    value = shape.apply(body, query)
    headers = {name: _shown(call.header(header)) for name, header in api.headers.items()}
    if not is_wanted(api, value, headers, call.caller, shape.secrets):
        return answers.ignored(call, api.answer)
    if auth is not None and auth.once is not None:
        call.delivery = delivery(auth.scheme, call.header, body)
    key, request = call.idempotency_key(), call.request_id
    asked = Call(
        api,
        value,
        call.caller,
        shape.secrets,
        key=key,
        is_delivery=call.delivery is not None,
        request=request,
        headers=headers,
        body=call.body() if has_body else b"",
        limits=limits_of(api, value, headers, call.caller, sender.network(call.client), shape.secrets),
    )
    service.watermark.check()
    if files is not None:
        new = files.submit(service.submitter, asked, call.config)
    else:
        new = service.submitter.submit(asked, call.config)
    return answers.accepted(call, new, api.answer)


def sync(call: ReceivedCall, prefix: str, module: str, method: str, token: str = "") -> Response:
    """Start the API's workflow as `trigger` does, and wait for its end, where the API allows that."""
    api = call.config.apis.get((module, method))
    if api is not None and api.sync is None:
        raise answers.nothing_at(call)
    accepted = trigger(call, prefix, module, method, token)
    if api is None or api.sync is None or call.uid is None:
        return accepted  # nothing was started
    return waiting.outcome(call, call.uid, accepted, api.sync)


def _shown(header: bytes | None) -> str | None:
    """A header as text: in UTF-8 if it is that, else in the encoding that HTTP has them in."""
    if header is None:
        return None
    try:
        return header.decode()
    except UnicodeDecodeError:
        return header.decode("latin-1")


def healthz(call: ReceivedCall) -> Response:
    """Say that this process is alive."""
    return answer({"status": "alive"})


def readyz(call: ReceivedCall) -> Response:
    """Show the config in force, Redis, the workers; 503 when no call can be taken."""
    service = call.service
    state = readiness.state(service.redis, service.watcher, service.watermark)
    shown = state.as_json()
    return answer(shown) if state.ready else refusal(NotReady("; ".join(shown["problems"])), **shown)


def front(call: ReceivedCall) -> Response:
    """Lead a person with a browser to the console; there is nothing here for programs."""
    is_browser = any(kind == "text/html" and quality > 0 for kind, quality in call.accept_mimetypes)
    if not is_browser or not call.config.operators or call.method not in ("GET", "HEAD"):
        raise PathNotFound("There is nothing at this path")
    return whole(b"", "text/plain", 303, {"Location": "/console/", "Vary": "Accept"})


class Route(NamedTuple):
    """A path, its view, and the verbs that are answered there (HEAD with GET); none where the view says which."""

    path: str
    view: View
    verbs: Collection[str] = ()


ROUTES = (
    Route("/", front),
    Route("/<path:prefix>/<module>/<method>/async", trigger),
    Route("/<path:prefix>/<module>/<method>/async/<token>", trigger),
    Route("/<path:prefix>/<module>/<method>/sync", sync),
    Route("/<path:prefix>/<module>/<method>/sync/<token>", sync),
    # For operators, and for callers
    Route("/v1/executions", executions.listed, ["GET"]),
    Route("/v1/executions/<uid>", executions.record, ["GET"]),
    Route("/v1/executions/<uid>/logs", logs, ["GET"]),
    Route("/v1/executions/<uid>/events", events, ["GET"]),
    Route("/v1/executions/<uid>/cancel", executions.cancel, ["POST"]),
    Route("/v1/executions/<uid>/rerun", executions.rerun, ["POST"]),
    Route("/v1/executions/<uid>/resume", executions.resume, ["POST"]),
    Route("/v1/executions/<uid>/callbacks/<name>/again", executions.call_back_again, ["POST"]),
    # The description of the APIs: for programs, for people who can try them out, and what their page is made of
    Route("/openapi.json", docs.openapi),
    Route("/docs", docs.docs),
    Route("/docs/<name>", docs.docs_asset),
    # For Prometheus, for systemd and for load balancers
    Route("/metrics", metrics),
    Route("/healthz", healthz, ["GET"]),
    Route("/readyz", readyz, ["GET"]),
)


def blueprint(service: Service) -> Blueprint:
    """Return the routes above, working with `service`, and the hooks around every call of the app."""
    routes = Blueprint("api", __name__)
    for route in ROUTES:
        routes.add_url_rule(route.path, route.view.__name__, _limited(route.view, route.verbs))
    routes.before_app_request(functools.partial(_begin, service, sender.ProxyWarning()))
    routes.after_app_request(_log)
    return routes


def register_errors(app: Flask) -> None:
    """Give every error of the app the one JSON shape."""

    @app.errorhandler(Exception)
    def refused(error: Exception) -> Response:
        return refusal(answers.refused(current(), error, logger))


def _limited(view: View, verbs: Collection[str]) -> View:
    if not verbs:
        return view

    def wrapper(call: ReceivedCall, **arguments: str) -> Response:
        only(call, *verbs)
        return view(call, **arguments)

    return wrapper


def _begin(service: Service, proxy_warning: sender.ProxyWarning) -> None:
    """Note when and with what the call begins, and refuse it if it is for another host."""
    call = current()
    environ = call.environ
    call.started = time.perf_counter()
    call.service = service
    call.config = config = service.watcher.current
    proxies = config.server.proxies
    call.client = sender.address(environ, proxies)
    proxy_warning.check(environ, proxies)
    given = environ.get("HTTP_X_REQUEST_ID", "") if proxies else ""
    if tracing.is_request_id(given):
        call.request_id = given
    hosts = config.server.hosts
    if hosts and not _is_served(environ.get("HTTP_HOST", ""), hosts):
        raise BadRequest("This host is not served here")
    if environ["PATH_INFO"].startswith("//"):  # werkzeug would take it for a path with one slash
        raise PathNotFound("There is nothing at this path")


def _log(response: Response) -> Response:
    """Log one line per call with its outcome. Headers and queries are left out: they may hold a secret."""
    call = current()
    found_by = call.traced()
    response.headers.add("X-Request-Id", found_by["request"])
    verb, path = call.environ["REQUEST_METHOD"], call.path
    if response.status_code < 400 and _is_look(verb, path):
        return response
    seconds = time.perf_counter() - call.started
    refused = call.refused
    fields = {
        "verb": verb,
        "path": shown_path(path, call.config.server.prefix),
        "status": response.status_code,
        "ms": round(seconds * 1000, 1),
        "client": call.client[:64],
    }
    if call.caller:
        fields["caller"] = call.caller
    if refused:
        fields["error"] = f"{refused.code}: {refused.message}" + (f" ({refused.reason})" if refused.reason else "")
    call.service.tally.note(
        Answered(
            method=verb,
            path=fields["path"],
            below=path.startswith(f"{call.config.server.prefix}/"),
            api=call.api,
            client=fields["client"],
            caller=call.caller,
            status=response.status_code,
            refused=refused,
            outcome=call.outcome,
            seconds=seconds - call.waited,
            wait_ended=call.wait_ended,
        )
    )
    text = " ".join([f"{name}={value}" for name, value in fields.items()])
    logger.info(text, extra={"fields": fields | found_by})
    return response


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
