"""How answers are made, those to errors above all."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from flask import Response
from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException

from trigger.config.model import Answer
from trigger.errors import BadRequest, InternalError, PathNotFound, RequestError
from trigger.store.queueing import Accepted
from trigger.web.call import ReceivedCall

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment


USUAL = Answer()
_CALLED = re.compile("/a?sync")

_ALWAYS = (("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff"))


class WholeAnswer(Response):
    """A response that is complete as it was made: its Location is relative and in ASCII, its length is known, or nobody
    knows it."""

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
        *_ALWAYS,
        ("Content-Length", str(len(body))),
        *(headers or {}).items(),
    )
    return WholeAnswer(body, status, Headers(fields))


def bare(status: int, headers: Mapping[str, str] | None = None) -> Response:
    """Answer with nothing."""
    if status == 204:  # which has no length either (RFC 9110, section 8.6)
        return WholeAnswer(b"", status, Headers((*_ALWAYS, *(headers or {}).items())))
    return whole(b"", "text/plain; charset=utf-8", status, headers)


def stream(pieces: Iterator[bytes], content_type: str, headers: Mapping[str, str] | None = None) -> Response:
    """An answer of any type that is sent piece by piece, as they come."""
    return WholeAnswer(pieces, 200, Headers((("Content-Type", content_type), *_ALWAYS, *(headers or {}).items())))


def plain(text: str) -> Response:
    """Answer with a text."""
    return whole(text.encode("utf-8", "replace"), "text/plain; charset=utf-8")


def object_of(content: Mapping[str, Any]) -> Response:
    """Answer with JSON that is not ours in form, but a sender's."""
    return whole(json.dumps(content, ensure_ascii=False).encode("utf-8", "replace"), "application/json")


def accepted(call: ReceivedCall, new: Accepted, how: Answer = USUAL) -> Response:
    """Answer a call that has started an execution, or become part of one, or whose Idempotency-Key did so before."""
    call.note_started(new)
    headers = {"Location": f"/v1/executions/{new.uid}"}
    if new.replayed:
        headers["Idempotency-Replayed"] = "true"
    if new.merged:
        headers["Execution-Merged"] = "true"
    if new.quota is not None:
        headers |= new.quota.headers
    return answer({"uid": new.uid}, how.status, headers) if how.has_body else bare(how.status, headers)


def ignored(call: ReceivedCall, how: Answer) -> Response:
    """Answer a call that the API's `when` lets start nothing."""
    call.outcome = "ignored"
    return answer({"ignored": True}, how.status) if how.has_body else bare(how.status)


def refusal(error: RequestError, **more: Any) -> Response:
    """The answer that an error is, whoever gives it: {"response": {"error": {"code", "message", "details"}}}, and
    `more` beside "error"."""
    content: dict[str, Any] = {"code": error.code, "message": error.message}
    if error.details:
        content["details"] = error.details
    return answer({"error": content, **more}, error.status, error.headers)


def refused(call: ReceivedCall, error: Exception, logger: logging.Logger) -> RequestError:
    """Return what the caller is told of whatever was raised, and note it in the call. An error that nobody raised on
    purpose is a fault of ours: `logger` gets all of it, the caller where to find that."""
    if isinstance(error, HTTPException):
        error = nothing_at(call) if error.code == 404 else BadRequest(error.name, status=error.code or 400)
    elif not isinstance(error, RequestError):
        found = call.traced()
        path = shown_path(call.path, call.config.server.prefix)
        logger.error("internal error at %s", path, exc_info=error, extra={"fields": found})
        error = internal_error(found["request"])
    call.refused = error
    return error


def nothing_at(call: ReceivedCall) -> PathNotFound:
    """Return the error for a path that is none of ours."""
    return PathNotFound(f"There is nothing at this path{_hint(call.path, call.config.server.prefix)}")


def internal_error(request_id: str) -> InternalError:
    """Return the error for a fault of ours, of which the log has all."""
    return InternalError(f"Something went wrong here; the log has it under {request_id}")


def shown_path(path: str, prefix: str) -> str:
    """Return a path as the log has it: below the prefix of APIs `module/method/async`, or `sync`; "…" for all else.

    What comes after that, or in the place of `async`, may be a credential: a token that was put into the path, of a URL
    with a slip in it, too.
    """
    found = _CALLED.search(path)
    end = found.end() if found else len(path)
    shown, more = path[:end], path[end:]
    if path.startswith(f"{prefix}/") and path.count("/", len(prefix)) > 2:
        module, method, last = path[len(prefix) + 1 :].split("/", 2)
        word = next((word for word in ("async", "sync") if last.startswith(word)), "")
        shown, more = f"{prefix}/{module}/{method}/{word}", last[len(word) :]
    return quote(shown)[:200] + ("…" if more else "")


def _hint(path: str, prefix: str) -> str:
    """Return how a path that is nearly that of an API is to end. It is the same whether there is such an API or not."""
    below = path.removeprefix(f"{prefix}/")
    if below == path:
        return ""
    match below.rstrip("/").split("/"):
        case [module, method] if module and method:
            return "; did you mean …/async?"
        case [_, _, "async" | "sync" as word] if below.endswith("/"):
            return f"; did you mean …/{word}, without a slash at the end?"
        case [module, method, "sync"] if module and method:
            return "; did you mean …/async?"
    return ""
