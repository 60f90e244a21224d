"""How answers are made, and what is said and noted of a call in each."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from flask import Response, g, request
from werkzeug.datastructures import Headers

from trigger.errors import InternalError, MethodNotAllowed, RequestError
from trigger.store import tracing

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment


class Answer(Response):
    """A response that is complete as it was made: its Location is relative and in ASCII, its length is known."""

    def get_wsgi_headers(self, environ: WSGIEnvironment) -> Headers:
        return self.headers


def answer(content: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """The one way an answer of JSON is made: {"response": …}."""
    body = json.dumps({"response": content}, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    return whole(body + b"\n", "application/json", status, headers)


def whole(body: bytes, content_type: str, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer of any type: never cached, never guessed to be something else."""
    fields = (
        ("Content-Type", content_type),
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
        ("Content-Length", str(len(body))),
        *(headers or {}).items(),
    )
    return Answer(body, status, Headers(fields))


def accepted(call: Any, uid: str, *, replayed: bool) -> Response:
    """The answer to a call that has started the execution `uid`, or whose Idempotency-Key did so before (`replayed`).

    `call` is Flask's g, in which it is noted.
    """
    note_started(call, uid, replayed=replayed)
    headers = {"Location": f"/v1/executions/{uid}"}
    if replayed:
        headers["Idempotency-Replayed"] = "true"
    return answer({"uid": uid}, 202, headers)


def note_started(call: Any, uid: str, *, replayed: bool) -> None:
    """Notes in Flask's g, which `call` is, what the request has started.

    A request that has no id from outside has the uid of that; one that repeats another is not that one, and gets an id
    of its own.
    """
    call.uid = uid
    if not replayed and call.request_id is None:
        call.request_id = uid


def traced(call: Any) -> dict[str, str]:
    """What finds the call in all logs: the uid of the execution that it is about, and the id of its request: that of
    the proxy, else the uid of what it has started, else one that is made here. `call` is Flask's g."""
    number = call.request_id = call.get("request_id") or tracing.new_request_id()
    uid = call.get("uid")
    return {"uid": uid, "request": number} if uid else {"request": number}


def internal_error(error: Exception, logger: logging.Logger) -> InternalError:
    """What a caller is told of a fault of ours, of which the log has all."""
    found = traced(g)
    logger.error("internal error at %s", shown_path(request.path), exc_info=error, extra={"fields": found})
    return InternalError(f"Something went wrong here; the log has it under {found['request']}")


def refusal(error: RequestError) -> Response:
    """The answer to a call that is refused."""
    content: dict[str, Any] = {"code": error.code, "message": error.message}
    if error.details:
        content["details"] = error.details
    g.refused = error
    return answer({"error": content}, error.status, error.headers)


def only(*verbs: str) -> None:
    """Refuses other verbs than these. With GET goes HEAD, which gets the same without a body."""
    allowed = (*verbs, "HEAD") if "GET" in verbs else verbs
    if request.method not in allowed:
        raise MethodNotAllowed(f"Only {' and '.join(verbs)} is answered here", headers={"Allow": ", ".join(allowed)})


def shown_path(path: str) -> str:
    """A path as the log has it. What is put after that of an API may be a credential in the wrong place."""
    api, end, more = path.partition("/async")
    return quote(f"{api}{end}")[:200] + ("…" if more else "")
