"""Secrets: tokens, passwords and URLs that hold one, which must never be shown."""

from __future__ import annotations

import hashlib
import hmac
import json

from werkzeug.security import check_password_hash, generate_password_hash

HASH_PREFIX = "scrypt:"

# The credentials of the shipped config.yaml. They are public: whoever uses one listens on loopback only.
DEMO_VALUES = frozenset({"123456"})
MIN_LENGTH = 16
MIN_SIGNING = 24  # who has one signed request can try secrets without asking here


class Secret:
    """A secret as the config gives it: its text, or its scrypt hash as `python -m trigger hash` prints it.

    It shows itself in no repr, str or format; `reveal` is the one way to the text.
    """

    __slots__ = ("_digest", "_text", "reference", "unset")

    def __init__(self, text: str, *, reference: str = "", unset: bool = False) -> None:
        """`reference`: where the text came from, as ${NAME}. `unset`: the text is only that, since it could not be
        replaced: commands that need not know the secret let it pass."""
        self._text = text
        self.reference = reference
        self.unset = unset
        self._digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()

    @property
    def hashed(self) -> bool:
        """Whether only the hash of the secret is known here."""
        return self._text.startswith(HASH_PREFIX)

    @property
    def demo(self) -> bool:
        """Whether this is one of the credentials that the repository publishes."""
        return any(self.matches(value.encode()) for value in DEMO_VALUES)

    @property
    def short(self) -> bool:
        """Whether the text is known and shorter than a secret should be."""
        return not self.hashed and len(self._text) < MIN_LENGTH

    def matches(self, value: bytes) -> bool:
        """Whether `value`, the bytes a caller sent, is this secret.

        Takes the same time wherever the two differ: digests are compared, by hmac.compare_digest.
        A hashed secret costs one scrypt computation, tens of milliseconds.
        """
        if self.hashed:
            try:
                return check_password_hash(self._text, value.decode("utf-8"))
            except UnicodeDecodeError:
                return False
        return hmac.compare_digest(self._digest, hashlib.sha256(value).digest())

    def reveal(self) -> str:
        """The text, for the one place that must have it (a Redis URL)."""
        return self._text

    def __repr__(self) -> str:
        return "Secret('…')"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._digest, other._digest)

    def __hash__(self) -> int:
        return hash(self._digest)


def hash_secret(text: str) -> str:
    """The scrypt hash of a secret (werkzeug.security), to be stored in the config instead of its text."""
    return generate_password_hash(text, method="scrypt")


def written_forms(text: str) -> set[str]:
    """The texts in which a secret may turn up in a message: as it is, and as repr or JSON quotes it, once or twice: as
    in an error that quotes an answer which is JSON."""
    forms = {text}
    for _ in range(2):
        forms |= {form for one in forms for form in _quoted(one)}
    return forms


def _quoted(text: str) -> tuple[str, ...]:
    # How repr writes an apostrophe depends on what else it quotes with it.
    apart, together = repr(text)[1:-1], repr(f'{text}"')[1:-2]
    return apart, together, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]
