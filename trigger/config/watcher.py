"""The config in force: edits of its files are taken up while the service runs, whole or not at all."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from trigger.config.files import Stamp, stamp
from trigger.config.loading import RefusedError
from trigger.config.model import Config
from trigger.errors import ConfigError, Mistake, Unfinished
from trigger.offload import offload

log = logging.getLogger(__name__)

INTERVAL = 0.25  # seconds; an edit is in force two looks later, well within the two seconds promised
VANISHING = 2.0  # seconds for which an edit by which APIs or workflows vanish must stand before it is taken up
_FAILED = "the edited config could not be taken up; the last good one stays in force"
_SETTLING = 0.05  # seconds between two looks of who waits for that


class Edits(NamedTuple):
    """How many edits were taken up, and how many were not, since the process has started."""

    taken: int = 0
    refused: int = 0


class _Held(NamedTuple):
    """A version that is taken up if the files still say the same then, by the monotonic clock."""

    seen: Mapping[Path, Stamp | None]
    config: Config
    due: float


class Watcher:
    """Looks at the config's files, and reloads when they have changed.

    It looks instead of being told by the kernel, since that works alike for renames, symlinks and mounted volumes.
    `reload` loads the config again; given a version, the one that has it if that can be had, for `catch_up`.
    `on_change` is given each new version that is about to be in force, `on_refused` each edit that is not taken, and
    `on_restored` is called when the mistakes of one are gone again, and nothing else is new. All run in the thread that
    polls. When `on_change` raises, the old version stays.
    """

    def __init__(
        self,
        config: Config,
        reload: Callable[[str | None], Config],
        on_change: Callable[[Config], None],
        on_refused: Callable[[ConfigError], None],
        on_restored: Callable[[], None] = lambda: None,
    ) -> None:
        self._current = config
        self._since = time.time()
        self._refused: ConfigError | None = None
        self._edits = Edits()
        self._reload = reload
        self._on_change = on_change
        self._on_refused = on_refused
        self._on_restored = on_restored
        # A file whose state at the load is not known counts as changed.
        self._loaded: Mapping[Path, Stamp | None] = config.stamps
        self._watched = tuple(config.files)
        self._pending: Mapping[Path, Stamp | None] | None = None
        self._held: _Held | None = None
        self._missed: tuple[str, Mapping[Path, Stamp | None]] | None = None  # what catch_up did not find last
        # Is called now and then while a reload takes long, and ends it by raising Unfinished.
        self.meanwhile: Callable[[], None] = lambda: None
        # An earlier version of the config that was in force, if it can be had.
        self.earlier: Callable[[str], Config | None] = lambda _: None
        self._polling = threading.Lock()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def current(self) -> Config:
        """The config in force."""
        return self._current

    @property
    def since(self) -> float:
        """When that config was taken up here, in seconds since 1970."""
        return self._since

    @property
    def refused(self) -> ConfigError | None:
        """The mistakes of the last edit, None when it was taken."""
        return self._refused

    @property
    def edits(self) -> Edits:
        """How many edits were taken up, and how many refused."""
        return self._edits

    def poll(self) -> bool:
        """Look once; whether another version is in force now.

        A change is taken up when two looks in a row found it the same: a file that is being written settles first. One
        by which APIs or workflows vanish must stand for VANISHING longer: it may be a file whose writer pauses.
        """
        with self._polling:
            now = self._seen()
            if now == self._loaded:
                self._pending = self._held = None
                return False
            if now != self._pending:
                self._pending, self._held = now, None
                return False
            if self._held is not None and time.monotonic() < self._held.due:
                return False
            return self._take_up(now)

    def catch_up(self, version: str) -> bool:
        """Look at once for the version that another process has in force; whether it is in force here now, and was not
        before. There it has settled already."""
        with self._polling:
            now = self._seen()
            if now == self._loaded or self._missed == (version, now):
                return False
            self._missed = version, now
            try:
                config = self._reload(version)
            except (ConfigError, Unfinished):
                return False  # which the next look will say
            except Exception:  # so will it this
                log.exception("the version %s of the config could not be looked for", version)
                return False
            if config.version != version or config.digest == self._current.digest:
                return False
            return self._put_in_force(config, now)

    def settle(self, seconds: float) -> bool:
        """Wait, at most so many seconds, until what the files say now was taken up or refused by the thread that polls;
        whether it was. For who has edited a file, and wants to see what has become of that."""
        deadline = time.monotonic() + seconds
        while self._seen() != self._loaded:
            if time.monotonic() > deadline:
                return False
            time.sleep(_SETTLING)
        return True

    def start(self, interval: float = INTERVAL) -> None:
        """Poll every `interval` seconds in a thread of its own, until `stop`. Call it after a fork, not before."""
        if self._thread is not None and self._thread.is_alive():
            return
        self._stopped.clear()
        self._thread = threading.Thread(target=self._run, args=(interval,), name="config-watcher", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread, and wait until it has ended."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _seen(self) -> Mapping[Path, Stamp | None]:
        return {path: stamp(path) for path in self._watched}

    def _run(self, interval: float) -> None:
        while not self._stopped.wait(interval):
            try:
                self.poll()
            except Exception:  # whatever it is, the next look must come: without it no edit would be seen again
                log.exception("the config's files could not be looked at")

    def _take_up(self, now: Mapping[Path, Stamp | None]) -> bool:
        held, self._held = self._held, None
        try:
            config = held.config if held is not None else offload(self._reload, None)
        except ConfigError as error:
            # Files that only the refused version names are watched too: a change of theirs may mend it.
            named = error.stamps if isinstance(error, RefusedError) else {}
            self._refuse(error, {**now, **named})
            return False
        except Unfinished:
            return False
        except Exception as error:  # the service goes on with what it has
            log.exception(_FAILED)
            self._fail(error, now)
            return False
        if held is None and self._vanished(config):
            self._held = _Held(now, config, time.monotonic() + VANISHING)
            return False
        return self._put_in_force(config, now)

    def _vanished(self, config: Config) -> bool:
        """Whether a version lacks APIs or workflows that there are."""
        current = self._current
        return not (current.apis.keys() <= config.apis.keys() and current.workflows.keys() <= config.workflows.keys())

    def _put_in_force(self, config: Config, now: Mapping[Path, Stamp | None]) -> bool:
        """Put a version in force; whether it is another one than before."""
        self._pending = self._held = self._missed = None
        changed = config.digest != self._current.digest
        if changed:
            try:
                self._on_change(config)
            except Exception as error:  # likewise
                log.exception(_FAILED)
                self._fail(error, now)
                return False
            self._current = config
            self._since = time.time()
            self._edits = self._edits._replace(taken=self._edits.taken + 1)
        elif self._refused is not None:
            self._on_restored()
        self._refused = None
        self._watch(config.files, config.stamps)
        return changed

    def _fail(self, error: Exception, now: Mapping[Path, Stamp | None]) -> None:
        """Refuse a version that could not be taken up for a reason that is not in it."""
        reason = f"could not be taken up: {type(error).__name__}; the log says more"
        self._refuse(ConfigError([Mistake(str(self._current.path), 1, 1, "", reason)]), now)

    def _refuse(self, error: ConfigError, stamps: Mapping[Path, Stamp | None]) -> None:
        self._pending = None
        repeated = self._refused is not None and str(self._refused) == str(error)
        self._refused = error
        self._watch((*self._current.files, *stamps), stamps)
        if not repeated:
            self._edits = self._edits._replace(refused=self._edits.refused + 1)
            try:
                self._on_refused(error)
            except Exception:  # telling about it must not end the watch
                log.exception("the refusal of an edited config could not be told")

    def _watch(self, files: tuple[Path, ...], stamps: Mapping[Path, Stamp | None]) -> None:
        self._watched = tuple(dict.fromkeys(files))
        self._loaded = {path: stamps[path] for path in self._watched if path in stamps}
