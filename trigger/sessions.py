"""Who is signed in to the console: a cookie that the operator's own secret signs, and links that sign in once.

Nothing has to be stored for a session, so the console can say what is wrong also when Redis is away. What signs is made
from the operator's password as the config has it: with another password, or without the operator, no session goes on.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from itsdangerous import BadData, URLSafeTimedSerializer

from trigger.config.secret import Secret

LIFETIME = 12 * 3600  # seconds from signing in to the end of a session
LINK_LIFETIME = 3600  # seconds that a sign-in link may be used

MAX_TOKEN = 1000  # characters: a cookie or key that is longer is none of ours

_COOKIE, _LINK = "console session", "sign-in link"


@dataclass(frozen=True, slots=True)
class Session:
    """An operator's session. `id` tells it from others; `token` is the cookie's value."""

    operator: str
    id: str
    token: str


def begin(operator: str, secret: Secret) -> Session:
    """A new session of an operator, whose secret as the config has it is `secret`."""
    number = secrets.token_urlsafe(16)
    return Session(operator, number, _serializer(secret, _COOKIE).dumps([operator, number]))


def find(token: str, operators: Mapping[str, Secret]) -> Session | None:
    """The session that a cookie stands for; None when it is over, or was not made by us for one of the operators."""
    found = _find(token, operators, _COOKIE, LIFETIME)
    return None if found is None else Session(*found, token)


def link_key(operator: str, secret: Secret) -> str:
    """What a link holds that signs `operator` in, once, within LINK_LIFETIME."""
    return _serializer(secret, _LINK).dumps([operator, secrets.token_urlsafe(16)])


def find_link(key: str, operators: Mapping[str, Secret]) -> tuple[str, str] | None:
    """Whom a link's key signs in, and its number, which must not have been used before; None when it is not valid."""
    return _find(key, operators, _LINK, LINK_LIFETIME)


def _find(token: str, operators: Mapping[str, Secret], purpose: str, lifetime: int) -> tuple[str, str] | None:
    if len(token) > MAX_TOKEN:
        return None
    named = _read(URLSafeTimedSerializer("").loads_unsafe(token)[1])  # who it says it is, before that is checked
    secret = operators.get(named[0]) if named else None
    if secret is None:
        return None
    try:
        return _read(_serializer(secret, purpose).loads(token, max_age=lifetime))
    except BadData:
        return None


def _read(value: Any) -> tuple[str, str] | None:
    """[operator, number], if it is that."""
    if isinstance(value, list) and len(value) == 2 and all(isinstance(part, str) for part in value):
        return value[0], value[1]
    return None


def _serializer(secret: Secret, purpose: str) -> URLSafeTimedSerializer:
    """Signs for one purpose, with HMAC-SHA256 under a key that the secret gives."""
    key = hashlib.sha256(b"trigger\0" + secret.reveal().encode("utf-8", "surrogateescape")).digest()
    return URLSafeTimedSerializer(key, salt=purpose, signer_kwargs={"digest_method": hashlib.sha256})
