"""The description of the APIs: for programs, and for people.

    GET /openapi.json    OpenAPI 3.1, made from the config in force
    GET /docs            a page that shows it and tries it out: Swagger UI
    GET /docs/<asset>    what the page is made of

Who may read them, `docs` in the config says. What is answered is made once, kept compressed, and has an ETag.
"""

from __future__ import annotations

import gzip
import hashlib
import threading
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

from flask import Response, g, request
from werkzeug.datastructures import Headers

from trigger.config.model import Config
from trigger.errors import PathNotFound
from trigger.offload import offload
from trigger.web.admission import admit
from trigger.web.answers import Answer
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
    """Something that is answered again and again: gzip's bytes, and what tells its versions apart."""

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


class DocsViews:
    """The views. `operator` tells the name of the operator whose request is being answered; it raises the refusal where
    it is nobody's."""

    def __init__(self, operator: Callable[[], str]) -> None:
        self._operator = operator
        self._document: tuple[str, _Kept] | None = None  # of the config with that digest
        self._kept: dict[str, _Kept] = {}
        self._making = threading.Lock()

    def openapi(self) -> Response:
        """GET /openapi.json"""
        config = self._admit()
        kept = self._document
        if kept is None or kept[0] != config.digest:
            kept = self._made(config)
        return _answer(kept[1])

    def page(self) -> Response:
        """GET /docs"""
        config = self._admit()
        name = "index.html, with a console" if config.operators else "index.html"
        kept = self._kept.get(name)
        if kept is None:
            text = _PAGE.read_bytes().replace(b"<!-- console -->", _CONSOLE if config.operators else b"")
            kept = self._kept[name] = _Kept.of([text], "text/html; charset=utf-8")
        return _answer(kept, {"Content-Security-Policy": POLICY})

    def asset(self, name: str) -> Response:
        """GET /docs/<name>"""
        self._admit()
        found = ASSETS.get(name)
        if found is None:
            raise PathNotFound("There is nothing at this path")
        folder, media_type = found
        return _answer(self._asset(folder / name, media_type))

    def _admit(self) -> Config:
        """The config in force, if what it says lets the caller read."""
        config: Config = g.config
        admit(config.docs, self._operator)
        return config

    def _made(self, config: Config) -> tuple[str, _Kept]:
        with self._making:
            kept = self._document
            if kept is None or kept[0] != config.digest:
                kept = self._document = (config.digest, offload(_described, config))
            return kept

    def _asset(self, file: Traversable, media_type: str) -> _Kept:
        kept = self._kept.get(file.name)
        if kept is None:
            kept = self._kept[file.name] = offload(_Kept.of, [file.read_bytes()], media_type)
        return kept


def _described(config: Config) -> _Kept:
    return _Kept.of(pieces(config), "application/json")


def _answer(kept: _Kept, more: Mapping[str, str] | None = None) -> Response:
    """What is kept, compressed for who takes that; 304 for who has it."""
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
    if request.if_none_match.contains_weak(kept.tag):
        return Answer(status=304, headers=headers)
    body = kept.compressed
    if request.accept_encodings["gzip"]:
        headers["Content-Encoding"] = "gzip"
    else:
        body = offload(gzip.decompress, body) if len(body) > LARGE else gzip.decompress(body)
    headers["Content-Type"] = kept.media_type
    headers["Content-Length"] = str(len(body))
    return Answer(body, headers=headers)
