"""The URL of an http step: what a caller sends stays where the config puts it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from trigger.errors import TemplateError
from trigger.templates import pieces

HIDDEN = "***"

_IN_HOST = re.compile(r"https?://[^/?#]*", re.IGNORECASE)
_LABEL = re.compile(r"[A-Za-z0-9_-]*")
_PATH = re.compile(r"[^/?#]*//[^/?#]*([^?#]*)")


def url_of(text: str, context: Mapping[str, Any], fixed: frozenset[str]) -> str:
    """Return the rendered URL. `context` and `fixed` are as for `templates.pieces`.

    What a caller may have a say in is one segment of the path, or one value in the query. After `urlencode`, which
    leaves "/" as it is, it may be several segments. What a URL begins with is taken as it is, for it is then all of
    somebody else's choice, as in "{{ steps.order.output.headers.location }}".

    Raises TemplateError for a segment that is "..", "." or empty, and for more than one name in the host.
    """
    written = plain = ""  # the URL, and the same with a harmless word in place of what was chosen
    chosen = []
    for piece in pieces(text, context, fixed):
        part = piece.text
        if piece.is_chosen and written:
            chosen.append(piece.source)
            if not _IN_HOST.fullmatch(written):
                part = part if piece.is_quoted else quote(part, safe="", errors="replace")
            elif not _LABEL.fullmatch(part):
                raise TemplateError(
                    f"{piece.source}: in a URL's host there can only be letters, digits, '-' and '_' of a value"
                )
            plain += "x"
        else:
            plain += part
        written += part
    if _odd_segments(written) > _odd_segments(plain):
        raise TemplateError(f"{' '.join(chosen)}: a segment of a URL's path must not be empty, '.' or '..'")
    return written


def shown(url: str) -> str:
    """Return the URL without what may be secret in it: user, password and query."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return HIDDEN
    user, at, host = parts.netloc.rpartition("@")
    query = HIDDEN if parts.query else ""
    return parts._replace(netloc=f"{user and HIDDEN}{at}{host}", query=query, fragment="").geturl()


def _odd_segments(url: str) -> int:
    path = _PATH.match(url)
    return sum(unquote(segment) in ("", ".", "..") for segment in path[1].split("/")) if path else 0
