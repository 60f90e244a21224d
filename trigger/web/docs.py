"""The description of the APIs: for programs, and for people.

    GET /openapi.json    OpenAPI 3.1, made from the config in force
    GET /docs            a page that shows it and tries it out: Swagger UI
    GET /docs/<asset>    what the page is made of

Who may read them, `docs` in the config says. Each answer is made once, kept compressed, and has an ETag.
"""

from __future__ import annotations

import gzip
import hashlib
import threading
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

from flask import Response
from werkzeug.datastructures import Headers

from trigger.config.model import Config
from trigger.errors import PathNotFound
from trigger.offload import offload
from trigger.web.admission import admit, operator
from trigger.web.answers import WholeAnswer
from trigger.web.call import ReceivedCall
from trigger.web.openapi import pieces

_OURS = files("trigger.web.openapi") / "page"
_THEIRS = files("flask_swagger_ui") / "dist"
_PAGE = _OURS / "index.html"
_CONSOLE = b'<a href="/console/">Console</a>'  # in the head of the page, where there is a console

# All that is served under /docs/, and where it is.
ASSETS: Mapping[str, tuple[Traversable, str]] = {
    "start.js": (_OURS, "text/javascript; charset=utf-8"),
    "page.css": (_OURS, "text/css; charset=utf-8"),
    "swagger-ui-bundle.js": (_THEIRS, "text/javascript; charset=utf-8"),
    "swagger-ui.css": (_THEIRS, "text/css; charset=utf-8"),
    "icon.svg": (_OURS, "image/svg+xml; charset=utf-8"),
}

# From this size on, what is kept is decompressed away from the loop.
LARGE = 64 * 1024

# Swagger UI's stylesheet has its icons in data: URLs. All else comes from here, and nothing is inline.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True, slots=True)
class _Kept:
    """An answer that is given again and again: gzip's bytes, and what tells its versions apart."""

    compressed: bytes
    tag: str
    media_type: str

    @classmethod
    def of(cls, pieces: Iterable[bytes], media_type: str) -> _Kept:
        digest = hashlib.sha256()
        packer = zlib.compressobj(6, zlib.DEFLATED, 16 + zlib.MAX_WBITS)  # in gzip's format
        compressed = []
        for piece in pieces:
            digest.update(piece)
            compressed.append(packer.compress(piece))
        compressed.append(packer.flush())
        return cls(b"".join(compressed), digest.hexdigest()[:32], media_type)


class Described:
    """The answers of a process: the description of its config in force, and the page's files."""

    def __init__(self) -> None:
        self._document: tuple[str, _Kept] | None = None  # of the config with that digest
        self._files: dict[str, _Kept] = {}
        self._making = threading.Lock()

    def document(self, config: Config) -> _Kept:
        """Return the OpenAPI document of a config."""
        document = self._document
        if document is None or document[0] != config.digest:
            with self._making:
                document = self._document
                if document is None or document[0] != config.digest:
                    document = self._document = (config.digest, offload(_described, config))
        return document[1]

    def page(self, config: Config) -> _Kept:
        """Return the page, which leads to the console where there is one."""
        name = "index.html, with a console" if config.operators else "index.html"
        kept = self._files.get(name)
        if kept is None:
            text = _PAGE.read_bytes().replace(b"<!-- console -->", _CONSOLE if config.operators else b"")
            kept = self._files[name] = _Kept.of([text], "text/html; charset=utf-8")
        return kept

    def asset(self, name: str) -> _Kept:
        """Return one of the page's files. Raises PathNotFound."""
        if name not in ASSETS:
            raise PathNotFound("There is nothing at this path")
        kept = self._files.get(name)
        if kept is None:
            folder, media_type = ASSETS[name]
            kept = self._files[name] = offload(_Kept.of, [(folder / name).read_bytes()], media_type)
        return kept


def openapi(call: ReceivedCall) -> Response:
    """GET /openapi.json"""
    _admit(call)
    return _answer(call, call.service.described.document(call.config))


def docs(call: ReceivedCall) -> Response:
    """GET /docs"""
    _admit(call)
    return _answer(call, call.service.described.page(call.config), {"Content-Security-Policy": POLICY})


def docs_asset(call: ReceivedCall, name: str) -> Response:
    """GET /docs/<name>"""
    _admit(call)
    return _answer(call, call.service.described.asset(name))


def _admit(call: ReceivedCall) -> None:
    admit(call, call.config.docs, _reader)


def _reader(call: ReceivedCall) -> str:
    """Return the operator who is signed in to the console, or whose password comes along."""
    session = call.service.sessions.of_cookies(call.cookies, call.config.operators)
    return operator(call) if session is None else session.operator


def _described(config: Config) -> _Kept:
    return _Kept.of(pieces(config), "application/json")


def _answer(call: ReceivedCall, kept: _Kept, more: Mapping[str, str] | None = None) -> Response:
    """Serve what is kept: gzip if the client accepts it, 304 if its ETag matches."""
    headers = Headers(
        [
            ("ETag", f'W/"{kept.tag}"'),
            ("Cache-Control", "private, no-cache"),  # kept by the browser, and asked for again with its ETag
            ("Vary", "Accept-Encoding"),
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer"),
            *(more or {}).items(),
        ]
    )
    if call.if_none_match.contains_weak(kept.tag):
        return WholeAnswer(status=304, headers=headers)
    body = kept.compressed
    if call.accept_encodings["gzip"]:
        headers["Content-Encoding"] = "gzip"
    else:
        body = offload(gzip.decompress, body) if len(body) > LARGE else gzip.decompress(body)
    headers["Content-Type"] = kept.media_type
    headers["Content-Length"] = str(len(body))
    return WholeAnswer(body, headers=headers)
