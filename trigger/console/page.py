"""How a page of the console is made: a template, the parts of every page, and headers that keep it inert."""

from __future__ import annotations

import gzip
import hashlib
import json
import mimetypes
import time
from collections.abc import Callable, Mapping
from importlib import resources
from typing import Any

from flask import Response
from jinja2 import Environment, PackageLoader, StrictUndefined
from werkzeug.datastructures import Headers

from trigger.console import shown
from trigger.errors import PathNotFound
from trigger.web.admission import only
from trigger.web.answers import WholeAnswer, whole
from trigger.web.call import ReceivedCall, current

# Nothing runs, loads or frames but what is ours: no script, style or event handler in a page itself
# (https://www.w3.org/TR/CSP3/).
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

_HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "same-origin",  # with no-referrer, browsers would send our forms with "Origin: null"
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
}

# A page is compressed if the browser accepts that: a sixth of the bytes, for a millisecond. What is larger, a whole
# record or log, is not: it would keep others waiting for too long.
#
# A secret in a compressed answer can be found by its length by whoever makes a browser ask again and again with guesses
# in the answer (https://www.breachattack.com). Nobody can do that here: a page has no token and no secret in it, and a
# browser sends no session along with what another site makes it ask (SameSite=Strict).
LEVEL, MAX_COMPRESSED = 1, 128 * 1024

# The pages that the head of each page names, by their path.
SECTIONS = {
    "": "Overview",
    "apis": "APIs",
    "workflows": "Workflows",
    "executions": "Executions",
    "refused": "Refused",
    "system": "System",
}

# What a page may say about the change that led to it, by the word in its query (?said=…): never a caller's own text.
SAID = {
    "cancelled": "The execution is cancelled.",
    "told": "Cancelling…",
    "rerun": "This is the new execution.",
    "repeated": "This form was sent before: this is the execution that it started.",
    "again": "The callback is sent again.",
    "resumed": "This is the new execution: it continues after the steps that are done.",
}


class Assets:
    """The static files, each with a name that changes when the file does, so that browsers may keep it for ever."""

    def __init__(self) -> None:
        self._files: dict[str, tuple[bytes, bytes, str]] = {}  # as it is, compressed, its type
        self.names: dict[str, str] = {}
        for entry in resources.files("trigger.console").joinpath("static").iterdir():
            content = entry.read_bytes()
            stem, _, suffix = entry.name.rpartition(".")
            name = f"{stem}.{hashlib.sha256(content).hexdigest()[:12]}.{suffix}"
            kind = mimetypes.guess_type(entry.name)[0] or "application/octet-stream"
            self._files[name] = content, gzip.compress(content, mtime=0), kind
            self.names[entry.name] = f"/console/static/{name}"

    def answer(self, call: ReceivedCall, name: str) -> Response:
        """GET /console/static/<name>"""
        only(call, "GET")
        found = self._files.get(name)
        if found is None:
            raise PathNotFound("There is no such file")
        content, compressed, kind = found
        encoding = {}
        if call.accept_encodings["gzip"]:
            content, encoding = compressed, {"Content-Encoding": "gzip"}
        headers = {
            **encoding,
            "Vary": "Accept-Encoding",
            "Content-Type": f"{kind}; charset=utf-8",
            "Cache-Control": "public, max-age=31536000, immutable",
            "X-Content-Type-Options": "nosniff",
            "Content-Length": str(len(content)),
        }
        return WholeAnswer(content, 200, Headers(headers))


class Pages:
    """Renders the templates of the console. `failures` tells how many executions failed in the last 24 hours; None
    while that is not known."""

    def __init__(self, assets: Assets, failures: Callable[[], int | None]) -> None:
        self._failures = failures
        self._environment = Environment(
            loader=PackageLoader("trigger.console"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.globals.update(sections=SECTIONS, asset=assets.names, **shown.GLOBALS)
        self._environment.filters.update(shown.FILTERS)

    def __call__(
        self, template: str, /, status: int = 200, headers: Mapping[str, str] | None = None, **context: Any
    ) -> Response:
        """Return a page for the present call. `context` are the template's variables, beside those that each has: the
        section's key, the operator who is signed in, the time, how many executions failed lately, the last edit of the
        config if it was refused, and what was just done."""
        call = current()
        text = self._environment.get_template(template).render(
            section=call.path.removeprefix("/console/").partition("/")[0],
            operator=call.operator,
            now=time.time(),
            failures=self._failures() if call.operator else None,
            refused_edit=call.refused_edit,
            said=SAID.get(call.args.get("said", "")),
            **context,
        )
        return _shown(text, "text/html; charset=utf-8", status, headers)


def see_other(path: str, headers: Mapping[str, str] | None = None) -> Response:
    """Send a browser on to a path, after a form was accepted."""
    fields = (("Location", path), ("Cache-Control", "no-store"), ("Content-Length", "0"), *(headers or {}).items())
    return WholeAnswer(b"", 303, Headers(fields))


def data(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Answer a script of ours with JSON."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return _shown(text, "application/json", status, headers)


def plain(text: str, headers: Mapping[str, str] | None = None) -> Response:
    """Text that a browser shows as it is."""
    return _shown(text, "text/plain; charset=utf-8", headers=headers)


def _shown(text: str, content_type: str, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    body = text.encode("utf-8", "replace")
    more = {**_HEADERS, "Vary": "Accept-Encoding", **(headers or {})}
    if len(body) <= MAX_COMPRESSED and current().accept_encodings["gzip"]:
        body, more["Content-Encoding"] = gzip.compress(body, LEVEL, mtime=0), "gzip"
    return whole(body, content_type, status, more)
