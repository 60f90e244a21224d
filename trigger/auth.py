"""Who calls: credentials from the headers, and whether they open an API or are an operator's."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets as random
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from trigger.config.model import Api, NoAuth, PasswordAuth, TokenAuth
from trigger.config.secret import Secret, hash_secret
from trigger.errors import CredentialMissing, TooManyRequests, Unauthorized

BEARER = {"WWW-Authenticate": 'Bearer realm="trigger"'}
BASIC = {"WWW-Authenticate": 'Basic realm="trigger", charset="UTF-8"'}

# How many verified passwords a process remembers, so that each costs its scrypt computation once.
REMEMBERED = 1024


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """What a request carries to say who calls; None for what it does not. Bytes, as they were sent."""

    token: bytes | None = None
    user: bytes | None = None
    password: bytes | None = None

    @classmethod
    def of(cls, environ: Mapping[str, Any]) -> Credentials:
        """From the headers of a WSGI request (PEP 3333: their bytes as latin-1 text): `token`, `user` and `password`,
        or their equals `Authorization: Bearer` (RFC 6750) and `Basic` (RFC 7617)."""
        token = _header(environ, "HTTP_TOKEN")
        user = _header(environ, "HTTP_USER")
        password = _header(environ, "HTTP_PASSWORD")
        scheme, _, value = environ.get("HTTP_AUTHORIZATION", "").strip().partition(" ")
        value = value.strip()
        if scheme.lower() == "bearer" and token is None and value:
            token = value.encode("latin-1")
        elif scheme.lower() == "basic" and user is None and password is None:
            user, password = _basic(value)
        return cls(token, user, password)


def _header(environ: Mapping[str, Any], name: str) -> bytes | None:
    """A header's bytes; None when it is absent or empty."""
    return environ.get(name, "").encode("latin-1") or None


def _basic(value: str) -> tuple[bytes | None, bytes | None]:
    try:
        user, colon, password = base64.b64decode(value.encode("latin-1"), validate=True).partition(b":")
    except binascii.Error:
        return None, None
    return (user or None, password or None) if colon else (None, None)


class Guard:
    """Enforces the configured authentication. One for each process; it remembers verified passwords and failures.

    `failures_per_minute` is how many wrong credentials one client address may send to one API before it is answered
    429 for a while; each process counts for itself.
    """

    def __init__(self, failures_per_minute: Callable[[], int]) -> None:
        self._failures_per_minute = failures_per_minute
        self._failures = MovingWindowRateLimiter(MemoryStorage())
        self._key = random.token_bytes(32)
        self._verified: OrderedDict[bytes, None] = OrderedDict()
        self._lock = Lock()
        # What an unknown user's password is compared with, so that unknown and wrong take the same time.
        self._nobody = Secret(random.token_hex(16))
        self._hashed_nobody = Secret(hash_secret(random.token_hex(16)))

    def admit(self, api: Api, credentials: Credentials, client: str) -> str | None:
        """Who the caller is: the name of the token, the user, or None where no authentication is asked for.

        Raises CredentialMissing, Unauthorized, or TooManyRequests after too many failures from address `client`.
        """
        scheme = self._SCHEMES[type(api.auth)]
        return scheme(self, api.auth, credentials, ("api", api.module, api.method, client))

    def operator(self, operators: Mapping[str, Secret], credentials: Credentials, client: str) -> str | None:
        """The operator's name, or None when the credentials are not one's. Raises TooManyRequests."""
        if not operators or credentials.user is None or credentials.password is None:
            return None
        try:
            return self._password(PasswordAuth(operators), credentials, ("operator", client))
        except Unauthorized:
            return None

    def _none(self, auth: NoAuth, credentials: Credentials, failures: tuple[str, ...]) -> None:
        return None

    def _token(self, auth: TokenAuth, credentials: Credentials, failures: tuple[str, ...]) -> str:
        if credentials.token is None:
            raise CredentialMissing("Token is required", headers=BEARER)
        self._check_failures(failures)
        caller = None
        for name, secret in auth.tokens.items():  # all of them, whichever fits: the time tells nothing
            if self._matches(secret, credentials.token):
                caller = name
        if caller is None:
            self._count_failure(failures)
            raise Unauthorized("Token is invalid", headers=BEARER)
        return caller

    def _password(self, auth: PasswordAuth, credentials: Credentials, failures: tuple[str, ...]) -> str:
        if credentials.user is None or credentials.password is None:
            raise CredentialMissing("User/Password is required", headers=BASIC)
        self._check_failures(failures)
        user = credentials.user.decode("utf-8", "replace")
        hashed = any(secret.hashed for secret in auth.users.values())
        nobody = self._hashed_nobody if hashed else self._nobody
        if not self._matches(auth.users.get(user, nobody), credentials.password) or user not in auth.users:
            self._count_failure(failures)
            raise Unauthorized("User/Password is invalid", headers=BASIC)
        return user

    def _matches(self, secret: Secret, value: bytes) -> bool:
        """Whether the value is the secret; one that is stored as a hash is computed once and then remembered."""
        if not secret.hashed:
            return secret.matches(value)
        seal = hmac.digest(self._key, secret.reveal().encode() + b"\0" + value, hashlib.sha256)
        with self._lock:
            if seal in self._verified:
                self._verified.move_to_end(seal)
                return True
        if not secret.matches(value):
            return False
        with self._lock:
            self._verified[seal] = None
            while len(self._verified) > REMEMBERED:
                self._verified.popitem(last=False)
        return True

    def _check_failures(self, failures: tuple[str, ...]) -> None:
        limit = self._limit()
        if not self._failures.test(limit, *failures):
            wait = max(1, round(self._failures.get_window_stats(limit, *failures).reset_time - time.time()))
            raise TooManyRequests(
                "Too many wrong credentials from this address; try again later", headers={"Retry-After": str(wait)}
            )

    def _count_failure(self, failures: tuple[str, ...]) -> None:
        self._failures.hit(self._limit(), *failures)

    def _limit(self) -> RateLimitItemPerMinute:
        return RateLimitItemPerMinute(self._failures_per_minute())

    _SCHEMES: Mapping[type, Callable[..., str | None]] = {NoAuth: _none, TokenAuth: _token, PasswordAuth: _password}

