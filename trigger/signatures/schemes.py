"""How the senders of webhooks sign: one table, and what a scheme of the operator's own can say."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

Digest = Literal["sha1", "sha256", "sha512"]
Encoding = Literal["hex", "base64"]
# Where the signatures are in the header: it is one; "t=…,v1=…,v1=…" (Stripe); "v1,… v1,…" (Standard Webhooks); or the
# header is the secret itself (GitLab).
Layout = Literal["one", "pairs", "list", "plain"]

# What stands for a part of the request in `Scheme.signed`.
PARTS = ("body", "timestamp", "id")
_PART = re.compile(r"\{([^{}]*)\}")
# Bytes of a key in base64: the specification of Standard Webhooks has an example of 18, and wants 24.
MIN_KEY = 16
# Before a secret of Standard Webhooks, whose key is in base64.
_WHSEC = "whsec_"
# Before the dotted path to a field, where an id is not in a header but in the body.
IN_BODY = "body:"


@dataclass(frozen=True, slots=True)
class Scheme:
    """How a sender signs.

    Args:
        header: the header that the signature is in.
        signed: what is signed, with `{body}`, `{timestamp}` and `{id}` for parts of the request.
        prefix: what the signature begins with; of several in one header, those that begin otherwise don't count.
        timestamp: the header that says when it was signed, in seconds or milliseconds since 1970, or as RFC 3339 has
            it; empty where the sender signs no time, or has it in the signature's own header ("pairs").
        ids: where a delivery's own id is, the first that is there: headers, or `body:PATH` for a field of JSON.
    """

    header: str
    digest: Digest = "sha256"
    encoding: Encoding = "hex"
    prefix: str = ""
    signed: str = "{body}"
    timestamp: str = ""
    ids: tuple[str, ...] = ()
    layout: Layout = "one"

    @property
    def has_time(self) -> bool:
        """Whether the time is signed, too: then what is old can be refused."""
        return "{timestamp}" in self.signed

    @property
    def headers(self) -> tuple[str, ...]:
        """The headers that a call needs."""
        ids = self.ids[:1] if "{id}" in self.signed else ()
        return tuple(filter(None, (self.header, self.timestamp, *ids)))

    def key(self, secret: str) -> bytes:
        """Return the key that a secret stands for. Raises ValueError when it can't be one."""
        if self.layout != "list":
            return secret.encode()
        try:
            key = base64.b64decode(secret.removeprefix(_WHSEC).encode(), validate=True)
        except binascii.Error:
            raise ValueError(f"must be {_WHSEC} and base64, as Standard Webhooks has it") from None
        if len(key) < MIN_KEY:
            raise ValueError(f"must hold at least {MIN_KEY} bytes in base64")
        return key

    def pieces(self, parts: Mapping[str, bytes]) -> bytes:
        """Return the bytes that are signed, made of the parts of a request."""
        if self.signed == "{body}":
            return parts["body"]
        return b"".join(parts[piece] if is_part else piece.encode() for is_part, piece in split(self.signed))


@lru_cache
def split(pattern: str) -> Sequence[tuple[bool, str]]:
    """Return a pattern's pieces: each with whether it is the name of a part, or a text as it is.

    Raises ValueError when it names something else than a part, or not the body.
    """
    words = _PART.split(pattern)
    for name in words[1::2]:
        if name not in PARTS:
            raise ValueError(f"{{{name}}} is none of {{body}}, {{timestamp}} and {{id}}")
    if words[1::2].count("body") != 1:
        raise ValueError("must have {body} once")
    return tuple((number % 2 == 1, word) for number, word in enumerate(words) if word)


SCHEMES: Mapping[str, Scheme] = {
    # docs.github.com: "Validating webhook deliveries"; the id is that of the event, the same when it is sent again.
    "github": Scheme("X-Hub-Signature-256", prefix="sha256=", ids=("X-GitHub-Delivery",)),
    # support.atlassian.com: "Manage webhooks"; the second id is that of Bitbucket Data Center.
    "bitbucket": Scheme("X-Hub-Signature", prefix="sha256=", ids=("X-Request-UUID", "X-Request-Id")),
    # docs.gitea.com: "Webhooks". Forgejo sends the same headers.
    "gitea": Scheme("X-Gitea-Signature", ids=("X-Gitea-Delivery",)),
    # docs.gitlab.com: "Webhooks". Newer ones send an Idempotency-Key, which is the same when it is sent again.
    "gitlab": Scheme("X-Gitlab-Token", layout="plain", ids=("Idempotency-Key", "X-Gitlab-Event-UUID")),
    # docs.stripe.com: "Verify webhook signatures manually".
    "stripe": Scheme("Stripe-Signature", prefix="v1", signed="{timestamp}.{body}", ids=("body:id",), layout="pairs"),
    # shopify.dev: "Verify webhook deliveries", and "Ignore duplicate webhooks".
    "shopify": Scheme("X-Shopify-Hmac-Sha256", encoding="base64", ids=("X-Shopify-Event-Id", "X-Shopify-Webhook-Id")),
    # docs.slack.dev: "Verifying requests from Slack".
    "slack": Scheme(
        "X-Slack-Signature",
        prefix="v0=",
        signed="v0:{timestamp}:{body}",
        timestamp="X-Slack-Request-Timestamp",
        ids=("body:event_id",),
    ),
    # github.com/standard-webhooks: the specification, "Signature scheme".
    "standard": Scheme(
        "webhook-signature",
        encoding="base64",
        prefix="v1",
        signed="{id}.{timestamp}.{body}",
        timestamp="webhook-timestamp",
        ids=("webhook-id",),
        layout="list",
    ),
}
