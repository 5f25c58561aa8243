"""Where a request came from, behind the proxies that are believed."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from flask import request

from app.extensions import settings

Network = IPv4Network | IPv6Network


def client_address() -> str:
    """Return the address of the nearest hop that is none of our own proxies; "" where unknown."""
    trusted = settings.server.forwarded_allow_ips
    hops = [hop.strip() for hop in request.headers.get("X-Forwarded-For", "").split(",")]
    address = request.remote_addr or ""
    for hop in reversed([hop for hop in hops if hop]):
        if not _is_trusted(address, trusted):
            break
        address = hop
    return address if _is_address(address) else ""


def is_in_networks(address: str, networks: str) -> bool:
    """Tell whether an address is in one of some networks, separated by commas; `*` is all."""
    if "*" in networks:
        return True
    return _is_address(address) and any(
        ip_address(address) in network for network in _networks(networks)
    )


def _is_trusted(address: str, trusted: str) -> bool:
    # gunicorn behind a unix socket has no peer's address: whoever may open it is believed.
    return not address or is_in_networks(address, trusted)


@lru_cache(maxsize=8)
def _networks(trusted: str) -> tuple[Network, ...]:
    return tuple(ip_network(it.strip(), strict=False) for it in trusted.split(",") if it.strip())


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
