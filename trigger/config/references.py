"""`${NAME}`, `${NAME:-default}` and `${file:PATH}`: what the config takes from outside itself."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from trigger.config.files import Stamp, read, stamp

MAX_FILE = 1024 * 1024  # bytes
_REFERENCE = re.compile(r"\$\$\{|\$\{([^}]*)(\}?)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Quoted(str):
    """A text that was quoted in the YAML: in a free value it is text, whatever it looks like."""

    __slots__ = ()


class Replaced(Quoted):
    """A text that came, wholly or in part, from outside the file: it may be secret, so it is shown nowhere."""

    __slots__ = ()


class References:
    """Replaces references, and remembers all it looked at: the environment's values and the files."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self._folder = folder
        self._environ = environ
        self._values: dict[str, str | None] = {}
        self._contents: dict[Path, bytes | None] = {}
        self._texts: dict[str, str] = {}
        self.stamps: dict[Path, Stamp | None] = {}

    def replace(self, text: str) -> str:
        """`text` with its references replaced; ValueError names all that can't be.

        What a reference gives is not searched for further references.
        """
        wrong: list[str] = []

        def value(match: re.Match[str]) -> str:
            if match[0] == "$${":
                return "${"
            if not match[2]:
                wrong.append("a ${ is not closed by a }; write $${ where the characters themselves are meant")
                return ""
            try:
                return self._value(match[1])
            except ValueError as error:
                wrong.append(str(error))
                return ""

        result = _REFERENCE.sub(value, text)
        if wrong:
            raise ValueError("; ".join(wrong))
        if not result.isascii():
            try:
                result.encode("utf-8")
            except UnicodeEncodeError:
                raise ValueError("what the reference gives is not UTF-8 text") from None
        return Replaced(result)

    def digest(self, content: bytes) -> str:
        """A SHA-256, in hex, of the config's own bytes and of everything its references gave."""
        whole = hashlib.sha256()
        for part in (content, *self._parts()):
            whole.update(len(part).to_bytes(8, "big") + part)
        return whole.hexdigest()

    def _parts(self) -> list[bytes]:
        parts = []
        for name, value in sorted(self._values.items()):
            parts += [b"env", name.encode(), b"" if value is None else b"=" + value.encode("utf-8", "surrogateescape")]
        for path, content in sorted(self._contents.items()):
            parts += [b"file", bytes(path), b"" if content is None else b"=" + content]
        return parts

    def _value(self, reference: str) -> str:
        if reference.startswith("file:"):
            return self._file(reference.removeprefix("file:"))
        name, separator, default = reference.partition(":-")
        if not _NAME.fullmatch(name):
            # What stands between the braces is not shown: it may be a piece of a secret.
            raise ValueError(
                "this is no reference: write ${NAME}, ${NAME:-default} or ${file:PATH}, "
                "or $${ where the characters themselves are meant"
            )
        value = self._values[name] = self._environ.get(name)
        if separator:
            return value or default
        if value is None:
            raise ValueError(
                f"the environment variable {name} is not set: set it, or give a default as ${{{name}:-default}}"
            )
        return value

    def _file(self, name: str) -> str:
        if name in self._texts:
            return self._texts[name]
        if not name.strip():
            raise ValueError("${file:} names no file: write ${file:PATH}")
        path = self._folder / name
        try:
            content, self.stamps[path] = read(path, MAX_FILE)
        except ValueError as error:
            self.stamps[path] = stamp(path)
            self._contents[path] = None
            raise ValueError(f"the file {name!r} {error}; it was looked for as {str(path)!r}") from None
        self._contents[path] = content
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError:
            raise ValueError(f"the file {name!r} is not UTF-8 text") from None
        # One line end goes: editors and `echo` add it, and it is never meant.
        self._texts[name] = text.removesuffix("\n").removesuffix("\r") if text.endswith("\n") else text
        return self._texts[name]
