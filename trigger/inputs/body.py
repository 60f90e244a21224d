"""A request's body: read within bounds, and parsed as its Content-Type says."""

from __future__ import annotations

import re
from typing import Any, Protocol

from werkzeug.http import parse_options_header

from trigger.errors import BadRequest, BodyTooLarge, UnsupportedMediaType
from trigger.inputs.forms import parse_multipart, parse_urlencoded
from trigger.inputs.strict_json import parse_json

_ACCEPTED = "application/json, application/x-www-form-urlencoded, multipart/form-data"
_JSON_TYPE = re.compile(r"application/(?:json|[a-z0-9!#$&^_.+-]+\+json)")  # RFC 6839, section 3.1
# UTF-8, and what is a part of it. For JSON the parameter has no meaning (RFC 8259, section 11), but is often sent.
_CHARSETS = ("utf-8", "utf8", "us-ascii", "ascii")
_FORM_TYPE = "application/x-www-form-urlencoded"
_MULTIPART_TYPE = "multipart/form-data"


class Stream(Protocol):
    """The part of wsgi.input that we use."""

    def read(self, size: int, /) -> bytes: ...


def read_body(
    stream: Stream, length: int | None, limit: int, *, stream_errors: tuple[type[Exception], ...] = ()
) -> bytes:
    """The whole body, of which at most `limit` + 1 bytes are read from `stream`.

    `length` and `limit` are in bytes; `length` is the Content-Length, None for a body that ends where the stream ends
    (chunked). A body that declares too much isn't read at all. `stream_errors` are what the server's stream raises
    besides OSError when a client breaks HTTP's rules: gunicorn's is gunicorn.http.errors.ParseException, no OSError.

    Raises BodyTooLarge; BadRequest, with status 408 when the client didn't send for too long.
    """
    if length is not None and length > limit:
        raise _too_large(limit)
    wanted = limit + 1 if length is None else length
    broken: tuple[type[Exception], ...] = (OSError, *stream_errors)
    pieces: list[bytes] = []
    while wanted > 0:
        try:
            piece = stream.read(wanted)
        except TimeoutError:
            raise BadRequest("The body did not arrive in time", status=408) from None
        except broken:
            raise BadRequest("The body could not be read: it broke off, or its chunks are malformed") from None
        if not piece:
            break
        pieces.append(piece)
        wanted -= len(piece)
    if length is None and wanted == 0:
        raise _too_large(limit)
    if length is not None and wanted > 0:
        raise BadRequest(f"The body ended early: Content-Length says {length} bytes, {length - wanted} came")
    return b"".join(pieces)


def parse_body(body: bytes, content_type: str, content_encoding: str) -> Any:
    """The value that a body stands for: JSON's, or a Form of text; an empty body is an empty object, whatever its
    Content-Type.

    `content_type` and `content_encoding` are the headers' values, empty when there is none; without a Content-Type
    the body is JSON. A body that is labelled a form but begins as JSON does is read as JSON: `curl -d '{…}'` labels it
    so. What is compressed is refused, never inflated.

    Raises UnsupportedMediaType, InvalidParams for what can't be parsed, BodyTooLarge for forms of too many fields.
    """
    if content_encoding.lower() not in ("", "identity"):
        raise UnsupportedMediaType(
            "The Content-Encoding is not supported: send the body as it is", headers={"Accept-Encoding": "identity"}
        )
    if not body:
        return {}
    if content_type in ("", "application/json"):
        return parse_json(body)

    media_type, parameters = parse_options_header(content_type)
    media_type = media_type.lower()
    is_json = _JSON_TYPE.fullmatch(media_type) is not None
    # Of the bytes beyond ASCII some would be stripped as white space of latin-1, in which the header was read.
    if not content_type.isascii() or (not is_json and media_type not in (_FORM_TYPE, _MULTIPART_TYPE)):
        raise UnsupportedMediaType(f"The Content-Type is not supported: send one of {_ACCEPTED}")
    if parameters.get("charset", "utf-8").lower() not in _CHARSETS:
        raise UnsupportedMediaType(
            "The charset is not supported: send the body in UTF-8, with charset=utf-8 or without"
        )

    if media_type == _MULTIPART_TYPE:
        return parse_multipart(body, parameters.get("boundary", ""))
    if is_json or body.lstrip(b" \t\r\n")[:1] in (b"{", b"[", b'"'):
        return parse_json(body)
    return parse_urlencoded(body)


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"The body is larger than {limit:,} bytes")
