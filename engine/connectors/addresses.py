"""Names to addresses a destination may dial: resolved at every connect, judged one by one, then pinned.

Destinations are named by operators, so loopback and private networks are ordinary. What no interface ever lives on is
refused: link-local networks with their cloud metadata services, unspecified, multicast and reserved addresses. The
socket dials the judged address itself, so that a name cannot change between the judgement and the connect.
"""

from __future__ import annotations

import asyncio
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

#: Metadata services outside of the link-local networks: AWS over IPv6, Alibaba, Oracle.
_METADATA = frozenset({ip_address("fd00:ec2::254"), ip_address("100.100.100.200"), ip_address("192.0.0.192")})
_NAT64 = ip_network("64:ff9b::/96")


class AddressRefused(OSError):
    """Every address of the name is one that the engine does not dial."""


def _unwrapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address inside an IPv6 one, because that is where the packets go."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def refused(text: str) -> bool:
    """True for an address that is not dialled unless the destination's `link_local` knob allows it."""
    address = _unwrapped(ip_address(text.partition("%")[0]))
    if address.is_loopback:
        return False
    return (
        address.is_link_local
        or address.is_unspecified
        or address.is_multicast
        or address.is_reserved
        or address in _METADATA
    )


async def resolve(host: str, port: int, *, link_local: bool = False) -> list[str]:
    """The addresses of a host that may be dialled, in the resolver's order.

    Raises:
        AddressRefused: when it has addresses and none may be dialled.
        OSError: when the name cannot be resolved.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    allowed = [address for address in addresses if link_local or not refused(address)]
    if not allowed:
        raise AddressRefused("resolving the destination: every address is link-local, multicast or reserved")
    return allowed
