"""Which addresses alerts may be sent to: none that is only inside, unless that is allowed."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

Address = IPv4Address | IPv6Address

# Inside, and possibly meant: ALERT_ALLOW_PRIVATE.
PRIVATE = tuple(
    map(
        ip_network,
        "127.0.0.0/8 10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 100.64.0.0/10 ::1 fc00::/7".split(),
    )
)
# Clouds tell secrets there; never meant. Those on 169.254.0.0/16 are link-local anyway.
METADATA = frozenset(map(ip_address, "168.63.129.16 100.100.100.200 fd00:ec2::254".split()))
# The last 32 bits are an IPv4 address (RFC 6052).
_NAT64 = ip_network("64:ff9b::/96")


def may_send_to(address: Address, *, allow_private: bool) -> bool:
    address = _unwrapped(address)
    if address in METADATA or address.is_link_local or address.is_multicast:
        return False
    if any(address in network for network in PRIVATE):
        return allow_private
    is_site_local = isinstance(address, IPv6Address) and address.is_site_local
    return address.is_global and not address.is_reserved and not is_site_local


def literal_address(host: str) -> Address | None:
    """Return the address that ``host`` writes out, in any form that a resolver would take for one:
    `127.0.0.1`, `127.1`, `0x7f000001`, `::1`, `localhost`. None for a name."""
    if host.rstrip(".").lower().rpartition(".")[2] == "localhost":
        return IPv4Address("127.0.0.1")
    try:
        return ip_address(host)
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(host))
    except (OSError, UnicodeError):
        return None


def _unwrapped(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 address only wraps."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address
