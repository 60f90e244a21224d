"""The config in force in a long-running process: how it is loaded, taken up again after an edit, and kept for bad days.

An edit with a mistake is refused, and the last good version goes on serving. So that this also holds for a process that
is started anew while the file is broken, the text of the last good version is kept in the data folder.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path

from trigger.config import Config, Settings, Watcher, load
from trigger.errors import ConfigError, Mistake, StartError
from trigger.inputs import Shape
from trigger.redis_server import private_redis_url
from trigger.startup import refuse_public_demo
from trigger.workflows.importing import ImportCheck

logger = logging.getLogger("trigger.config")

LAST_GOOD = "config.last-good.yaml"
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
    """A watcher with the config in force: the file's, or the last good version where the file has mistakes.

    With FROM_LAST_GOOD in `environ` it is the last good version, and the file counts as an edit. Imports are tried for
    workflows that an edit brings in; those there at the start were checked by whoever started us.
    Raises ConfigError when neither version can be used.
    """
    check = ImportCheck(_folder(settings.config))
    keeper = _Keeper(settings)
    text = keeper.last_good() if environ.get(FROM_LAST_GOOD) else None
    try:
        config = _load(settings, environ, None) if text is None else load(settings.config, environ, text=text)
        keeper.keep(config)
    except ConfigError as error:
        text = keeper.last_good()
        if text is None:
            raise
        config = load(settings.config, environ, text=text)
        say_refused(error)
    check.trust(called for workflow in config.workflows.values() for called in workflow.references)

    def reload() -> Config:
        try:
            return _load(settings, environ, check)
        except ConfigError:
            # Of two quick edits another process may have taken up the first, and we see only the second, broken one:
            # then we follow it. What is wrong with the file is found again at the next look.
            newer = keeper.last_good()
            if newer is None or newer == watcher.current.content:
                raise
            return load(settings.config, environ, text=newer)

    def on_change(new: Config) -> None:
        keeper.keep(new)
        logger.info("the edited config is in force: %d APIs, version %s", len(new.apis), new.digest[:12])

    watcher = Watcher(config, reload, on_change, say_refused)
    return watcher


def _folder(config: Path) -> Path:
    return config.resolve().parent


def _load(settings: Settings, environ: Mapping[str, str], check: ImportCheck | None) -> Config:
    config = load(settings.config, environ, check)
    _check_inputs(config)
    try:
        refuse_public_demo(settings, config)
    except StartError as error:
        raise ConfigError([Mistake(str(settings.config), 1, 1, "", str(error))]) from error
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
        raise ConfigError(mistakes)


def say_refused(error: ConfigError) -> None:
    """Log what is wrong with the config, and what is served in its place."""
    logger.error("the config has mistakes and is not taken up; the last good version goes on serving")
    for mistake in error.mistakes:
        logger.error("%s", mistake)


def last_good(settings: Settings) -> bytes | None:
    """Return the text of the last good version of the config; None where none is known."""
    return _Keeper(settings).last_good()


class LastGood:
    """Tells when another version of the config has come into force, in whatever process has taken it up first."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._keeper = _Keeper(settings)
        self._seen = self._keeper.stamp()

    def changed(self, environ: Mapping[str, str]) -> Config | None:
        """Return the config in force if it may be another one than at the last call."""
        seen = self._keeper.stamp()
        if seen == self._seen:
            return None
        self._seen = seen
        text = self._keeper.last_good()
        try:
            return None if text is None else load(self._settings.config, environ, text=text)
        except ConfigError as error:  # a secret in a file of its own has gone, for one
            logger.warning("the config in force can't be read: %s", error)
            return None


class _Keeper:
    """Keeps the text of the last good config in the data folder, for its owner only: it may hold secrets.

    Its first line says whose text it is, so that the config of another path never takes its place.
    """

    def __init__(self, settings: Settings) -> None:
        self._path = settings.data / LAST_GOOD
        self._head = f"# The last good version of {settings.config.absolute()}\n".encode("utf-8", "surrogateescape")

    def keep(self, config: Config) -> None:
        try:
            if self.last_good() == config.content:
                return
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            temporary = self._path.with_name(f"{LAST_GOOD}.{os.getpid()}")
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(self._head + config.content)
            temporary.replace(self._path)
        except OSError as error:
            logger.warning("the last good config can't be kept in %s: %s", self._path.parent, error.strerror)

    def last_good(self) -> bytes | None:
        try:
            text = self._path.read_bytes()
        except OSError:
            return None
        return text.removeprefix(self._head) if text.startswith(self._head) else None

    def stamp(self) -> object:
        """Return what tells one state of the file from another."""
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size
