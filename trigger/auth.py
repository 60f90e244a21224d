"""Who calls: credentials from the headers, and whether they open an API or are an operator's."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import math
import secrets as random
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any, Literal

from trigger.config.model import Api, NoAuth, PasswordAuth, TokenAuth
from trigger.config.secret import Secret, hash_secret
from trigger.errors import CredentialMissing, RequestError, TooManyRequests, Unauthorized

BEARER = {"WWW-Authenticate": 'Bearer realm="trigger"'}
BASIC = {"WWW-Authenticate": 'Basic realm="trigger", charset="UTF-8"'}

# How many verified passwords a process remembers, so that each costs its scrypt computation once.
REMEMBERED = 1024

# Wrong credentials count for so many seconds, and those of so many clients are remembered.
FAILURE_WINDOW = 60.0
FAILING_CLIENTS = 10_000


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
        self._failures = _Failures()
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
        return scheme(self, api.auth, credentials, ("api", api.module, api.method, _network(client)))

    def reads_as(
        self, api: Api | None, operators: Mapping[str, Secret], credentials: Credentials, client: str
    ) -> Literal["caller", "operator"] | None:
        """As whom one may read the records of `api`, which is None when the config has it no more; None: not at all.

        Whoever reads with the API's own password is not counted as a failing operator, nor the other way round:
        otherwise a caller who polls a record would soon be shut out.
        """
        if api is not None and isinstance(api.auth, PasswordAuth):
            failures = ("api", api.module, api.method, _network(client))
            try:
                user = self._password(api.auth, credentials, failures, counted=False)
            except RequestError:
                pass
            else:
                if user not in operators:
                    return "caller"
        try:
            if self.operator(operators, credentials, client) is not None:
                return "operator"
        except TooManyRequests:
            pass  # the API's own credentials may be right
        if api is None:
            return None
        try:
            self.admit(api, credentials, client)
        except RequestError:
            return None
        return "caller"

    def operator(self, operators: Mapping[str, Secret], credentials: Credentials, client: str) -> str | None:
        """The operator's name, or None when the credentials are not one's. Raises TooManyRequests."""
        if not operators or credentials.user is None or credentials.password is None:
            return None
        try:
            return self._password(PasswordAuth(operators), credentials, ("operator", _network(client)))
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
            self._failures.count(failures)
            raise Unauthorized("Token is invalid", headers=BEARER)
        return caller

    def _password(
        self, auth: PasswordAuth, credentials: Credentials, failures: tuple[str, ...], *, counted: bool = True
    ) -> str:
        if credentials.user is None or credentials.password is None:
            raise CredentialMissing("User/Password is required", headers=BASIC)
        self._check_failures(failures)
        user = credentials.user.decode("utf-8", "replace")
        hashed = any(secret.hashed for secret in auth.users.values())
        nobody = self._hashed_nobody if hashed else self._nobody
        if not self._matches(auth.users.get(user, nobody), credentials.password) or user not in auth.users:
            if counted:
                self._failures.count(failures)
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
        wait = self._failures.wait(failures, self._failures_per_minute())
        if wait > 0:
            raise TooManyRequests(
                "Too many wrong credentials from this address; try again later",
                headers={"Retry-After": str(math.ceil(wait))},
            )

    _SCHEMES: Mapping[type, Callable[..., str | None]] = {NoAuth: _none, TokenAuth: _token, PasswordAuth: _password}


class _Failures:
    """When wrong credentials came, by what they were tried on and from where, within the last FAILURE_WINDOW.

    With more than FAILING_CLIENTS the one that failed longest ago is forgotten: memory stays bounded, whoever attacks.
    """

    def __init__(self) -> None:
        self._times: OrderedDict[tuple[str, ...], deque[float]] = OrderedDict()
        self._lock = Lock()

    def count(self, key: tuple[str, ...]) -> None:
        now = time.monotonic()
        with self._lock:
            times = self._times.setdefault(key, deque())
            while times and times[0] <= now - FAILURE_WINDOW:
                times.popleft()
            times.append(now)
            self._times.move_to_end(key)
            if len(self._times) > FAILING_CLIENTS:
                self._times.popitem(last=False)

    def wait(self, key: tuple[str, ...], limit: int) -> float:
        """For how many seconds `key`, which may fail `limit` times in the window, is to wait: 0 or less for not."""
        with self._lock:
            times = self._times.get(key)
            if times is None or len(times) < limit:
                return 0.0
            return times[-limit] + FAILURE_WINDOW - time.monotonic()


def _network(client: str) -> str:
    """What a client can choose its addresses from: with IPv6 a network of 64 bits (RFC 6177), else only the one."""
    if ":" not in client:
        return client
    try:
        address = ipaddress.IPv6Address(client)
    except ValueError:
        return client
    return str(address.ipv4_mapped or ipaddress.IPv6Network((address, 64), strict=False))
