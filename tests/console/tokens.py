"""Sign-in links, and tokens that are none of the service's."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from itsdangerous.encoding import base64_encode

from tests.console.site import SIGN_IN
from tests.web.site import OPERATOR
from trigger.config.secret import Secret
from trigger.web.sessions import Sessions


def link(keys: Sessions, operator: str = "admin", secret: str = OPERATOR) -> str:
    """A link that signs in, as `up` prints it."""
    return f"{SIGN_IN}?key={keys.link_key(operator, Secret(secret))}"


def tampered(token: str) -> Iterator[str]:
    content, signed, signature = token.split(".")
    yield f"{content}.{signed}.{signature[:-2]}"
    yield f"{content}.{signed}."
    yield f"{content}.{signed}"
    yield f"{content}..{signature}"
    yield f".{content}.{signed}.{signature}"
    yield f"{content[:-1]}x.{signed}.{signature}"
    yield f"{content}.A{signed}.{signature}"
    yield f"{token}x"
    forged = base64_encode(b'["night","x"]').decode()
    yield f"{forged}.{signed}.{signature}"


NONSENSE = [
    "x",
    ".",
    "..",
    "...",
    "é" * 50,
    "a.b.c",
    "\0",
    '["admin","x"]',
    "x" * 1001,
    "x" * 8000,
    ".".join("x" * 2000),
    "." + base64_encode(zlib.compress(b"[" * 1_000_000)).decode() + ".b.c",
]
