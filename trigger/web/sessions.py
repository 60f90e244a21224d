"""Who is signed in to the console: a signed cookie, and links that sign in once.

What signs is made from a key that Redis keeps, and from the operator's secret as the config has it: with another
password, or without the operator, no session goes on; and who has only read the config, or only a hash in it, can make
none. Of a session itself nothing is stored. So the console can say what is wrong also when Redis is away, for those who
are signed in.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass

from itsdangerous import BadData, URLSafeTimedSerializer
from redis import Redis
from redis.exceptions import RedisError

from trigger.config.secret import Secret
from trigger.store.signing import is_spent, make_signing_key, signing_key, spend

LIFETIME = 12 * 3600  # seconds from signing in to the end of a session
LINK_LIFETIME = 3600  # seconds that a sign-in link may be used
SKEW = 60  # seconds by which the clocks of two machines may differ, of which one signs and the other reads

COOKIE = "trigger_session"
MAX_TOKEN = 1000  # characters: a cookie or key that is longer is none of ours

_COOKIE, _LINK = "console session", "sign-in link"
_LIFETIMES = {_COOKIE: LIFETIME, _LINK: LINK_LIFETIME}


@dataclass(frozen=True, slots=True)
class Session:
    """An operator's session; `id` tells it from others."""

    operator: str
    id: str


class Sessions:
    """Begins, finds and ends sessions. One for each process: it remembers the key for when Redis is away."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._known: bytes | None = None

    def get_ready(self) -> None:
        """Asks Redis for the key, so that it is known when Redis goes away before this process has used it."""
        try:
            self._ask()
        except RedisError:
            pass  # it is asked again when it is needed

    def begin(self, operator: str, secret: Secret) -> str:
        """A new session of an operator, whose secret as the config has it is `secret`: its token, the cookie's value.

        Raises RedisError where the key can't be asked for and is not known.
        """
        return self._sign(_COOKIE, operator, secret)

    def find(self, token: str, operators: Mapping[str, Secret]) -> Session | None:
        """The session that a token stands for; None when it is over, or was not begun by us for one of the operators.

        While Redis is away it can't be said whether it was signed out of: then it counts.
        """
        try:
            session = _read(_COOKIE, token, operators, self._ask())
            return None if session is None or is_spent(self._redis, session.id) else session
        except RedisError:
            return _read(_COOKIE, token, operators, self._known)

    def of_cookies(self, cookies: Mapping[str, str], operators: Mapping[str, Secret]) -> Session | None:
        """The session that a request's cookies stand for; None when nobody is signed in with them. As `find`."""
        token = cookies.get(COOKIE, "")
        return self.find(token, operators) if token else None

    def end(self, session: Session) -> None:
        """The session is over, wherever its token is. Raises RedisError."""
        spend(self._redis, session.id, LIFETIME + SKEW)

    def link_key(self, operator: str, secret: Secret) -> str:
        """Return the key of a link that signs `operator` in, once, within LINK_LIFETIME. Raises as `begin` does."""
        return self._sign(_LINK, operator, secret)

    def use_link(self, key: str, operators: Mapping[str, Secret]) -> str | None:
        """Whom a link's key signs in, this once; None when it is not valid, or no longer. Raises RedisError."""
        found = _read(_LINK, key, operators, self._ask())
        if found is None or not spend(self._redis, found.id, LINK_LIFETIME + SKEW):
            return None
        return found.operator

    def _ask(self) -> bytes | None:
        self._known = signing_key(self._redis)
        return self._known

    def _sign(self, purpose: str, operator: str, secret: Secret) -> str:
        try:
            self._known = make_signing_key(self._redis)
        except RedisError:
            if self._known is None:
                raise
        return _signer(purpose, secret, self._known).dumps([operator, secrets.token_urlsafe(16)])


def _read(purpose: str, token: str, operators: Mapping[str, Secret], key: bytes | None) -> Session | None:
    """Return the content of a token, if it is signed by one of the operators' secrets and young enough.

    Nothing of it is unpacked before its signature is seen to be right.
    """
    if key is None or len(token) > MAX_TOKEN:
        return None
    for operator, secret in operators.items():
        try:
            content, signed = _signer(purpose, secret, key).loads(token, return_timestamp=True)
        except BadData:
            continue
        age = time.time() - signed.timestamp()
        if content[0] == operator and -SKEW <= age <= _LIFETIMES[purpose]:
            return Session(*content)
    return None


def _signer(purpose: str, secret: Secret, key: bytes) -> URLSafeTimedSerializer:
    """Signs for one purpose, with HMAC-SHA256."""
    own = hmac.digest(key, secret.reveal().encode("utf-8", "surrogateescape"), hashlib.sha256)
    return URLSafeTimedSerializer(own, salt=purpose, signer_kwargs={"digest_method": hashlib.sha256})
