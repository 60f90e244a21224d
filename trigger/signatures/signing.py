"""Signing a request as a sender would, for those who try out an API."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Mapping

from trigger.signatures.schemes import IN_BODY, Scheme


def sign(scheme: Scheme, secret: str, body: bytes, *, now: float, delivery: str) -> Mapping[str, str]:
    """Return the headers that a sender adds to a body: its signature, and what is signed with it.

    Args:
        now: when it is signed, in seconds since 1970.
        delivery: the id of the delivery, where the scheme has it in a header.
    """
    when = str(int(now))
    headers = {}
    if scheme.timestamp:
        headers[scheme.timestamp] = when
    if scheme.ids and not scheme.ids[0].startswith(IN_BODY):
        headers[scheme.ids[0]] = delivery
    if scheme.layout == "plain":
        return {scheme.header: secret, **headers}
    parts = {"body": body, "timestamp": when.encode(), "id": delivery.encode()}
    made = hmac.digest(scheme.key(secret), scheme.pieces(parts), scheme.digest)
    text = made.hex() if scheme.encoding == "hex" else base64.b64encode(made).decode()
    match scheme.layout:
        case "pairs":
            text = f"t={when},{scheme.prefix}={text}"
        case "list":
            text = f"{scheme.prefix},{text}"
        case _:
            text = scheme.prefix + text
    return {scheme.header: text, **headers}
