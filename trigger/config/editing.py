"""Switching one API on or off in the YAML itself, with everything else in it left as it is."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from yaml import MappingNode, Node, ScalarNode

from trigger.config.document import Document
from trigger.config.files import Stamp, stamp
from trigger.config.loading import collector_paused, read_text
from trigger.config.parts import did_you_mean
from trigger.errors import ConfigError, Mistake, UsageError

_KEY = "enabled"
_BY_HAND = "edit it by hand"


def set_enabled(path: Path, module: str, method: str, enabled: bool) -> bool:
    """Write `enabled` of one API into the config at `path`; whether the file had to be changed.

    Comments, quotes and layout stay. A missing key is added as the first of the API's. The file is replaced in one
    step (a symlink's target, not the link) by one with the same mode and owner, and never by one that says anything
    else differently. Raises ConfigError when the file is not as it must be for that, UsageError when there is no such
    API or the file can't be written.
    """
    target = Path(os.path.realpath(path))
    api = ("modules", module, "methods", method)
    word = "true" if enabled else "false"
    with _locked(target, path), collector_paused():
        text, content, state = read_text(target)
        document = Document(str(path), text)
        before = _values(document)
        start, end, replacement = _change(document, text, before, api, word)
        edited = text[:start] + replacement + text[end:]
        if edited == text:
            return False
        _verify(path, edited, before, api, word)
        bom = b"\xef\xbb\xbf" if content.startswith(b"\xef\xbb\xbf") else b""
        _replace(target, path, bom + edited.encode(), state)
    return True


def _change(
    document: Document, text: str, values: dict[str, Any], where: tuple[str, ...], word: str
) -> tuple[int, int, str]:
    """Return where in the text to put what: start, end, replacement."""
    api = _api_node(document, values, where)
    entry = next(((key, value) for key, value in api.value if key.value == _KEY), None)
    if entry is None:
        inherited = _at(values, (*where, _KEY))
        if inherited == word or (inherited is None and word == "false"):
            return 0, 0, ""
        return _insertion(api, text, word)
    key, value = entry
    place = (*where, _KEY)
    if not isinstance(value, ScalarNode):
        raise _refusal(document, place, "is not true or false")
    if value.start_mark.index < key.end_mark.index:
        raise _refusal(document, place, "is an alias of a value elsewhere")
    if "${" in value.value:
        raise _refusal(document, place, "takes its value from outside the file")
    start, end = value.start_mark.index, value.end_mark.index
    quote = value.style if value.style in {"'", '"'} else ""
    if not value.value or text[start:end] != f"{quote}{value.value}{quote}":
        raise _refusal(document, place, "is not plainly true or false")
    return start + len(quote), end - len(quote), word


def _api_node(document: Document, values: dict[str, Any], where: tuple[str, ...]) -> MappingNode:
    """The API's own mapping in the file; refused when it is written elsewhere."""
    _, module, _, method = where
    modules = values.get("modules")
    known = [
        f"{name}/{api}"
        for name, declared in (modules.items() if isinstance(modules, dict) else ())
        if isinstance(declared, dict) and isinstance(declared.get("methods"), dict)
        for api in declared["methods"]
    ]
    wanted = f"{module}/{method}"
    if wanted not in known:
        hint = did_you_mean(wanted, known) or f"; the config {document.file} has {_few(known)}"
        raise UsageError(f"there is no API {wanted!a}{hint}")
    node: Node = document.root
    for depth, step in enumerate(where, 1):
        key, value = document.entries(node)[step]
        own = any(key is candidate for candidate, _ in node.value)
        if not own or value.start_mark.index < key.end_mark.index:
            raise _refusal(document, where[:depth], "is an alias of, or merged from, something elsewhere")
        node = value
    if not isinstance(node, MappingNode):
        raise _refusal(document, where, "is not a mapping")
    return node


def _insertion(api: MappingNode, text: str, word: str) -> tuple[int, int, str]:
    if not api.value:
        brace = text.index("{", api.start_mark.index) + 1
        return brace, brace, f"{_KEY}: {word}"
    mark = api.value[0][0].start_mark
    if api.flow_style:
        return mark.index, mark.index, f"{_KEY}: {word}, "
    newline = "\r\n" if "\r\n" in text else "\n"
    return mark.index, mark.index, f"{_KEY}: {word}{newline}{' ' * mark.column}"


def _verify(path: Path, edited: str, before: dict[str, Any], where: tuple[str, ...], word: str) -> None:
    """Refuse an edit after which the file is broken, or says anything else differently."""
    _, module, _, method = where
    message = f"{module}/{method} can't be changed alone; {_BY_HAND}: other parts use its text"
    failed = ConfigError([Mistake(str(path), 1, 1, "", message)])
    try:
        after = _values(Document(str(path), edited))
    except ConfigError:
        raise failed from None
    _at(before, where)[_KEY] = word
    if after != before:
        raise failed


def _values(document: Document) -> dict[str, Any]:
    """The document with its references as they are written; ConfigError if its form is wrong."""
    values = document.values(str)
    if document.mistakes:
        raise ConfigError(document.mistakes)
    return values


def _at(values: Any, path: tuple[str, ...]) -> Any:
    for step in path:
        values = values.get(step) if isinstance(values, dict) else None
    return values


def _few(names: list[str]) -> str:
    if not names:
        return "no APIs"
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _refusal(document: Document, path: tuple[str, ...], reason: str) -> ConfigError:
    return ConfigError([document.mistake(path, f"{reason}: {_BY_HAND}")])


@contextlib.contextmanager
def _locked(target: Path, path: Path) -> Iterator[None]:
    """Alone with the file among all that edit it by `set_enabled`: the lock is on the file that is to be replaced."""
    while True:
        try:
            descriptor = os.open(target, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            raise UsageError(f"the config file {path} does not exist") from None
        except OSError as error:
            raise UsageError(f"the config file {path} can't be written: {os.strerror(error.errno or 0)}") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            current = stamp(target)
            if current is not None and current.inode == os.fstat(descriptor).st_ino:
                yield
                return
            # Somebody replaced the file while we waited for it: the lock is on the old one.
        finally:
            os.close(descriptor)


def _replace(target: Path, path: Path, content: bytes, state: Stamp) -> None:
    """Put `content` in the place of `target` in one step, unless it was edited since it was read."""
    temporary = None
    try:
        owner = os.stat(target)
        descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        with open(descriptor, "wb") as file:
            file.write(content)
            made = os.fstat(descriptor)
            if (made.st_uid, made.st_gid) != (owner.st_uid, owner.st_gid):
                os.fchown(descriptor, owner.st_uid, owner.st_gid)
            # After the owner: a change of owner may clear bits of the mode.
            os.fchmod(descriptor, owner.st_mode & 0o7777)
            file.flush()
            os.fsync(descriptor)
        if stamp(target) != state:
            raise UsageError(f"the config file {path} was edited at the same moment: try again")
        os.rename(temporary, target)
        temporary = None
        folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise UsageError(f"the config file {path} can't be replaced: {os.strerror(error.errno or 0)}") from None
    finally:
        if temporary is not None:
            os.unlink(temporary)
