"""Addresses on the internet, told from those of the machine, of its network and of a cloud's own services."""

from __future__ import annotations

import ipaddress

# Where a scheme is served if its URL does not say.
PORTS = {"http": 80, "https": 443, "smtp": 587, "smtps": 465}

# What an IPv6 address may have an IPv4 address in, and how many bits stand behind that (RFC 6052, RFC 3056).
_HOLDERS = ((ipaddress.IPv6Network("64:ff9b::/96"), 0), (ipaddress.IPv6Network("2002::/16"), 80))
# Of a cloud's own services: that of Azure's hosts, and where Oracle's are, which older Pythons take for anybody's.
_OF_CLOUDS = (ipaddress.IPv4Network("168.63.129.16/32"), ipaddress.IPv4Network("192.0.0.0/24"))


def is_public(text: str) -> bool:
    """Whether an IP address is one on the internet. Raises ValueError for what is none."""
    address: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        elif address.is_site_local or address.teredo is not None:
            return False
        else:
            for network, behind in _HOLDERS:
                if address in network:
                    address = ipaddress.IPv4Address((int(address) >> behind) & 0xFFFFFFFF)
                    break
    if address.is_multicast or address.is_reserved or any(address in network for network in _OF_CLOUDS):
        return False
    return address.is_global
