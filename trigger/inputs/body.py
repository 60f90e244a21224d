"""A request's body: read within bounds, and parsed as its Content-Type says."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from werkzeug.http import parse_options_header

from trigger.config.model import BodyKind
from trigger.errors import BadRequest, BodyTooLarge, UnsupportedMediaType
from trigger.inputs.coding import codec, text_of, unpacked
from trigger.inputs.forms import Form, Upload, parse_multipart, parse_urlencoded
from trigger.inputs.strict_json import parse_json
from trigger.inputs.xml import parse_xml

_ACCEPTED = "application/json, application/x-www-form-urlencoded, multipart/form-data, application/x-ndjson"
_JSON_TYPE = re.compile(r"application/(?:json|[a-z0-9!#$&^_.+-]+\+json)")  # RFC 6839, section 3.1
_FORM_TYPE = "application/x-www-form-urlencoded"
_MULTIPART_TYPE = "multipart/form-data"
_TEXT_TYPE = "text/plain"
_LINES_TYPES = ("application/x-ndjson", "application/ndjson", "application/jsonl")


# Of JSON in lines: more hold up everybody else.
MAX_LINES = 10_000


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


def parse_body(
    body: bytes,
    content_type: str,
    content_encoding: str,
    *,
    limit: int = 1024 * 1024,
    kind: BodyKind = "auto",
    uploads: list[Upload] | None = None,
) -> Any:
    """The value that a body stands for: JSON's, or a Form of text, or what its `kind` says.

    `content_type` and `content_encoding` are the headers' values, empty when there is none. What is compressed with
    gzip has at most `limit` bytes when it is unpacked. Files of a form are added to `uploads`; None refuses them.

    An empty body is an empty object, whatever its Content-Type, but for the kinds text and raw. With the kind auto a
    body without a Content-Type is JSON, and one that is labelled a form or a text but begins as JSON does is read as
    JSON: `curl -d '{…}'` labels it so.

    Raises UnsupportedMediaType, InvalidParams for what can't be parsed, BodyTooLarge.
    """
    body = unpacked(body, content_encoding, limit)
    if kind == "raw":
        return {"base64": base64.b64encode(body).decode(), "type": content_type}
    if kind == "auto" and content_type in ("", "application/json"):
        return parse_json(body) if body else {}
    media = _Media.of(content_type)
    if kind == "text":
        return text_of(body, media.charset or "utf-8")
    return _PARSERS[kind](body, media, uploads) if body else {}


class _Media(NamedTuple):
    """A Content-Type, taken apart."""

    type: str
    charset: str
    boundary: str
    is_ascii: bool

    @classmethod
    def of(cls, content_type: str) -> _Media:
        type_, parameters = parse_options_header(content_type)
        charset, boundary = parameters.get("charset"), parameters.get("boundary", "")
        # Of the bytes beyond ASCII some would be stripped as white space of latin-1, in which the header was read.
        return cls(type_.lower(), "utf-8" if charset is None else charset or "?", boundary, content_type.isascii())


def _auto(body: bytes, media: _Media, uploads: list[Upload] | None) -> Any:
    begin = body.lstrip(b" \t\r\n")[:1]
    if media.is_ascii:
        if _JSON_TYPE.fullmatch(media.type) or (media.type == _TEXT_TYPE and begin in (b"{", b"[")):
            return _json(body, media, uploads)
        if media.type in _LINES_TYPES:
            return _lines(body, media, uploads)
        if media.type == _FORM_TYPE and begin in (b"{", b"[", b'"'):
            return _json(body, media, uploads)
        if media.type in (_FORM_TYPE, _MULTIPART_TYPE):
            return _fields(body, media, uploads)
    raise UnsupportedMediaType(f"The Content-Type is not supported: send one of {_ACCEPTED}")


def _json(body: bytes, media: _Media, _: list[Upload] | None) -> Any:
    return parse_json(body if codec(media.charset) == "utf-8" else text_of(body, media.charset).encode())


def _lines(body: bytes, media: _Media, _: list[Upload] | None) -> list[Any]:
    """JSON, a value in each line that is not empty (github.com/ndjson/ndjson-spec)."""
    lines = text_of(body, media.charset).split("\n")
    if len(lines) > MAX_LINES + 1:  # the last one may have an end, too
        raise BodyTooLarge(f"The body has more than {MAX_LINES:,} lines")
    return [
        parse_json(line.encode(), f"Line {number} of the body") for number, line in enumerate(lines, 1) if line.strip()
    ]


def _xml(body: bytes, media: _Media, _: list[Upload] | None) -> Any:
    return parse_xml(text_of(body, media.charset).encode(), "utf-8") if media.charset != "utf-8" else parse_xml(body)


def _form(body: bytes, media: _Media, uploads: list[Upload] | None) -> Any:
    """A form; or what its one field `payload` says as JSON, as GitHub and Slack send it."""
    if media.type not in (_FORM_TYPE, _MULTIPART_TYPE):
        raise UnsupportedMediaType(f"The Content-Type is not supported: send one of {_FORM_TYPE}, {_MULTIPART_TYPE}")
    form = _fields(body, media, uploads)
    payload = form.get("payload")
    if len(form) == 1 and isinstance(payload, str) and payload.lstrip()[:1] in ("{", "["):
        return parse_json(payload.encode(), "The field payload")
    return form


def _fields(body: bytes, media: _Media, uploads: list[Upload] | None) -> Form:
    if media.type == _FORM_TYPE:
        return parse_urlencoded(body, codec(media.charset))
    if codec(media.charset) != "utf-8":
        raise UnsupportedMediaType("The charset is not supported: send the parts of the form in UTF-8")
    return parse_multipart(body, media.boundary, uploads)


_PARSERS: Mapping[BodyKind, Callable[[bytes, _Media, list[Upload] | None], Any]] = {
    "auto": _auto,
    "form": _form,
    "json": _json,
    "lines": _lines,
    "xml": _xml,
}


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"The body is larger than {limit:,} bytes")
