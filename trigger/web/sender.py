"""Where a request comes from: the caller's address, the scheme it used, and whether another site's page has sent it."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Collection
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from trigger.config.model import Network
from trigger.errors import BadRequest

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

logger = logging.getLogger("trigger.sender")

# The ports that a browser leaves out.
_PORTS = {"http": 80, "https": 443}


def address(environ: WSGIEnvironment, proxies: int) -> str:
    """The caller's address: the peer's, or what as many proxies as are configured have passed on."""
    if proxies:
        hops: list[str] = environ.get("HTTP_X_FORWARDED_FOR", "").split(",")
        if len(hops) >= proxies and _is_address(hop := hops[-proxies].strip(" \t")):
            return hop
    return str(environ.get("REMOTE_ADDR") or "unix")


def network(client: str) -> str:
    """Return the network whose addresses a client can choose from: of an IPv6 address its 64 bits (RFC 6177), else
    the address itself."""
    if ":" not in client:
        return client
    try:
        parsed = ipaddress.IPv6Address(client)
    except ValueError:
        return client
    return str(parsed.ipv4_mapped or ipaddress.IPv6Network((parsed, 64), strict=False))


def is_among(client: str, networks: Collection[Network]) -> bool:
    """Whether an address is in one of the networks; any is where none is named."""
    if not networks:
        return True
    try:
        parsed = ipaddress.ip_address(client)
    except ValueError:  # of a unix socket
        return False
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return any((mapped or parsed) in network for network in networks)


class ProxyWarning:
    """Warns once, when a request came through a proxy that the config does not mention."""

    def __init__(self) -> None:
        self._said = False

    def check(self, environ: WSGIEnvironment, proxies: int) -> None:
        """Look at a request. `proxies` is the number of proxies that the config has."""
        if proxies or self._said or "HTTP_X_FORWARDED_FOR" not in environ:
            return
        self._said = True
        logger.warning(
            "client=%s sent X-Forwarded-For, which is ignored because server.proxies is 0; if that is a proxy, set "
            "server.proxies: until then all callers behind it count as one address",
            address(environ, proxies),
        )


def behind_tls(environ: WSGIEnvironment, proxies: int) -> bool:
    """Whether the caller's connection is encrypted, as the proxy in front says; without one it is not."""
    return bool(proxies) and environ.get("HTTP_X_FORWARDED_PROTO", "").lower() == "https"


def is_foreign(environ: WSGIEnvironment) -> bool | None:
    """Whether a page of another site has made a browser send this; None where nothing is said about it.

    Browsers say where a request comes from in Sec-Fetch-Site (W3C Fetch Metadata), on plain HTTP only in Origin, which
    is compared with Host; only by name where Host has no port, since a proxy may have left it out.
    """
    site, origin = environ.get("HTTP_SEC_FETCH_SITE"), environ.get("HTTP_ORIGIN")
    if site is not None:
        return site not in ("same-origin", "none")
    if origin is None:
        return None
    try:
        sent, served = urlsplit(origin), urlsplit(f"//{environ.get('HTTP_HOST', '')}")
        same_port = served.port is None or served.port == (sent.port or _PORTS.get(sent.scheme))
    except ValueError:
        return True
    return not sent.hostname or sent.hostname != served.hostname or not same_port


def refuse_foreign(environ: WSGIEnvironment) -> None:
    """Raise BadRequest (403) if a page of another site has made a browser send this."""
    if is_foreign(environ):
        raise BadRequest("Another site's page may not do this", status=403)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text  # after which an IPv6 address may have any text
