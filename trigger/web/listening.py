"""The sockets that the web processes accept connections on, held by the process that starts them.

So a web that is replaced loses no connection: what nobody has accepted yet stays in the socket's queue, for the next.
"""

from __future__ import annotations

import os
import resource
import socket
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from trigger.config import Settings
from trigger.errors import StartError
from trigger.startup import refuse_taken_address

# With one socket for all processes, one of them often accepts every connection.
SOCKETS = WEB_PROCESSES = 2
BACKLOG = 2048
# What systemd hands over begins here (sd_listen_fds(3)); gunicorn knows that convention too.
FIRST_FD = 3
# The variable that names the descriptor to which each web process writes a byte when it accepts connections.
READY_FD = "TRIGGER_READY_FD"


def connections() -> int:
    """Return how many connections a process may have: with its own files below the limit of open files, which is
    usually 1,024."""
    return max(16, min(800, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 200))


class Listeners:
    """The listening sockets for an address, until `close`: those that systemd has handed over, else new ones.

    Raises:
        StartError: the address is taken, or is not one of this machine's, or systemd's sockets have another one.
    """

    def __init__(self, settings: Settings, environ: Mapping[str, str]) -> None:
        self._made: Path | None = None
        self.sockets: Sequence[socket.socket] = _inherited(settings, environ)
        if self.sockets:
            return
        try:
            if settings.unix is None:
                self.sockets = _tcp(settings)
            else:
                self.sockets = [_unix(settings.unix)]
                self._made = settings.unix
        except OSError as error:
            where = settings.unix or settings.authority
            raise StartError(f"can't listen on {where}: {error.strerror or error}; set TRIGGER_BIND") from error

    @property
    def fds(self) -> list[int]:
        """Their descriptors; none after `close`."""
        return [listener.fileno() for listener in self.sockets]

    def environment(self, pid: int) -> dict[str, str]:
        """The variables by which process `pid`, which has them as descriptors 3, 4, …, is told of them."""
        return {"LISTEN_PID": str(pid), "LISTEN_FDS": str(len(self.sockets))}

    def close(self) -> None:
        """Let go of the sockets: they listen for as long as the web does that has them, too."""
        for listener in self.sockets:
            listener.close()
        self.sockets = ()

    def __enter__(self) -> Listeners:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        if self._made is not None:
            self._made.unlink(missing_ok=True)


def _inherited(settings: Settings, environ: Mapping[str, str]) -> list[socket.socket]:
    if environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = int(environ.get("LISTEN_FDS", "0"))
    found = [socket.socket(fileno=fd) for fd in range(FIRST_FD, FIRST_FD + count)]
    wanted = str(settings.unix or settings.authority)
    for listener in found:
        listener.set_inheritable(False)
        if (name := _name(listener)) != wanted:  # what may be served depends on who can reach us
            raise StartError(
                f"the socket that was handed over listens on {name}: set TRIGGER_BIND to that, not {wanted}"
            )
    return found


def _name(listener: socket.socket) -> str:
    """Its address as TRIGGER_BIND has it, without "unix:"."""
    address = listener.getsockname()
    if listener.family == socket.AF_INET6:
        return f"[{address[0]}]:{address[1]}"
    return f"{address[0]}:{address[1]}" if listener.family == socket.AF_INET else str(address)


def _tcp(settings: Settings) -> list[socket.socket]:
    refuse_taken_address(settings)
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listeners = []
    for _ in range(SOCKETS):
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((settings.host, settings.port))
        listeners.append(listener)
    for listener in listeners:
        listener.listen(BACKLOG)
    return listeners


def _unix(path: Path) -> socket.socket:
    try:
        if stat.S_ISSOCK(path.stat().st_mode):
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                if probe.connect_ex(os.fspath(path)) == 0:
                    raise StartError(f"can't listen on {path}: another process does; set TRIGGER_BIND to another path")
            path.unlink()  # left behind by one that was killed
    except FileNotFoundError:
        pass
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o007)  # for this user and its group, which a proxy can be in
    try:
        listener.bind(os.fspath(path))
    finally:
        os.umask(mask)
    listener.listen(BACKLOG)
    return listener
