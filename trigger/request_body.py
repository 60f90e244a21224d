"""The body of a request, within bounds: what the views read it by, whichever server's stream it comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gunicorn.http.errors import ParseException

from trigger.errors import BadRequest, BodyTooLarge
from trigger.inputs import parse_body, read_body

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

# What the server's stream raises, besides OSError, where a chunked body breaks the rules.
STREAM_ERRORS = (ParseException,)


def checked_size(environ: WSGIEnvironment, limit: int) -> bytes | None:
    """Refuses a body that is too large: by its declared length, or, where it has none, by reading it up to the limit.

    Answers the body if it had to be read for that.
    """
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


def whole_body(environ: WSGIEnvironment, limit: int) -> Any:
    """The body of a POST, of at most `limit` bytes, as the value it stands for."""
    return parsed_body(environ, checked_size(environ, limit), limit)


def parsed_body(environ: WSGIEnvironment, body: bytes | None, limit: int) -> Any:
    """The body of a POST as the value it stands for; None for one that has not been read yet."""
    if body is None:
        body = read_body(environ["wsgi.input"], int(environ["CONTENT_LENGTH"]), limit, stream_errors=STREAM_ERRORS)
    return parse_body(body, environ.get("CONTENT_TYPE", ""), environ.get("HTTP_CONTENT_ENCODING", ""))
