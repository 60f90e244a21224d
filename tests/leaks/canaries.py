"""Secrets that are found again wherever they turn up, however they were quoted or encoded on the way."""

from __future__ import annotations

import base64
import random
import string
import zlib
from binascii import Error as NotBase64
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

# What every form of quoting changes: repr, JSON, URLs, HTML, shells.
ODD = "'\"<&\\ä/"

_LETTERS = string.ascii_lowercase + string.digits
_HALF = 12  # letters that are never there by chance


@dataclass(frozen=True, slots=True)
class Canary:
    """A secret: `name` says what it is, `text` holds a core of letters that no quoting changes."""

    name: str
    core: str
    text: str

    def is_in(self, data: bytes) -> bool:
        """Whether it, or half of it, is in there: as it is, in hex, or within something in base64."""
        return any(form in data for form in _forms(self.core.encode()))


@cache
def _forms(core: bytes) -> tuple[bytes, ...]:
    """Return how a core may look."""
    # Where it begins within three bytes decides how it looks in base64.
    encoded = [base64.b64encode(b"\0" * before + core)[4 if before else 0 : -4] for before in range(3)]
    return core[:_HALF], core[_HALF:], core.hex().encode(), *encoded


class Canaries:
    """All secrets of one service, by what they are."""

    def __init__(self) -> None:
        self._all: dict[str, Canary] = {}

    def make(self, name: str, odd: str = "") -> str:
        """A new secret, with `odd` characters in its middle and at its end."""
        core = "".join(random.SystemRandom().choices(_LETTERS, k=2 * _HALF))
        self._all[name] = Canary(name, core, f"{core}{odd}")
        return self._all[name].text

    def know(self, name: str, text: str) -> None:
        """A secret that the service has made."""
        self._all[name] = Canary(name, text[-2 * _HALF :], text)

    def __getitem__(self, name: str) -> str:
        return self._all[name].text

    def found(self, data: bytes | str, allowed: frozenset[str] = frozenset()) -> list[str]:
        """The names of those that are in there, also packed, but for the `allowed`."""
        given = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
        looked_at = list(_unpacked(given))
        return [
            canary.name
            for canary in self._all.values()
            if canary.name not in allowed and any(canary.is_in(piece) for piece in looked_at)
        ]

    @property
    def names(self) -> MappingProxyType[str, Canary]:
        return MappingProxyType(self._all)


def _unpacked(data: bytes) -> Iterator[bytes]:
    """The bytes, and what they hold if they are packed as RQ packs a job and its result."""
    yield data
    try:
        decoded = base64.b64decode(data, validate=True)
    except (NotBase64, ValueError):
        decoded = data
    else:
        yield decoded
    try:
        yield zlib.decompress(decoded)
    except zlib.error:
        pass
