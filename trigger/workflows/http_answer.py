"""The answer to an http step, as data."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from trigger.errors import InvalidParams
from trigger.inputs.strict_json import parse_json
from trigger.logs import escaped

MAX_EXCERPT = 200  # characters of an answer in an error
# Others are no encodings of text, or take long: Python has an "idna" too.
_ENCODINGS = re.compile(
    r"utf-(8|16|32)(-[bl]e)?|utf-8-sig|ascii|iso8859-\d+|cp125\d|koi8-[ru]|gbk?|gb\w+|big5|euc_\w+|shift_jis"
)
_JSON = re.compile(r"application/([\w.-]+\+)?json", re.IGNORECASE)
_CHARSET = re.compile(r";\s*charset=\"?([\w.:-]{1,40})", re.IGNORECASE)


def output_of(status: int, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    """{"status", "headers", "json" or "text"}. The cookies that a peer sets are left out: they are credentials."""
    kept = {name.lower(): headers[name] for name in headers if name.lower() != "set-cookie"}
    kind = kept.get("content-type", "")
    if _JSON.match(kind):
        try:
            return {"status": status, "headers": kept, "json": parse_json(body)}
        except InvalidParams:
            pass  # what it says it is, it is not
    return {"status": status, "headers": kept, "text": _text(body, kind)}


def excerpt(output: Mapping[str, Any], body: bytes, secrets: Iterable[str]) -> str:
    """The beginning of an answer, for an error: in one line, and without what was sent in confidence."""
    kind = output["headers"].get("content-type", "")
    text = _text(body, kind)
    for secret in sorted(secrets, key=len, reverse=True):  # one that holds another goes first
        text = text.replace(secret, "…")
    text = escaped(" ".join(text[:2000].split()))
    return text if len(text) <= MAX_EXCERPT else f"{text[: MAX_EXCERPT - 1]}…"


def named(status: int) -> str:
    """A status with what it stands for."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _text(body: bytes, kind: str) -> str:
    named = _CHARSET.search(kind)
    encoding = "utf-8"
    if named:
        try:
            found = codecs.lookup(named[1]).name
        except LookupError:
            found = encoding
        encoding = found if _ENCODINGS.fullmatch(found) else encoding
    return body.decode(encoding, "replace")
