"""The environment's settings: where things are and what this process listens on."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from trigger.config.scalars import workers
from trigger.config.schemas import redis_url
from trigger.config.secret import Secret
from trigger.errors import UsageError

_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?")
_BIND_HELP = "it must be HOST:PORT such as 127.0.0.1:8080 or [::1]:8080, or unix:/PATH"


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of the environment. `unix` is the socket to listen on; None: `host` and `port` count."""

    config: Path = Path("config.yaml")
    host: str = "127.0.0.1"
    port: int = 8080
    unix: Path | None = None
    data: Path = Path("data")
    workers: int | None = None  # worker processes of `up` for each queue; None: as the config says
    redis_url: Secret | None = None
    log: Literal["text", "json"] = "text"

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Settings:
        """The settings that `environ` holds; an empty variable counts as unset.

        Raises UsageError naming the variable and what would be right.
        """
        host, port, unix = _bind(environ.get("TRIGGER_BIND") or "127.0.0.1:8080")
        log = environ.get("TRIGGER_LOG") or "text"
        if log not in {"text", "json"}:
            raise UsageError(f"TRIGGER_LOG must be text or json, not {log!r}")
        try:
            redis = redis_url(environ.get("REDIS_URL", ""))
        except ValueError as error:
            raise UsageError(f"REDIS_URL {error}") from None
        return cls(
            config=_path(environ, "TRIGGER_CONFIG", "config.yaml"),
            host=host,
            port=port,
            unix=unix,
            data=_path(environ, "TRIGGER_DATA", "data"),
            workers=_workers(environ.get("TRIGGER_WORKERS", "")),
            redis_url=redis,
            log=cast(Literal["text", "json"], log),
        )

    @property
    def authority(self) -> str:
        """HOST:PORT as a URL has it, where there is no socket."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def local_host(self) -> str:
        """The host at which this machine itself finds us: where all addresses are listened on, that of loopback."""
        return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(self.host, self.host)  # noqa: S104

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach what is listened on; for a name other than localhost: no."""
        if self.unix is not None or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def _path(environ: Mapping[str, str], variable: str, default: str) -> Path:
    text = environ.get(variable) or default
    if "\0" in text or not text.strip():
        raise UsageError(f"{variable} must be a path such as {default}")
    return Path(text)


def _workers(text: str) -> int | None:
    try:
        return workers(text) if text else None
    except ValueError as error:
        raise UsageError(f"TRIGGER_WORKERS {error}") from None


def _bind(text: str) -> tuple[str, int, Path | None]:
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path.startswith("/") or path.endswith("/") or "\0" in path:
            raise UsageError(f"TRIGGER_BIND {text!r} names no socket: {_BIND_HELP}")
        return "", 0, Path(path)
    host, separator, port = text.rpartition(":")
    if not separator or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
        raise UsageError(f"TRIGGER_BIND {text!r} names no port: {_BIND_HELP}")
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        if bracketed:
            return str(ipaddress.IPv6Address(host[1:-1])), int(port), None
        if host.replace(".", "").isdigit():
            return str(ipaddress.IPv4Address(host)), int(port), None
    except ValueError:
        raise UsageError(f"TRIGGER_BIND {text!r} names no address: {_BIND_HELP}") from None
    if not _HOST_NAME.fullmatch(host):
        raise UsageError(f"TRIGGER_BIND {text!r} names no host: {_BIND_HELP}")
    return host, int(port), None
