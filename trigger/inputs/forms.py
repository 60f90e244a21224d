"""Form fields and query parameters: text by name, where a name may come more than once."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote, urlencode

from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder

from trigger.errors import BodyTooLarge, InvalidParams, UnsupportedMediaType

MAX_FIELDS = 1_000
MAX_FIELD_BYTES = 500_000  # of one multipart field

_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")


class Form(dict[str, str | list[str]]):
    """Values that came as text, from a form or a query: a name that came more than once has the list of its values.

    A type of its own because such values are read more leniently than JSON's: see Shape.apply.
    """

    @classmethod
    def of(cls, pairs: Iterable[tuple[str, str]]) -> Form:
        form = cls()
        for name, value in pairs:
            before = form.get(name)
            if before is None:
                form[name] = value
            elif isinstance(before, list):
                before.append(value)
            else:
                form[name] = [before, value]
        return form


def parse_query(query: bytes) -> Form:
    """The parameters of a URL's query (the bytes after "?", as they were sent).

    Raises InvalidParams for more than MAX_FIELDS of them, a broken percent escape or what is not UTF-8.
    """
    if query.count(b"&") >= MAX_FIELDS:
        raise InvalidParams(f"The query has more than {MAX_FIELDS:,} parameters")
    return _parse_pairs(query, "The query")


def as_query(value: Any) -> str:
    """The query of a URL that says the same as a JSON object: a list's items come under its name one by one, and null
    and empty lists are left out.

    Raises InvalidParams for what no query can say: anything but an object, and objects or lists inside of its values.
    """
    if not isinstance(value, dict):
        raise InvalidParams("The input must be an object: its values become query parameters")
    pairs: list[tuple[str, str]] = []
    nested = []
    for name, item in value.items():
        texts = list(_as_texts(item))
        if None in texts:
            nested.append(name)
        pairs += [(name, text) for text in texts if text is not None]
    if nested:
        reason = "a query can't hold an object, nor a list in a list; send it by POST"
        raise InvalidParams("The input can't be sent by GET", details={"fields": {name: [reason] for name in nested}})
    return urlencode(pairs, quote_via=quote)


def parse_urlencoded(body: bytes, encoding: str = "utf-8") -> Form:
    """The fields of an application/x-www-form-urlencoded body (WHATWG URL standard, section 5), which is not empty.

    Raises BodyTooLarge for more than MAX_FIELDS of them, InvalidParams for a broken percent escape or what is not
    in `encoding`.
    """
    if body.count(b"&") >= MAX_FIELDS:
        raise BodyTooLarge(f"The form has more than {MAX_FIELDS:,} fields")
    return _parse_pairs(body, "The form", encoding)


class Upload(NamedTuple):
    """A file of a form. Its name is the sender's, and may be anything."""

    field: str
    filename: str
    content_type: str
    content: bytes


def parse_multipart(body: bytes, boundary: str, uploads: list[Upload] | None = None) -> Form:
    """The fields of a multipart/form-data body (RFC 7578); its files are added to `uploads`, None refuses them.

    Raises BodyTooLarge for more than MAX_FIELDS parts or a field of more than MAX_FIELD_BYTES, UnsupportedMediaType
    for a file that is refused, InvalidParams for what is malformed or not UTF-8.
    """
    if not boundary:
        raise InvalidParams("The Content-Type multipart/form-data needs its boundary parameter")
    try:
        return Form.of(_multipart_fields(body, boundary.encode("ascii"), uploads))
    except RequestEntityTooLarge:
        raise BodyTooLarge(f"The form has more than {MAX_FIELDS:,} parts") from None
    except UnicodeError:
        raise InvalidParams("The form is malformed: its boundary, names and values must be UTF-8 text") from None
    except ValueError:
        raise InvalidParams("The form is malformed: it must be multipart/form-data as RFC 7578 has it") from None


def _as_texts(value: Any) -> Iterator[str | None]:
    """The texts that stand for a value in a query; None for one that none stands for."""
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, dict | list):
            yield None
        elif item is not None:
            yield item if isinstance(item, str) else json.dumps(item)


def _parse_pairs(data: bytes, what: str, encoding: str = "utf-8") -> Form:
    if _BAD_ESCAPE.search(data):
        raise InvalidParams(f"{what} is malformed: after % come two hexadecimal digits; % itself is %25")
    try:
        pairs = parse_qsl(data.decode(encoding), keep_blank_values=True, encoding=encoding, errors="strict")
    except UnicodeDecodeError:
        label = encoding.upper()
        raise InvalidParams(f"{what} is malformed: it must be {label}, also where it is percent-encoded") from None
    return Form.of(pairs)


def _multipart_fields(body: bytes, boundary: bytes, uploads: list[Upload] | None) -> Iterable[tuple[str, str]]:
    """Name and value of each field; raises werkzeug's RequestEntityTooLarge, UnicodeError and ValueError as well."""
    decoder = MultipartDecoder(boundary, max_parts=MAX_FIELDS)
    decoder.receive_data(body)
    decoder.receive_data(None)
    part: Field | File | None = None
    value = bytearray()
    while not isinstance(event := decoder.next_event(), Epilogue):
        if isinstance(event, Field | File):
            if isinstance(event, File) and uploads is None:
                raise UnsupportedMediaType("Files are not accepted: send fields only, a file's content as text in one")
            # None where Content-Disposition names nothing, whatever the annotation says.
            if not event.name:
                raise InvalidParams("The form is malformed: each part needs a name in its Content-Disposition")
            part = event
            value.clear()
        elif isinstance(event, Data) and part is not None:
            value += event.data
            if isinstance(part, Field) and len(value) > MAX_FIELD_BYTES:
                raise BodyTooLarge(f"A form field holds more than {MAX_FIELD_BYTES:,} bytes")
            if event.more_data:
                continue
            if isinstance(part, Field):
                yield part.name, value.decode()
            elif uploads is not None:
                kind = part.headers.get("content-type", "application/octet-stream")
                uploads.append(Upload(part.name, part.filename, kind, bytes(value)))
