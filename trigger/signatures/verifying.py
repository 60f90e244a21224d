"""Whether a request was signed with one of the secrets that its sender may have."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from trigger.signatures.schemes import IN_BODY, Scheme

# Gives a header's bytes, None where the request has none.
Headers = Callable[[str], bytes | None]

# More signatures in one header are not looked at: a sender that changes its secret sends two.
MAX_SIGNATURES = 16
# A longer one, or one that is not printable ASCII, is no id of a delivery.
MAX_ID = 255
_MILLISECONDS = 10**11  # seconds since 1970 reach this in the year 5138


class SignatureMissing(Exception):
    """The request has no signature. The message names the header that is missing."""


class SignatureWrong(Exception):
    """The signature is not right. The message says why, for operators only."""


class Signer(NamedTuple):
    """Who has signed a request: the name of the secret, and the delivery's own id if it has one."""

    name: str
    delivery: str | None


def check_present(scheme: Scheme, headers: Headers) -> None:
    """Raise SignatureMissing unless the request has what its signature needs. Costs no look at the body."""
    for name in scheme.headers:
        if not headers(name):
            raise SignatureMissing(f"the header {name} is missing")


def verify(
    scheme: Scheme, secrets: Mapping[str, str], headers: Headers, body: bytes, *, now: float, tolerance: float | None
) -> Signer:
    """Return who has signed a request, and the id of its delivery.

    Args and errors are those of `signer_of`.
    """
    name = signer_of(scheme, secrets, headers, body, now=now, tolerance=tolerance)
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    return Signer(name, delivery(scheme, headers, value))


def signer_of(
    scheme: Scheme, secrets: Mapping[str, str], headers: Headers, body: bytes, *, now: float, tolerance: float | None
) -> str:
    """Return the name of the secret with which a request is signed.

    Args:
        secrets: by the names of those whose they are. All are tried, whichever fits.
        now: the time, in seconds since 1970.
        tolerance: for how many seconds before and after `now` the signed time counts; None for any.

    Raises:
        SignatureMissing: the request has none.
        SignatureWrong: no secret fits, or the time is too far away.
    """
    check_present(scheme, headers)
    signatures, inside = _signatures(scheme, headers(scheme.header) or b"")
    when = headers(scheme.timestamp) if scheme.timestamp else inside
    parts = {"body": body, "timestamp": when or b"", "id": headers(scheme.ids[0]) or b"" if scheme.ids else b""}
    signed = scheme.pieces(parts)
    found = None
    for name, secret in secrets.items():
        key = scheme.key(secret)
        wanted = _digest(key) if scheme.layout == "plain" else hmac.digest(key, signed, scheme.digest)
        for signature in signatures:
            if hmac.compare_digest(wanted, signature):
                found = name
    if found is None:
        raise SignatureWrong("no secret matches")
    if scheme.has_time and tolerance is not None:
        _check_time(when or b"", now, tolerance)
    return found


def delivery(scheme: Scheme, headers: Headers, value: Any) -> str | None:
    """Return the own id of a delivery whose body stands for `value`; None where it has none that can be one."""
    for place in scheme.ids:
        if place.startswith(IN_BODY):
            found = _field(value, place.removeprefix(IN_BODY))
        else:
            found = (headers(place) or b"").decode("latin-1")
        if 1 <= len(found) <= MAX_ID and found.isascii() and found.isprintable():
            return found
    return None


def _digest(secret: bytes) -> bytes:
    """What is compared in place of a secret itself: it tells nothing of the secret's length."""
    return hashlib.sha256(secret).digest()


def _signatures(scheme: Scheme, given: bytes) -> tuple[list[bytes], bytes | None]:
    """Return the signatures in a header, decoded, and the time that is in it, too."""
    if scheme.layout == "plain":
        return [_digest(given)], None
    if scheme.layout == "one":
        if not given.startswith(scheme.prefix.encode()):
            raise SignatureWrong(f"{scheme.header} does not begin with {scheme.prefix}")
        texts, when = [given[len(scheme.prefix) :]], None
    elif scheme.layout == "pairs":
        pairs = [pair.strip().partition(b"=") for pair in given.split(b",")]
        texts = [value for name, _, value in pairs if name == scheme.prefix.encode()]
        times = [value for name, _, value in pairs if name == b"t"]
        if len(times) != 1:
            raise SignatureWrong(f"{scheme.header} does not say the time once, as t=…")
        when = times[0]
    else:
        pairs = [word.partition(b",") for word in given.split(b" ")]
        texts, when = [value for name, _, value in pairs if name == scheme.prefix.encode()], None
    if len(texts) > MAX_SIGNATURES:
        raise SignatureWrong(f"{scheme.header} has more than {MAX_SIGNATURES} signatures")
    signatures = [found for text in texts if (found := _decoded(scheme, text)) is not None]
    if not signatures:
        raise SignatureWrong(f"{scheme.header} has no {scheme.digest} in {scheme.encoding}")
    return signatures, when


def _decoded(scheme: Scheme, text: bytes) -> bytes | None:
    """Return the digest that a text stands for; None when it is none."""
    try:
        found = binascii.unhexlify(text) if scheme.encoding == "hex" else base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        return None
    return found if len(found) == hashlib.new(scheme.digest).digest_size else None


def _check_time(when: bytes, now: float, tolerance: float) -> None:
    seconds = _seconds(when)
    if seconds is None:
        raise SignatureWrong("its time is neither seconds since 1970 nor as RFC 3339 has it")
    age = now - seconds
    if abs(age) > tolerance:
        raise SignatureWrong(f"signed {age:.0f} s ago" if age > 0 else f"signed {-age:.0f} s ahead")


def _seconds(when: bytes) -> float | None:
    """Return a time in seconds since 1970: it is that, in milliseconds, or RFC 3339; None for anything else."""
    if when.isdigit() and len(when) <= 16:
        number = int(when)
        return number / 1000 if number >= _MILLISECONDS else number
    try:
        moment = datetime.fromisoformat(when[:41].decode("ascii"))
        return moment.timestamp() if moment.tzinfo else None
    except (ValueError, OverflowError):
        return None


def _field(value: Any, path: str) -> str:
    """Return the text or whole number at a dotted path in JSON; empty where there is none."""
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
