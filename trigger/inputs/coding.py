"""How a body is coded: compressed, and in which encoding its text is."""

from __future__ import annotations

import codecs
import zlib

from trigger.errors import BodyTooLarge, InvalidParams, UnsupportedMediaType

# Which labels are known, and the codec of each. What says that it is ASCII may be UTF-8, too.
_CODECS = {
    **dict.fromkeys(("utf-8", "utf8", "us-ascii", "ascii"), "utf-8"),
    **dict.fromkeys(("iso-8859-1", "iso8859-1", "latin1", "latin-1"), "latin-1"),
    **dict.fromkeys(("iso-8859-15", "latin-9"), "iso-8859-15"),
    **dict.fromkeys(("windows-1252", "cp1252"), "cp1252"),
}
_GZIP = zlib.MAX_WBITS | 16


def unpacked(body: bytes, content_encoding: str, limit: int) -> bytes:
    """Return a body as it was before it was compressed: at most `limit` bytes, and no more are ever made of it.

    Raises UnsupportedMediaType for any Content-Encoding but gzip, BodyTooLarge, InvalidParams for broken gzip.
    """
    coding = content_encoding.lower()
    if coding in ("", "identity"):
        return body
    if coding not in ("gzip", "x-gzip"):
        raise UnsupportedMediaType(
            "The Content-Encoding is not supported: send the body in gzip, or as it is",
            headers={"Accept-Encoding": "gzip, identity"},
        )
    if not body:
        return body
    inflater = zlib.decompressobj(_GZIP)
    try:
        made = inflater.decompress(body, limit + 1)
    except zlib.error:
        raise InvalidParams("The body is not valid gzip") from None
    if len(made) > limit:
        raise BodyTooLarge(f"The body is larger than {limit:,} bytes when it is unpacked")
    if not inflater.eof:
        raise InvalidParams("The body is not valid gzip: it ends early")
    if inflater.unused_data:
        raise InvalidParams("The body is not valid gzip: something follows its end")
    return made


def codec(charset: str) -> str:
    """Return Python's name of the encoding that a charset parameter names. Raises UnsupportedMediaType."""
    try:
        return _CODECS[charset.lower()]
    except KeyError:
        raise UnsupportedMediaType(
            "The charset is not supported: send the body in UTF-8, with charset=utf-8 or without"
        ) from None


def text_of(body: bytes, charset: str) -> str:
    """Return a body as text. Raises UnsupportedMediaType for another charset, InvalidParams for what is none of it."""
    try:
        return body.removeprefix(codecs.BOM_UTF8).decode(codec(charset))
    except UnicodeDecodeError:
        raise InvalidParams(f"The body is not text in {charset}") from None
