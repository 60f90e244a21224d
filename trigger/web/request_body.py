"""The body of a request, within bounds: what the views read it by, whichever server's stream it comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gunicorn.http.errors import ParseException

from trigger.config.model import BodyKind
from trigger.errors import BadRequest, BodyTooLarge
from trigger.inputs import parse_body, read_body
from trigger.inputs.forms import Upload

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

# What the server's stream raises, besides OSError, where a chunked body breaks the rules.
STREAM_ERRORS = (ParseException,)


def check_length(environ: WSGIEnvironment, limit: int) -> None:
    """Refuse a body that is declared to be larger than `limit` bytes, or to be coded. Nothing is read for that."""
    length = environ.get("CONTENT_LENGTH")
    if length:
        if int(length) > limit:
            raise BodyTooLarge(f"The body may have at most {limit} bytes")
    elif environ.get("HTTP_TRANSFER_ENCODING", "chunked").lower() != "chunked":  # "gzip, chunked" gets past gunicorn
        raise BadRequest("Transfer-Encoding: only chunked is understood")


def raw_body(environ: WSGIEnvironment, limit: int) -> bytes:
    """Return the bytes of the body, at most `limit`. This waits for the client."""
    check_length(environ, limit)
    length = environ.get("CONTENT_LENGTH")
    if not length and "HTTP_TRANSFER_ENCODING" not in environ:
        return b""
    declared = int(length) if length else None
    return read_body(environ["wsgi.input"], declared, limit, stream_errors=STREAM_ERRORS)


def value_of(
    environ: WSGIEnvironment, body: bytes, limit: int, kind: BodyKind = "auto", uploads: list[Upload] | None = None
) -> Any:
    """Return the value that the body of a request stands for, as its headers, or its `kind`, say. It may have `limit`
    bytes when it is unpacked. Files of a form are added to `uploads`; None refuses them."""
    coding = environ.get("HTTP_CONTENT_ENCODING", "")
    return parse_body(body, environ.get("CONTENT_TYPE", ""), coding, limit=limit, kind=kind, uploads=uploads)
