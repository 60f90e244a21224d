"""The schema of a step's `http`: the request it sends, and what answer is a success."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from marshmallow import ValidationError

from trigger import templates
from trigger.config import hints
from trigger.config.declarations import choice
from trigger.config.forms import Named, accepts, form_of, items, or_reference
from trigger.config.parts import Scalar, Strict, Value, checked, each, loaded
from trigger.config.scalars import integer, size
from trigger.config.texts import data, one_or_more, template

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
BODIES = ("json", "form", "body")
MAX_REDIRECTS = 20
MAX_ANSWER = 8 * 1024 * 1024  # bytes
STATUSES = (100, 599)

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
_TEMPLATE = re.compile(r"\{\{|\{%")
_SCHEME = re.compile(r"https?://", re.IGNORECASE)
_CLIENTS_OWN = frozenset({"connection", "content-length", "transfer-encoding"})
_RANGE = "must be the lowest and the highest status that is a success, such as [200, 299]"


@accepts(lambda: Named("http", _HTTP))
def request(value: Any) -> dict[str, Any]:
    """The keys of `http`, as HttpAction takes them."""
    given, wrong = loaded(_HTTP.load, value) if isinstance(value, dict) else (_HTTP.load(value), {})
    bodies = [key for key in BODIES if key in value]
    if len(bodies) > 1:
        wrong.setdefault(bodies[1], [f"a request has one body: {' and '.join(bodies)} are given"])
    method = given.get("method", "GET")
    if bodies and method in {"GET", "HEAD"} and "method" not in wrong:
        wrong.setdefault(bodies[0], [f"a {method} has no body: say method: POST, or the like"])
    return {"method": "GET", **checked(given, wrong)}


@accepts({"type": "string", "pattern": r"^[Hh][Tt][Tt][Pp][Ss]?://|^\{\{|\$\{"})
def _url(text: str) -> str:
    begin = _TEMPLATE.search(text)
    plain = text[: begin.start()] if begin else text
    if not plain.isprintable() or " " in plain:
        raise ValueError("holds a blank, a line end or another character that a URL can't have")
    if plain or not begin:
        scheme = _SCHEME.match(plain)
        if not scheme:
            raise ValueError("must begin with http:// or https://")
        if not begin or plain[scheme.end() :]:
            _check_host(plain)
    read = template(text)
    if templates.is_template(read) and templates.parts(read) is None:
        raise ValueError(
            "can't hold {% %}, for what comes out of it can't be quoted: write {{ 'one' if input.a else 'other' }}"
        )
    return read


def _check_host(text: str) -> None:
    try:
        url = urlsplit(text)
        known = url.hostname and url.port != 0
    except ValueError:
        known = False
    if not known:
        raise ValueError("names no host: it must look like https://host/path")


def _header(name: str) -> str | None:
    """Return what is wrong with the name of a header, if anything."""
    if not _TOKEN.fullmatch(name):
        return "the name of a header has letters, digits and !#$%&'*+-.^_`|~ (RFC 9110), no blank and no line end"
    return f"{name} is set by the service itself" if name.lower() in _CLIENTS_OWN else None


def _header_value(text: str) -> str:
    if any((character < " " and character != "\t") or character == "\x7f" for character in text):
        raise ValueError("holds a line end or another control character, which no header may have")
    try:
        text.encode("latin-1")
    except UnicodeEncodeError:
        raise ValueError("holds a character that no header can carry") from None
    return template(text)


@accepts(lambda: form_of(_EACH_HEADER))
def _headers(value: Any) -> dict[str, str]:
    headers: dict[str, str] = _EACH_HEADER(value)
    seen: set[str] = set()
    for name in headers:
        if name.lower() in seen:
            raise ValidationError({name: ["is given twice: the case of a header's name makes no difference"]})
        seen.add(name.lower())
    return headers


@accepts(lambda: {**items(_STATUS, 2), "maxItems": 2})
def _expect(value: Any) -> tuple[int, int]:
    if not isinstance(value, list) or len(value) != 2:
        raise ValidationError(_RANGE)
    low, high = (_STATUS.deserialize(item) for item in value)
    if low > high:
        raise ValidationError(f"{_RANGE}: {low} is higher than {high}")
    return low, high


def _any_name(name: str) -> str | None:
    return None if name else "the name is empty"


_STATUS: Scalar = Scalar(integer(*STATUSES))
_EACH_HEADER: Callable[[Any], dict[str, str]] = each(Scalar(_header_value), _header)
_PAIRS = each(Value(one_or_more), _any_name)


_HTTP: Strict = Strict.from_dict(
    {
        "method": Scalar(choice(METHODS), or_reference({"enum": METHODS}), metadata={"default": "GET"}),
        "url": Scalar(_url, required=True),
        "headers": Value(_headers),
        "query": Value(_PAIRS),
        "json": Value(data, allow_none=True, metadata={"description": "The body, as JSON"}),
        "form": Value(_PAIRS),
        "body": Scalar(template),
        "expect": Value(
            _expect,
            metadata={
                "default": [200, 299],
                "description": "The lowest and the highest status that is a success",
            },
        ),
        "redirects": Scalar(integer(0, MAX_REDIRECTS), metadata={"default": 0}),
        "max_size": Scalar(size(1, MAX_ANSWER), metadata={"default": "1 MiB"}),
    }
)(
    hints.HTTP,
    {"not": {"anyOf": [{"required": [one, other]} for one in BODIES for other in BODIES if one < other]}},
)
