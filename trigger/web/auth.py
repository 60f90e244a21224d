"""Authenticate callers by a token, a password or a signature, and operators by their passwords.

Right credentials pass, however many wrong ones came from the same address; only wrong ones are counted. While an
address is over the limit, credentials of which only the hash is known have to wait like wrong ones, unless this process
has computed them before: telling costs a scrypt computation.
"""

from __future__ import annotations

import base64
import binascii
import math
import secrets as random
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from trigger.config.model import Api, Auth, NoAuth, PasswordAuth, SignatureAuth, TokenAuth
from trigger.config.secret import Secret
from trigger.errors import BadRequest, CredentialMissing, Throttled, Unauthorized
from trigger.signatures import SignatureMissing, SignatureWrong, signer_of
from trigger.signatures.verifying import Headers, check_present
from trigger.web import sender
from trigger.web.failures import Failures
from trigger.web.passwords import Hashes

BEARER = {"WWW-Authenticate": 'Bearer realm="trigger"'}
BASIC = {"WWW-Authenticate": 'Basic realm="trigger", charset="UTF-8"'}

# What the sign-in of operators is called where an API has its name. No API is called so: theirs have a slash.
OPERATOR = "operator"


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """The credentials of a request, as the bytes that were sent; None for those it does not carry.

    `basic`: user and password came as HTTP Basic, which a browser adds to requests of any page by itself.
    """

    token: bytes | None = None
    user: bytes | None = None
    password: bytes | None = None
    basic: bool = False

    @classmethod
    def of(
        cls, environ: Mapping[str, Any], *, token: tuple[str, bytes | None] = ("", None), with_basic: bool = False
    ) -> Credentials:
        """Read the headers of a WSGI request (PEP 3333: their bytes as latin-1 text): `token`, `user` and `password`,
        or their equals `Authorization: Bearer` (RFC 6750) and `Basic` (RFC 7617).

        `token` is the API's own header for it: its name, and what it holds. `with_basic`: where no token comes in
        another way, the password of Basic is one, which is all that some senders can send.

        Raises BadRequest if one of them comes both ways and differs: none of the two is to be tried in secret.
        """
        name, own = token if token[1] else ("token", _header(environ, "HTTP_TOKEN"))
        user = _header(environ, "HTTP_USER")
        password = _header(environ, "HTTP_PASSWORD")
        # Only HTTP's own white space is stripped. A0 and 85, which are that in latin-1, end words in UTF-8.
        scheme, _, value = environ.get("HTTP_AUTHORIZATION", "").strip(" \t").partition(" ")
        value = value.strip(" \t")
        if scheme.lower() == "bearer" and value:
            return cls(_one(name, own, value.encode("latin-1"), "Bearer"), user, password)
        if scheme.lower() == "basic":
            named, word = _basic(value)
            only_basic = user is None and password is None
            both = _one("user", user, named, "Basic"), _one("password", password, word, "Basic")
            if with_basic:
                return cls(own or word, *both, basic=own is None)
            return cls(own, *both, basic=only_basic)
        return cls(own, user, password)


def _one(name: str, header: bytes | None, other: bytes | None, scheme: str) -> bytes | None:
    """The one that came, or both if they are the same."""
    if header is not None and other is not None and header != other:
        raise BadRequest(f"The header {name} and Authorization: {scheme} say different things; send one of them")
    return other if header is None else header


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
    """Enforces the configured authentication. One for each process."""

    def __init__(self, failures: Failures, hashes: Hashes) -> None:
        self._failures = failures
        self._hashes = hashes
        # Compared with the password of an unknown user, so that unknown and wrong take the same time.
        self._nobody = Secret(random.token_hex(16))

    def admit(self, api: Api, credentials: Credentials, client: str) -> str | None:
        """Return the name of the token or the user, None where the API asks for no authentication.

        Raises CredentialMissing, Unauthorized, Throttled if too many wrong credentials came from address `client`, or
        TooManyRequests if too many passwords are being checked.
        """
        if isinstance(api.auth, NoAuth | SignatureAuth):
            return None
        door, network = f"{api.module}/{api.method}", sender.network(client)
        name = self._recognise(api.auth, credentials, door, network)
        if name is None:
            self._count(door, network)
            if isinstance(api.auth, TokenAuth):
                raise Unauthorized("Token is invalid", headers=BEARER)
            raise Unauthorized("User/Password is invalid", headers=BASIC)
        return name

    def signer(self, api: Api, auth: SignatureAuth, header: Headers, body: Callable[[], bytes], client: str) -> str:
        """Return who has signed a request; the `body` is read when there is a signature.

        Raises CredentialMissing, Unauthorized, and Throttled if too many wrong ones came from address `client`.
        """
        try:
            check_present(auth.scheme, header)
            secrets = {name: secret.reveal() for name, secret in auth.secrets.items()}
            return signer_of(auth.scheme, secrets, header, body(), now=time.time(), tolerance=auth.tolerance)
        except SignatureMissing as error:
            raise CredentialMissing("Signature is required", reason=f"{error}") from None
        except SignatureWrong as error:
            self.count_wrong(api, client)
            raise Unauthorized("Signature is invalid", reason=f"{error}") from None

    def count_wrong(self, api: Api, client: str) -> None:
        """Count a wrong signature, or another wrong word. Raises Throttled when there were too many."""
        self._count(f"{api.module}/{api.method}", sender.network(client))

    def operator(self, operators: Mapping[str, Secret], credentials: Credentials, client: str) -> str | None:
        """Return the operator's name, or None when the credentials are not one's. Raises as `admit` does."""
        if not operators or credentials.user is None or credentials.password is None:
            return None
        network = sender.network(client)
        name = self._recognise(PasswordAuth(operators), credentials, OPERATOR, network)
        if name is None:
            self._count(OPERATOR, network)
        return name

    def reads_as(
        self, api: Api | None, operators: Mapping[str, Secret], credentials: Credentials, client: str
    ) -> Literal["caller", "operator"] | None:
        """Return as whom one may read the records of `api`, None for not at all.

        `api` is None when the config has it no more. The right password of the API is not counted as a wrong one of
        an operator, nor the other way round. Raises TooManyRequests if too many passwords are being checked.
        """
        network, wrong = sender.network(client), []

        def recognised(auth: TokenAuth | PasswordAuth, door: str) -> str | None:
            try:
                name = self._recognise(auth, credentials, door, network)
            except (CredentialMissing, Throttled):
                return None
            if name is None:
                wrong.append(_key(door, network))
            return name

        is_caller = by_password = False
        if api is not None and not isinstance(api.auth, SignatureAuth):  # whose callers can sign no such request
            asked = api.auth
            name = None if isinstance(asked, NoAuth) else recognised(asked, f"{api.module}/{api.method}")
            is_caller = name is not None or isinstance(asked, NoAuth)
            by_password = name is not None and isinstance(asked, PasswordAuth)
            if by_password and name not in operators:
                return "caller"
        if operators and recognised(PasswordAuth(operators), OPERATOR) is not None:
            return "operator"
        if wrong and not by_password:
            self._failures.count(*wrong)
        return "caller" if is_caller else None

    def _recognise(
        self, auth: TokenAuth | PasswordAuth, credentials: Credentials, door: str, network: str
    ) -> str | None:
        """Return whose credentials they are, None when they are wrong. Does not count them."""
        if isinstance(auth, TokenAuth):
            if credentials.token is None:
                raise CredentialMissing("Token is required", headers=BEARER)
            user, value = b"", credentials.token
            secrets: Collection[tuple[str | None, Secret]] = auth.tokens.items()
        else:
            if credentials.user is None or credentials.password is None:
                raise CredentialMissing("User/Password is required", headers=BASIC)
            user, value = credentials.user, credentials.password
            secrets = self._of_user(auth, user.decode("utf-8", "replace"))
        wait = self._failures.wait(_key(door, network))
        found = None
        for name, secret in secrets:  # all of them, whichever fits: the time tells nothing
            if self._hashes.remembers(secret, value) if secret.hashed else secret.matches(value):
                found = name
        if found is not None:
            return found
        hashed = [(name, secret) for name, secret in secrets if secret.hashed]
        if not hashed:
            return None
        if wait > 0:
            raise _throttled(wait)
        return self._hashes.find(hashed, value, door=door, user=user, network=network)

    def _of_user(self, auth: PasswordAuth, user: str) -> list[tuple[str | None, Secret]]:
        """Return the secrets to compare a password with, each with the name of the user whose it is.

        A wrong password costs the same for every user, known or not: one computation if the password of any user is
        stored as a hash, else none.
        """
        secret = auth.users.get(user)
        secrets: list[tuple[str | None, Secret]] = [] if secret is None else [(user, secret)]
        if secret is None or not secret.hashed:
            hashed = next((other for other in auth.users.values() if other.hashed), None)
            if hashed is not None:
                secrets.append((None, self._hashes.decoy(hashed)))
            elif secret is None:
                secrets.append((None, self._nobody))
        return secrets

    def _count(self, door: str, network: str) -> None:
        """Count wrong credentials; raises Throttled when they are too many."""
        wait = self._failures.count(_key(door, network))
        if wait > 0:
            raise _throttled(wait)


def is_forgeable(auth: Auth, credentials: Credentials) -> bool:
    """Return whether any page could have made a browser send a call that `auth` admits: the page needs to know no
    secret when none is asked for, or when the browser adds a password that it remembers."""
    return isinstance(auth, NoAuth) or credentials.basic


def _key(door: str, network: str) -> str:
    return f"{door}:{network}"


def _throttled(wait: float) -> Throttled:
    return Throttled(
        "Too many wrong credentials from this address; try again later", headers={"Retry-After": str(math.ceil(wait))}
    )
