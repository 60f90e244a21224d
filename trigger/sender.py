"""Where a request comes from: the caller's address, the scheme it used, and whether another site's page has sent it."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

# The ports that a browser leaves out.
_PORTS = {"http": 80, "https": 443}


def address(environ: WSGIEnvironment, proxies: int) -> str:
    """The caller's address: the peer's, or what as many proxies as are configured have passed on."""
    if proxies:
        hops: list[str] = environ.get("HTTP_X_FORWARDED_FOR", "").split(",")
        if len(hops) >= proxies and _is_address(hop := hops[-proxies].strip()):
            return hop
    return str(environ.get("REMOTE_ADDR") or "unix")


def behind_tls(environ: WSGIEnvironment, proxies: int) -> bool:
    """Whether the caller's connection is encrypted, as the proxy in front says; without one it is not."""
    return bool(proxies) and environ.get("HTTP_X_FORWARDED_PROTO", "").strip().lower() == "https"


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


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text  # after which an IPv6 address may have any text
