"""`${NAME}`, `${NAME:-default}` and `${file:PATH}`: what the config takes from outside itself."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path

from trigger.config.files import Stamp, read, stamp
from trigger.templates import literal

MAX_FILE = 1024 * 1024  # bytes
_REFERENCE = re.compile(r"\$\$\{|\$\{([^}]*)(\}?)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NAMES_ONE = re.compile(rf"{_NAME.pattern}$|file:")
_EXPRESSIONS = (("{{", "}}"), ("{%", "%}"))


class Quoted(str):
    """A text that was quoted in the YAML: in a free value it is text, whatever it looks like."""

    __slots__ = ()


class Replaced(Quoted):
    """A text that came, wholly or in part, from outside the file: it may be secret, so it is shown nowhere.

    `outside` is what came from there; `written` is the text with the name of each reference instead, which may be
    shown. `template` is the text where templates are read: what came from outside is data in it, whatever it holds;
    None when it stands inside an expression, where no data can. `unset`: a reference in it could not be replaced.
    """

    __slots__ = ("outside", "template", "unset", "written")
    written: str
    outside: tuple[str, ...]
    template: str | None
    unset: bool

    @property
    def reference(self) -> str:
        """The reference that the text is, empty where it is more than one: the rest of it may be secret."""
        return self.written if _REFERENCE.fullmatch(self.written) else ""


class References:
    """Replaces references, and remembers all it looked at: the environment's values and the files."""

    def __init__(self, folder: Path, environ: Mapping[str, str], *, complete: bool = True) -> None:
        """`complete`: one that can't be replaced is a mistake; else it stays as it is written, and is in `unset`."""
        self._folder = folder
        self._environ = environ
        self._complete = complete
        self.unset: dict[str, None] = {}
        self._values: dict[str, str | None] = {}
        self._contents: dict[Path, bytes | None] = {}
        self._texts: dict[str, str] = {}
        self.stamps: dict[Path, Stamp | None] = {}

    @property
    def variables(self) -> tuple[str, ...]:
        """The names of the environment's variables that a value was taken from."""
        return tuple(sorted(name for name, value in self._values.items() if value))

    @property
    def path(self) -> str:
        """The PATH that programs are looked up on."""
        return self._environ.get("PATH") or os.defpath

    def replace(self, text: str) -> str:
        """`text` with its references replaced; ValueError names all that can't be.

        What a reference gives is not searched for further references.
        """
        wrong: list[str] = []
        pieces: list[tuple[str, str]] = []  # what the file says, what a reference after it gives
        outside: list[str] = []
        written, end, unset = "", 0, False
        for match in _REFERENCE.finditer(text):
            before, value = text[end : match.start()], ""
            end = match.end()
            if match[0] == "$${":
                before += "${"
                written += before
            elif not match[2]:
                wrong.append("a ${ is not closed by a }; write $${ where the characters themselves are meant")
            else:
                written += f"{before}${{{match[1].partition(':-')[0]}}}"
                try:
                    value, given = self._value(match[1])
                    outside += [value] if given else []
                except ValueError as error:
                    if self._complete or not _NAMES_ONE.match(match[1]):
                        wrong.append(str(error))
                    else:
                        self.unset[match[1]] = None
                        value, unset = match[0], True
            pieces.append((before, value))
        if wrong:
            raise ValueError("; ".join(wrong))
        pieces.append((text[end:], ""))
        result = Replaced("".join(before + value for before, value in pieces))
        if not result.isascii():
            try:
                result.encode("utf-8")
            except UnicodeEncodeError:
                raise ValueError("what the reference gives is not UTF-8 text") from None
        result.written = written + text[end:]
        result.outside = tuple(outside)
        result.unset = unset
        result.template = _as_template(pieces)
        return result

    def digest(self, content: bytes, *more: bytes) -> str:
        """A SHA-256, in hex, of the config's own bytes, of everything its references gave, and of what is more."""
        whole = hashlib.sha256()
        for part in (content, *self._parts(), *more):
            whole.update(len(part).to_bytes(8, "big") + part)
        return whole.hexdigest()

    def _parts(self) -> list[bytes]:
        parts = []
        for name, value in sorted(self._values.items()):
            parts += [b"env", name.encode(), b"" if value is None else b"=" + value.encode("utf-8", "surrogateescape")]
        for path, content in sorted(self._contents.items()):
            parts += [b"file", bytes(path), b"" if content is None else b"=" + content]
        return parts

    def _value(self, reference: str) -> tuple[str, bool]:
        """Return the value of a reference, and whether it is from outside the file: a default is not."""
        if reference.startswith("file:"):
            return self._file(reference.removeprefix("file:")), True
        name, separator, default = reference.partition(":-")
        if not _NAME.fullmatch(name):
            # What stands between the braces is not shown: it may be a piece of a secret.
            raise ValueError(
                "this is no reference: write ${NAME}, ${NAME:-default} or ${file:PATH}, "
                "or $${ where the characters themselves are meant"
            )
        value = self._values[name] = self._environ.get(name)
        if separator:
            return value or default, bool(value)
        if value is None:
            raise ValueError(
                f"the environment variable {name} is not set: start the service with it, "
                f"take the value from a file as ${{file:PATH}}, or give a default as ${{{name}:-default}}"
            )
        return value, True

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


def _as_template(pieces: list[tuple[str, str]]) -> str | None:
    """The text of the pieces, with braces in what references gave written so that they begin no template."""
    result = said = ""
    for before, value in pieces:
        said += before
        if value and any(said.rfind(begin) > said.rfind(end) for begin, end in _EXPRESSIONS):
            return None
        if before.endswith("{") and value.startswith(("{", "%", "#")):
            # With the brace before it, the value's first character would begin a template.
            result += before.rstrip("{") + literal(before[len(before.rstrip("{")) :])
        else:
            result += before
        result += literal(value)
    return result
