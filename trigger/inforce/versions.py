"""The versions of the config, and of its workflows' code, that were in force: kept in the data folder, for bad days.

A process that starts while the file is broken takes the last good one. A worker runs by an earlier one what was
accepted by it, where the one in force lacks the workflow.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path

from trigger.config import Config, Settings
from trigger.config.code import Code, Source
from trigger.config.files import Stamp, stamp
from trigger.workflows.importing import modules_of, packed, unpacked

logger = logging.getLogger("trigger.config")

LAST_GOOD = "config.last-good.yaml"  # its text alone, for people
VERSIONS = "versions"
KEPT = 20
SAID = "config.said"
REFUSED = "refused"
REMEMBERED = 60.0  # seconds


@dataclass(frozen=True, slots=True)
class Version:
    """A version that was in force: the config's text, and the code of its workflows."""

    text: bytes
    code: Code
    references: frozenset[str]  # what its workflows call

    def is_of(self, config: Config) -> bool:
        return (self.text, self.code) == (config.content, config.code)


class Keeper:
    """Keeps the last versions that were in force in the data folder, for its owner only: they may hold secrets."""

    def __init__(self, settings: Settings) -> None:
        self._config = os.path.abspath(settings.config)
        self._data = settings.data
        self._versions = settings.data / VERSIONS

    def keep(self, config: Config) -> None:
        try:
            kept = self.last_good()
            if kept is None or not kept.is_of(config) or not self._file(config.version).exists():
                version = {
                    "config": self._config,
                    "text": config.content.decode("latin-1"),
                    "code": packed(modules_of(config.code)),
                    "references": sorted(config.references),
                }
                self._write(self._file(config.version), json.dumps(version).encode())
                self._write(self._data / LAST_GOOD, config.content)
                self._forget()
        except OSError as error:
            logger.warning("the last good version can't be kept in %s: %s", self._data, error.strerror)

    def _write(self, path: Path, content: bytes) -> None:
        self._data.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        temporary = path.with_name(f"{path.name}.{os.getpid()}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
            temporary.replace(path)
        except OSError:  # a full disk needs its room back
            temporary.unlink(missing_ok=True)
            raise

    def _forget(self) -> None:
        """Removes all but the last KEPT."""
        for path in self._by_age()[:-KEPT]:
            path.unlink(missing_ok=True)

    def _by_age(self) -> list[Path]:
        found = [(at.mtime_ns, path) for path in self._versions.glob("*.json") if (at := stamp(path)) is not None]
        return [path for _, path in sorted(found)]

    def _file(self, version: str) -> Path:
        return self._versions / f"{version}.json"

    def last_good(self) -> Version | None:
        """Return the last one that this config had in force; None when there is none."""
        try:
            return next(filter(None, map(self._read, reversed(self._by_age()))), None)
        except PermissionError:  # a command of a user who may not look into the data folder
            return None

    def earlier(self, version: str) -> Version | None:
        """Return that version; None when it is not kept (any more)."""
        return self._read(self._file(version)) if version.isalnum() else None

    def changed_at(self) -> Stamp | None:
        """Return what tells whether another version has come into force since."""
        return stamp(self._data / LAST_GOOD)

    def _read(self, path: Path) -> Version | None:
        try:
            kept = json.loads(path.read_bytes())
            if kept["config"] != self._config:  # another config, with which this data folder was used
                return None
            found = unpacked(kept["code"])
            code = Code(
                {name: Source(Path(file), is_package, text) for name, (file, is_package, text) in found.items()}
            )
            return Version(kept["text"].encode("latin-1"), code, frozenset(kept["references"]))
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None


class Said:
    """Sees to it that of all processes that share a data folder, and see the same edit, one tells of it.

    The file has a line for each thing that was said: when, of what, and a digest of it.
    """

    def __init__(self, data: Path) -> None:
        self._path = data / SAID

    def first(self, what: bytes, *, of: str) -> bool:
        """Whether this is not what was last said of that; now it is. Where that can't be known, it is said again,
        and so it is after REMEMBERED if it is a refusal: then the service was started anew."""
        digest, now = hashlib.sha256(what).hexdigest(), int(time.time())
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "r+", encoding="ascii", errors="replace") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                lines = [words for words in map(str.split, file) if len(words) == 3 and words[0].isdecimal()]
                kept = [words for words in lines if words[1] != REFUSED or now - int(words[0]) < REMEMBERED]
                if [of, digest] in [words[1:] for words in kept]:
                    return False
                if of != REFUSED:
                    kept = [words for words in kept if words[1] != of]
                text = "".join(" ".join(words) + "\n" for words in (*kept, [str(now), of, digest]))
                os.truncate(file.fileno(), os.pwrite(file.fileno(), text.encode("ascii"), 0))
        except OSError:
            pass
        return True
