"""The lines of a log, cut from what a process writes: bounded in length, masked, and safe to show."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from trigger.inputs.masking import MASK, MIN_SECRET_LENGTH
from trigger.logs import escaped

# The longest line a log holds, in bytes of UTF-8. A longer one becomes several, of which all but the last end in MORE.
MAX_LINE = 8 * 1024
MORE = "…"

# How much of a line without an end is collected, in bytes, before what there is becomes lines.
_PATIENCE = 64 * 1024

_CONTINUATION = range(0x80, 0xC0)  # the bytes of UTF-8 that begin no character (RFC 3629, section 3)


class Secrets:
    """The texts that no line may show. Of one with several lines each counts by itself, as a log is kept by lines."""

    def __init__(self, secrets: Iterable[str]) -> None:
        parts = {part.strip("\r") for secret in secrets for part in secret.split("\n")}
        encoded = [part.encode("utf-8", "replace") for part in parts if len(part) >= MIN_SECRET_LENGTH]
        self._texts = sorted(encoded, key=len, reverse=True)  # one that holds another goes first
        self.longest = len(self._texts[0]) if encoded else 0

    def mask(self, data: bytes) -> bytes:
        """The bytes with MASK in place of each secret."""
        for text in self._texts:
            if text in data:
                data = data.replace(text, MASK.encode())
        return data


class Splitter:
    """Cuts one stream of bytes into whole lines, however it was cut into writes.

    A line that does not end is given out in parts, of a length that stays bounded; `secrets` are masked before that,
    so that none is cut in two.
    """

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets
        self._rest = b""
        self._parts = False  # of the line that `_rest` belongs to, some was given out

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that end with this piece of the stream, without their ends."""
        lines = (self._rest + data).split(b"\n") if self._rest else data.split(b"\n")
        self._rest = lines.pop()
        if lines and self._parts:
            self._parts = False
            if not lines[0].rstrip(b"\r"):
                del lines[0]
        if len(self._rest) > _PATIENCE + self._secrets.longest:
            lines.append(self._part())
        return lines

    def close(self) -> list[bytes]:
        """The last line, if the stream did not end with the end of a line."""
        rest, self._rest, self._parts = self._rest, b"", False
        return [rest] if rest else []

    def _part(self) -> bytes:
        """Return what can be given out of a line that goes on: all but the beginning of what may become a secret."""
        masked = self._secrets.mask(self._rest)
        end = len(masked) - max(0, self._secrets.longest - 1)
        for _ in range(3):
            if 0 < end < len(masked) and masked[end] in _CONTINUATION:
                end -= 1
        self._rest, self._parts = masked[end:], True
        return masked[:end] + MORE.encode()


def shown(lines: list[bytes], secrets: Secrets) -> Iterator[list[str]]:
    """Each line as the log shows it: masked, decoded, without what could steer a terminal, and cut to MAX_LINE."""
    # All at once: a secret holds no end of a line, so masking can't run over one.
    text = secrets.mask(b"\n".join(lines)).decode("utf-8", "replace")
    plain = text.replace("\n", "").isprintable()
    for line in text.split("\n"):
        line = line.removesuffix("\r")
        yield _cut(line if plain else escaped(line, keep="\t"))


def _cut(line: str) -> list[str]:
    if len(line) * 4 <= MAX_LINE or len(encoded := line.encode()) <= MAX_LINE:
        return [line]
    pieces = []
    size = MAX_LINE - len(MORE.encode())
    while len(encoded) > MAX_LINE:
        end = size
        while encoded[end] in _CONTINUATION:
            end -= 1
        pieces.append(encoded[:end].decode() + MORE)
        encoded = encoded[end:]
    return [*pieces, encoded.decode()]
