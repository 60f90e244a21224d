"""The conditions for the service to start: a Redis that keeps its promises, and no public password on a network."""

from __future__ import annotations

import errno
import re
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from redis import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, ResponseError

from trigger.config.model import Auth, Config, NoAuth, PasswordAuth, SignatureAuth, TokenAuth
from trigger.config.secret import Secret
from trigger.config.settings import Settings
from trigger.errors import StartError

OLDEST_REDIS = (6, 2)
PATIENCE_SECONDS = 2.0

PROMISES = {
    "always": "an answered call survives a crash and a power cut",
    "everysec": "a power cut, or a crash while the disk is slow, may lose the calls of the last 2 seconds",
    "no": "an answered call survives a crash of Redis; a power cut may lose the calls of the last 30 seconds",
    "unknown": "what a power cut loses depends on its appendfsync, which this user may not read",
}


@dataclass(frozen=True, slots=True)
class Durability:
    """The durability of an answered call when Redis dies.

    `fsync` is Redis' appendfsync, "unknown" where it can't be read, None where there is no append-only file.
    `warnings` are sentences on settings that weaken it.
    """

    server: str  # "Redis 7.0.15"
    fsync: str | None
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.fsync is None:
            return f"{self.server}, AOF off: an answered call is lost when Redis stops"
        return f"{self.server}, AOF on, fsync {self.fsync}: {PROMISES[self.fsync]}"


def check_redis(connection: Redis) -> Durability:
    """Whether this Redis can hold executions, and how durably.

    Version, role, eviction and AOF are read with INFO, appendfsync with CONFIG GET, which managed servers often
    forbid.

    Raises:
        StartError: it refuses us, is too old, a replica or a cluster, or evicts keys.
        redis.exceptions.RedisError: it can't be reached, or is still loading; another try may do.
    """
    try:
        info: dict[str, Any] = connection.info()
    except NoPermissionError as error:
        raise StartError("this Redis user may not run INFO; allow it: ACL SETUSER <user> +info") from error
    except AuthenticationError as error:
        raise StartError(f"Redis refuses our credentials ({error}); put the right ones into REDIS_URL") from error
    server = _server(info)
    if info.get("role") != "master":
        raise StartError(f"{server} is a replica, which takes no writes; REDIS_URL must name its master")
    if info.get("redis_mode") == "cluster" or info.get("cluster_enabled"):
        raise StartError(f"{server} is a cluster, where jobs can't be written in one step; use a single server")
    policy = info.get("maxmemory_policy", "noeviction")
    warnings = []
    if policy != "noeviction":
        problem = f"{server} has maxmemory-policy {policy}, which drops accepted executions when memory is short"
        if info.get("maxmemory"):
            raise StartError(f"{problem}; set it to noeviction")
        warnings.append(f"{problem}; it has no maxmemory now, but set it to noeviction")
    fsync = _fsync(connection) if info.get("aof_enabled") else None
    if fsync is None:
        warnings.append(f"{server} has its append-only file off; turn it on: appendonly yes, appendfsync always")
    return Durability(server, fsync, tuple(warnings))


def _server(info: dict[str, Any]) -> str:
    """Its product and version, as "Redis 7.0.15". Valkey gives a Redis version too, which it is compatible with."""
    compatible = str(info.get("redis_version", "0"))
    if tuple(map(int, re.findall(r"\d+", compatible)[:2])) < OLDEST_REDIS:
        raise StartError(f"Redis {compatible} is too old: 6.2 is needed, 7.2 or newer is recommended")
    if "valkey_version" in info:
        return f"Valkey {info['valkey_version']}"
    return f"Redis {compatible}"


def _fsync(connection: Redis) -> str:
    try:
        said = connection.config_get("appendfsync").get("appendfsync")
    except ResponseError:  # forbidden by an ACL, renamed, or left out by a managed service
        return "unknown"
    return said if said in PROMISES else "unknown"


def refuse_public_demo(settings: Settings, config: Config) -> None:
    """Refuse to listen on a network while a credential that this repository publishes opens anything.

    Raises:
        StartError: it names the APIs concerned.
    """
    if settings.loopback:
        return
    openings = [
        f"{api.module}/{api.method}"
        for api in config.apis.values()
        if api.enabled and any(map(_is_demo, _secrets(api.auth)))
    ]
    openings += [f"operator {name}" for name, secret in config.operators.items() if _is_demo(secret)]
    if openings:
        named = ", ".join(openings[:3]) + (f" and {len(openings) - 3} more" if len(openings) > 3 else "")
        raise StartError(
            f"demo credentials are in force ({named}), and everybody knows them: with them Trigger listens on "
            f"loopback only, not on {settings.host}; change them in {config.path}, or set TRIGGER_BIND=127.0.0.1:"
            f"{settings.port}"
        )


def _secrets(auth: Auth) -> Iterable[Secret]:
    match auth:
        case TokenAuth():
            return auth.tokens.values()
        case PasswordAuth():
            return auth.users.values()
        case SignatureAuth():
            return auth.secrets.values()
        case NoAuth():
            return ()


def _is_demo(secret: Secret) -> bool:
    # Asking a hashed one costs a scrypt computation each, and no published file holds a hash of it.
    return not secret.hashed and secret.demo


def refuse_taken_address(settings: Settings) -> None:
    """Refuse an address that another program listens on.

    Our web shares its port between its processes (SO_REUSEPORT), and the kernel would share it with another Trigger
    of the same user too: half of the calls would go there. So we ask without that option, before the web starts.

    Raises:
        StartError: the address is taken, or is not one of this machine's.
    """
    if settings.unix is not None:
        return
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((settings.host, settings.port))
        except OSError as error:
            # A web that was just killed needs a moment to let go.
            if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                raise StartError(
                    f"can't listen on {settings.host} port {settings.port}: {error.strerror}; "
                    "set TRIGGER_BIND to an address of this machine that nothing else uses"
                ) from error
        else:
            return
        time.sleep(0.05)
