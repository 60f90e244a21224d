"""The config in force in a long-running process: how it is loaded, taken up again after an edit, and kept for bad days.

An edit with a mistake is refused, and the last good version goes on serving. So that this also holds for a process that
is started anew while the file is broken, the text of the last good version is kept in the data folder.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trigger.config import Config, Settings, Watcher, load
from trigger.config.code import Code, Source
from trigger.config.files import stamp
from trigger.config.loading import CheckImports, RefusedError
from trigger.errors import ConfigError, Mistake, StartError
from trigger.inputs import Shape
from trigger.redis_server import private_redis_url
from trigger.startup import refuse_public_demo
from trigger.workflows.importing import ImportCheck, modules_of, packed, unpacked

logger = logging.getLogger("trigger.config")

LAST_GOOD = "config.last-good.yaml"
VERSIONS = "versions"
KEPT = 20
SAID = "config.said"
REFUSED = "refused"
REMEMBERED = 60.0  # seconds


def redis_url(settings: Settings, config: Config) -> str:
    """Where Redis is: as the environment says, else as the config does, else our private one under the data folder."""
    for named in (settings.redis_url, config.redis):
        if named is not None:
            return named.reveal()
    return private_redis_url(settings.data)


def private_data(settings: Settings, config: Config) -> Path | None:
    """The data folder, if the Redis in use is the private one in it."""
    url = redis_url(settings, config)
    return settings.data if url == private_redis_url(settings.data) else None


def load_checked(settings: Settings, environ: Mapping[str, str], *, imports: bool = True) -> Config:
    """The config, with every check that can be made of it; `imports` says whether with that. Raises ConfigError."""
    return _load(settings, environ, ImportCheck(_folder(settings.config)) if imports else None)


def watch(settings: Settings, environ: Mapping[str, str]) -> Watcher:
    """A watcher with the version in force: what the files say, or the last good version where they have mistakes.

    Imports are tried for workflows that an edit brings in, and for all when it is one of their code; those there at the
    start were checked by whoever started us, unless their code is another one than the last that was in force.
    Raises ConfigError when neither version can be used.
    """
    imports = ImportCheck(_folder(settings.config), lambda: watcher.meanwhile())
    keeper = _Keeper(settings.data)
    said = _Said(settings.data)
    kept = keeper.last_good()
    try:
        config = _load(settings, environ, None)
        if kept is not None and kept.code not in (None, config.code):
            config = _load(settings, environ, ImportCheck(_folder(settings.config)))
        keeper.keep(config)
    except ConfigError as error:
        if kept is None:
            raise
        config = _kept(settings, environ, kept)
        _say_refused(said, error)
    _say_in_force(said, config, None)
    imports.trust(_references(config), config.code)

    def check(references: Sequence[str], code: Code) -> Mapping[str, str]:
        tried = keeper.last_good()  # by the process that was first to take an edit up
        if tried is not None and tried.code == code and tried.references.issuperset(references):
            imports.trust(references, code)
        return imports(references, code)

    def reload(version: str | None) -> Config:
        try:
            found = _load(settings, environ, check)
            if version in (None, found.version):
                return found
        except ConfigError:
            # Of two quick edits another process may have taken up the first, and we see only the second, broken one:
            # then we follow it. What is wrong with the file is found again at the next look.
            newer = keeper.last_good()
            if newer is None or newer.is_of(watcher.current):
                raise
            return _kept(settings, environ, newer)
        newer = keeper.last_good()  # the version may have been in force before what the files say now
        return found if newer is None else _kept(settings, environ, newer)

    def on_change(new: Config) -> None:
        keeper.keep(new)
        _say_in_force(said, new, watcher.current)

    def earlier(version: str) -> Config | None:
        kept = keeper.earlier(version)
        try:
            found = None if kept is None else _kept(settings, environ, kept)
        except ConfigError:  # what its `${…}` name is there no more
            return None
        return found if found is not None and found.version == version else None

    watcher = Watcher(config, reload, on_change, lambda error: _say_refused(said, error))
    watcher.earlier = earlier
    return watcher


def _references(config: Config) -> frozenset[str]:
    """What all workflows call."""
    return frozenset(called for workflow in config.workflows.values() for called in workflow.references)


def _folder(config: Path) -> Path:
    return config.resolve().parent


def _load(settings: Settings, environ: Mapping[str, str], check: CheckImports | None) -> Config:
    config = load(settings.config, environ, check)
    _check_inputs(config)
    try:
        refuse_public_demo(settings, config)
    except StartError as error:
        raise RefusedError([Mistake(str(settings.config), 1, 1, "", str(error))], config.stamps) from error
    return config


def _check_inputs(config: Config) -> None:
    """Compiles each API's declared input, which refuses defaults and bounds that a caller could not send either."""
    mistakes = []
    for api in config.apis.values():
        try:
            Shape(api.input)
        except ValueError as error:
            key = f"modules.{api.module}.methods.{api.method}.input"
            mistakes.append(Mistake(str(config.path), api.line, 1, key, str(error)))
    if mistakes:
        raise RefusedError(mistakes, config.stamps)


def _kept(settings: Settings, environ: Mapping[str, str], version: _Version) -> Config:
    return load(settings.config, environ, text=version.text, code=version.code)


def _say_refused(said: _Said, error: ConfigError) -> None:
    states = error.stamps if isinstance(error, RefusedError) else {}
    if not said.first(f"{error} {sorted(states.items(), key=str)}".encode("utf-8", "replace"), of=REFUSED):
        return
    logger.error("the edit has mistakes and is not taken up; the last good version goes on serving")
    for mistake in error.mistakes:
        logger.error("%s", mistake)


def _say_in_force(said: _Said, new: Config, before: Config | None) -> None:
    """Says what of a version is new: its code, or the config itself, or both. Another process may have seen the two one
    after the other, so each is told for itself. At the start, when there is none before, it is no news."""
    others = [(path, at) for path, at in new.stamps.items() if path != new.files[0] and path not in new.code.stamps]
    is_code = said.first(b"\0".join(new.code.parts()), of="code")
    is_config = said.first(new.content + f"{sorted(others, key=str)}".encode("utf-8", "replace"), of="config")
    if before is None:
        return
    changed = new.code.changed_since(before.code)
    if is_code and changed:
        names = [path.name for path in changed[:5]] + ([f"{len(changed) - 5} more"] if len(changed) > 5 else [])
        logger.info("the edited code is in force: %s, version %s", ", ".join(names), new.version)
    if is_config:
        logger.info("the edited config is in force: %d APIs, version %s", len(new.apis), new.version)


class _Said:
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
                file.seek(0)
                file.truncate()
                file.writelines(" ".join(words) + "\n" for words in (*kept, [str(now), of, digest]))
        except OSError:
            pass
        return True


@dataclass(frozen=True, slots=True)
class _Version:
    """A version that was in force: the config's text, and the code of its workflows."""

    text: bytes
    code: Code | None = None  # None where an earlier release has kept it
    references: frozenset[str] = frozenset()  # what its workflows call

    def is_of(self, config: Config) -> bool:
        return (self.text, self.code or config.code) == (config.content, config.code)


class _Keeper:
    """Keeps the last versions that were in force in the data folder, for its owner only: they may hold secrets."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._versions = data / VERSIONS

    def keep(self, config: Config) -> None:
        try:
            kept = self.last_good()
            if kept is None or not kept.is_of(config) or not self._file(config.version).exists():
                version = {
                    "text": config.content.decode("latin-1"),
                    "code": packed(modules_of(config.code)),
                    "references": sorted(_references(config)),
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
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        temporary.replace(path)

    def _forget(self) -> None:
        """Removes all but the last KEPT."""
        for path in self._by_age()[:-KEPT]:
            path.unlink(missing_ok=True)

    def _by_age(self) -> list[Path]:
        found = [(at.mtime_ns, path) for path in self._versions.glob("*.json") if (at := stamp(path)) is not None]
        return [path for _, path in sorted(found)]

    def _file(self, version: str) -> Path:
        return self._versions / f"{version}.json"

    def last_good(self) -> _Version | None:
        """The last one; None when there is none."""
        try:
            text = (self._data / LAST_GOOD).read_bytes()
        except OSError:
            return None
        newest = self._by_age()[-1:]
        version = _read(newest[0]) if newest else None
        return version if version is not None and version.text == text else _Version(text)

    def earlier(self, version: str) -> _Version | None:
        """That version; None when it is not kept (any more)."""
        return _read(self._file(version)) if version.isalnum() else None


def _read(path: Path) -> _Version | None:
    try:
        kept = json.loads(path.read_bytes())
        found = unpacked(kept["code"])
        code = Code({name: Source(Path(file), is_package, text) for name, (file, is_package, text) in found.items()})
        return _Version(kept["text"].encode("latin-1"), code, frozenset(kept["references"]))
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
