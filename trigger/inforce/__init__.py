"""The config in force in a long-running process: how it is loaded, taken up again after an edit, and kept for bad days.

An edit with a mistake is refused, and the last good version goes on serving. So that this also holds for a process that
is started anew while the file is broken, the text of the last good version is kept in the data folder.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from trigger.config import Config, Settings, Watcher, load
from trigger.config.code import Code
from trigger.config.files import Stamp
from trigger.config.loading import CheckImports, RefusedError
from trigger.errors import ConfigError, Mistake, StartError
from trigger.inforce.versions import REFUSED, Keeper, Said, Version
from trigger.redis_server import private_redis_url
from trigger.startup import refuse_public_demo
from trigger.workflows.importing import ImportCheck

logger = logging.getLogger("trigger.config")

# Set by `up` for its programs when it has found mistakes in the file that they would not look for at their start.
FROM_LAST_GOOD = "TRIGGER_FROM_LAST_GOOD"


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
    With FROM_LAST_GOOD in `environ` it is the last good version, and what the files say counts as an edit.
    Raises ConfigError when neither version can be used.
    """
    follower = _Follower(settings, environ)
    config = follower.first()
    watcher = follower.watcher = Watcher(
        config, follower.reload, follower.on_change, follower.on_error, follower.on_restored
    )
    watcher.earlier = follower.earlier
    return watcher


class _Follower:
    """Finds the versions for a Watcher, which is known once the first is found, and keeps them."""

    watcher: Watcher

    def __init__(self, settings: Settings, environ: Mapping[str, str]) -> None:
        self._settings = settings
        self._environ = environ
        self._keeper = Keeper(settings)
        self._said = Said(settings.data)
        self._imports = ImportCheck(_folder(settings.config), lambda: self.watcher.meanwhile())

    def first(self) -> Config:
        """Return the version to begin with; ConfigError if there is none."""
        kept = self._keeper.last_good()
        try:
            config = self._first_of(kept)
        except ConfigError as error:
            if kept is None:
                raise
            config = self._kept(kept)
            _say_refused(self._said, error)
        _say_in_force(self._said, config, None)
        self._imports.trust(config.references, config.code)
        return config

    def _first_of(self, kept: Version | None) -> Config:
        if kept is not None and self._environ.get(FROM_LAST_GOOD):
            return self._kept(kept)
        config = self._load(None)
        if kept is not None and kept.code != config.code:
            config = self._load(ImportCheck(_folder(self._settings.config)))
        self._keeper.keep(config)
        return config

    def reload(self, version: str | None) -> Config:
        """Return what is to be in force now: `version`, or what the files say if it is None. Raises ConfigError."""
        try:
            found = self._load(self._check)
            if version in (None, found.version):
                return found
        except ConfigError:
            # Of two quick edits another process may have taken up the first, and we see only the second, broken one:
            # then we follow it. What is wrong with the file is found again at the next look.
            newer = self._keeper.last_good()
            if newer is None or newer.is_of(self.watcher.current):
                raise
            return self._kept(newer)
        newer = self._keeper.last_good()  # the version may have been in force before what the files say now
        return found if newer is None else self._kept(newer)

    def on_change(self, new: Config) -> None:
        """Keep a version that is about to come into force, and log it."""
        self._keeper.keep(new)
        _say_in_force(self._said, new, self.watcher.current)

    def on_error(self, error: ConfigError) -> None:
        """Log an edit that was refused."""
        _say_refused(self._said, error)

    def earlier(self, version: str) -> Config | None:
        """Return a version that was in force before, if it is kept and can still be used."""
        kept = self._keeper.earlier(version)
        try:
            found = None if kept is None else self._kept(kept)
        except ConfigError:  # what its `${…}` name is there no more
            return None
        return found if found is not None and found.version == version else None

    def on_restored(self) -> None:
        """Log that the mistakes of a refused edit are gone, and that nothing else is new."""
        current = self.watcher.current
        if self._said.first(f"{current.digest} {_states(current.stamps)}".encode(), of="restored"):
            logger.info("the config is again as it was before the edit that was refused")

    def _check(self, references: Sequence[str], code: Code) -> Mapping[str, str]:
        tried = self._keeper.last_good()  # by the process that was first to take an edit up
        if tried is not None and tried.code == code and tried.references.issuperset(references):
            self._imports.trust(references, code)
        return self._imports(references, code)

    def _load(self, check: CheckImports | None) -> Config:
        return _load(self._settings, self._environ, check)

    def _kept(self, version: Version) -> Config:
        return _kept(self._settings, self._environ, version)


def _folder(config: Path) -> Path:
    return config.resolve().parent


def _load(settings: Settings, environ: Mapping[str, str], check: CheckImports | None) -> Config:
    config = load(settings.config, environ, check)
    try:
        refuse_public_demo(settings, config)
    except StartError as error:
        raise RefusedError([Mistake(str(settings.config), 1, 1, "", str(error))], config.stamps) from error
    return config


def _kept(settings: Settings, environ: Mapping[str, str], version: Version) -> Config:
    return load(settings.config, environ, text=version.text, code=version.code)


class InForce:
    """Tells when another version has come into force, in whatever process has taken it up first."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._keeper = Keeper(settings)
        self._seen = self._keeper.changed_at()

    def changed(self, environ: Mapping[str, str]) -> Config | None:
        """Return the config in force if it may be another one than at the last call."""
        seen = self._keeper.changed_at()
        if seen == self._seen:
            return None
        self._seen = seen
        kept = self._keeper.last_good()
        try:
            return None if kept is None else _kept(self._settings, environ, kept)
        except ConfigError as error:  # a secret in a file of its own has gone, for one
            logger.warning("the config in force can't be read: %s", error)
            return None


def say_refused(settings: Settings, error: ConfigError) -> None:
    """Log what is wrong with the config, and what is served in its place."""
    _say_refused(Said(settings.data), error)


def _say_refused(said: Said, error: ConfigError) -> None:
    states = error.stamps if isinstance(error, RefusedError) else {}
    if not said.first(f"{error} {_states(states)}".encode("utf-8", "replace"), of=REFUSED):
        return
    logger.error("the config has mistakes and is not taken up; the last good version goes on serving")
    for mistake in error.mistakes:
        logger.error("%s", mistake)


def _states(stamps: Mapping[Path, Stamp | None]) -> str:
    return f"{sorted(stamps.items(), key=str)}"


def _say_in_force(said: Said, new: Config, before: Config | None) -> None:
    """Says what of a version is new: its code, or the config itself, or both. Another process may have seen the two one
    after the other, so each is told for itself. At the start, when there is none before, it is no news."""
    others = {path: at for path, at in new.stamps.items() if path != new.files[0] and path not in new.code.stamps}
    is_code = said.first(b"\0".join(new.code.parts()), of="code")
    is_config = said.first(new.content + _states(others).encode("utf-8", "replace"), of="config")
    if before is None:
        return
    changed = new.code.changed_since(before.code)
    if is_code and changed:
        names = [path.name for path in changed[:5]] + ([f"{len(changed) - 5} more"] if len(changed) > 5 else [])
        logger.info("the edited code is in force: %s, version %s", ", ".join(names), new.version)
    if is_config:
        logger.info("the edited config is in force: version %s, APIs: %d", new.version, len(new.apis))
