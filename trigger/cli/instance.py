"""Which instance of the service a command is about, where its Redis is, and what its config says.

The first of these that is there:

    1. what the options --config and --data say, before the command's name
    2. what TRIGGER_CONFIG, TRIGGER_DATA and REDIS_URL say
    3. config.yaml and data/ in the current folder: where the private Redis of that runs, or where there is no 4.
    4. /etc/trigger, as the systemd units have it: config.yaml, `environment`, and the data in /var/lib/trigger

The systemd units run in the code's folder, which has a config.yaml of its own: so it counts only if it is in use.

Reading and acting need Redis only: neither mistakes in the config nor variables that this shell does not have keep
anybody from that.
"""

from __future__ import annotations

import os
import pwd
import re
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from redis import Redis
from redis.exceptions import RedisError

from trigger.config import Config, Settings, load
from trigger.config.loading import declared_redis
from trigger.config.secret import Secret
from trigger.errors import ConfigError, StartError
from trigger.inforce.versions import Keeper
from trigger.invocation import ours, typed
from trigger.redis_server import private_redis_url, socket_path

SYSTEM = Path("/etc/trigger")
SYSTEM_DATA = Path("/var/lib/trigger")
ENVIRONMENT = "environment"  # the file in SYSTEM that the units read
CONFIG = "config.yaml"

VARIABLES = ("TRIGGER_CONFIG", "TRIGGER_DATA", "REDIS_URL")

LOOK_SECONDS = 0.05  # between two looks of who waits for an edit

_ASSIGNMENT = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*)=(.*?)\s*")


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance of the service, as a command finds it.

    `environ` is what replaces the references in its config; `about` says in a line which it is, None for that of the
    current folder. `unread` is a file that may say more, and that this user may not read.
    """

    settings: Settings
    environ: Mapping[str, str] = field(repr=False)
    about: str | None = None
    unread: Path | None = None

    def config(self) -> tuple[Config, str | None]:
        """The config as it is now, or where it has mistakes, the last good version; and what is to be said of that.

        Raises ConfigError when neither can be used.
        """
        path = self.settings.config
        try:
            return load(path, self.environ, complete=False), None
        except ConfigError as error:
            text = self._last_good()
            if text is None:
                raise
            config = load(path, self.environ, text=text, complete=False)
            many = f"{len(error.mistakes)} mistakes" if len(error.mistakes) > 1 else "a mistake"
            return config, f"{path} has {many}, which `{ours()} check` tells; this is by the last good version"

    def redis_url(self) -> str:
        """Where Redis is. Raises ConfigError when only the config knows, and can't be understood."""
        declared = self.settings.redis_url or self._declared_redis()
        return private_redis_url(self.settings.data) if declared is None else declared.reveal()

    def connect(self) -> Redis:
        """A client of the service's Redis. Raises StartError when it can't be reached, which says what to do."""
        from trigger.store.queueing import connect  # imports more than those need who do not connect

        url = self.redis_url()
        redis = connect(url, reply_timeout=5.0)
        try:
            redis.ping()
        except RedisError as error:
            raise StartError(self._unreachable(url, error)) from error
        return redis

    def takes_up(self, seconds: float) -> bool:
        """Whether the running service works with what the config's file says now, or does within so many seconds."""
        deadline = time.monotonic() + seconds
        while (last_good := self._last_good()) is not None:
            if last_good == self.settings.config.read_bytes():
                return True
            if time.monotonic() > deadline:
                break
            time.sleep(LOOK_SECONDS)
        return False

    def _last_good(self) -> bytes | None:
        kept = Keeper(self.settings).last_good()
        return None if kept is None else kept.text

    def _declared_redis(self) -> Secret | None:
        try:
            return declared_redis(self.settings.config, self.environ)
        except ConfigError:
            text = self._last_good()
            if text is not None:
                return declared_redis(self.settings.config, self.environ, text)
            if _listens(self.settings.data) or _closed(socket_path(self.settings.data)):
                return None  # which is said to be closed to this user when it is tried
            raise

    def _unreachable(self, url: str, error: RedisError) -> str:
        more = f"; {self.unread} may say where, and this user may not read it: sudo {typed()}" if self.unread else ""
        if url.startswith("unix:"):
            path = Path(unquote(urlsplit(url).path))
            closed = _closed(path)
            if closed is not None:
                owner = _owner(closed)
                return (
                    f"the user {_name(os.geteuid())} may not use Redis' socket {path}: {closed} is {owner}'s; run the "
                    f"command as {owner}: sudo -u {owner} {typed()}"
                )
            if not path.exists():
                return f"Redis can't be reached: there is no socket {path}; is the service running?{more}"
        return f"Redis can't be reached: {error}; is the service running?{more}"


def find(
    environ: Mapping[str, str],
    *,
    config: Path | None = None,
    data: Path | None = None,
    starting: bool = False,
) -> Instance:
    """The instance that a command is about; `config` and `data` are its options, `starting` whether it starts one:
    then it is never that of SYSTEM, whose units say all in variables. Raises UsageError for a wrong variable."""
    given = {name: str(path) for name, path in (("TRIGGER_CONFIG", config), ("TRIGGER_DATA", data)) if path is not None}
    said = [name for name in VARIABLES if name in given or environ.get(name)]
    unread = None
    if not said and not starting and os.path.isdir(SYSTEM) and not _listens(Settings().data):
        written, unread = _written(SYSTEM / ENVIRONMENT)
        defaults = {"TRIGGER_CONFIG": str(SYSTEM / CONFIG), "TRIGGER_DATA": str(SYSTEM_DATA)}
        environ = {**environ, **defaults, **written}
        said = ["TRIGGER_CONFIG"]
    environ = {**environ, **given}
    settings = Settings.from_environ(environ)
    about = f"the instance of {settings.config}, with its data in {settings.data}" if said else None
    if about and settings.redis_url is not None:
        about = f"the instance of {settings.config}, with the Redis that REDIS_URL names"
    return Instance(settings, environ, about, unread)


def _listens(data: Path) -> bool:
    """Whether the private Redis of a data folder runs."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            return connection.connect_ex(os.fspath(socket_path(data))) == 0
        except OSError:
            return False


def _written(path: Path) -> tuple[dict[str, str], Path | None]:
    """The variables in a file as systemd reads it (EnvironmentFile=), and the file if it may not be read."""
    try:
        lines = path.read_text("utf-8", "surrogateescape").splitlines()
    except FileNotFoundError:
        return {}, None
    except OSError:
        return {}, path
    found = {}
    for line in lines:
        assigned = _ASSIGNMENT.fullmatch(line)
        if assigned:
            value = assigned[2]
            quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
            found[assigned[1]] = value[1:-1] if quoted else value
    return found, None


def _closed(path: Path) -> Path | None:
    """Return what keeps this user from a socket: a folder that may not be entered, or the socket itself."""
    for folder in reversed(path.absolute().parents):
        if folder.exists() and not os.access(folder, os.X_OK):
            return folder
    return path if path.exists() and not os.access(path, os.W_OK) else None


def _owner(path: Path) -> str:
    return _name(path.stat().st_uid)


def _name(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
