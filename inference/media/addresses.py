"""Which network addresses a fetcher of foreign URLs connects to: public ones, and hosts that the user names.

Every form that an operating system takes for an address is read as one: `127.1`, `0x7f.0.0.1`, `2130706433`, IPv4
inside IPv6. Names are resolved once, checked, and connected to at the address that was checked, so that a second
answer of the name server (DNS rebinding) is never used.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Lookup = Callable[[str, int], Awaitable[list[str]]]
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# IANA's registries of special addresses, as far as the `ipaddress` of some supported Python calls them global.
_SPECIAL = [
    ipaddress.ip_network(text)
    for text in (
        "192.0.0.0/24", "192.88.99.0/24", "64:ff9b:1::/48", "100::/64", "100:0:0:1::/64", "2001::/23", "3fff::/20",
        "5f00::/16",
    )
]  # fmt: skip


class AddressRefused(OSError):
    """A host that is not connected to, with the address."""


def literal(host: str) -> Address | None:
    """The address that a host is in any notation; None for a name.

    >>> literal("0x7f.0.0.1"), literal("2130706433"), literal("[::1]"), literal("example.org")
    (IPv4Address('127.0.0.1'), IPv4Address('127.0.0.1'), IPv6Address('::1'), None)
    """
    host = host.removeprefix("[").removesuffix("]").rstrip(".")
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        pass
    try:  # octal, hexadecimal and short forms, as C libraries read them
        return ipaddress.IPv4Address(socket.inet_aton(host)) if host.isascii() and " " not in host else None
    except OSError:
        return None


def is_public(address: Address) -> bool:
    """Whether an address is reachable from everywhere, and not private, local, shared, reserved or for many.

    An IPv4 address inside an IPv6 one (mapped, Teredo, NAT64) has to be public, too; 6to4 is refused.
    """
    inner: list[Address] = []
    if isinstance(address, ipaddress.IPv6Address):
        inner = [one for one in (address.ipv4_mapped, *(address.teredo or ())) if one is not None]
        if address in _NAT64 or int(address) >> 32 == 0:  # the second: IPv4-compatible, out of use
            inner.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address.is_site_local or address.sixtofour is not None:  # 6to4 is out of use (RFC 7526)
            return False
    special = address.is_multicast or address.is_reserved or address.is_unspecified
    special = special or any(address in network for network in _SPECIAL if network.version == address.version)
    return address.is_global and not special and all(map(is_public, inner))


class PublicResolver(AbstractResolver):
    """aiohttp's resolver: the addresses of a name, all of them public, or AddressRefused.

    Args:
        private_hosts: hosts, or HOST:PORT, that may be private: for intranets and tests.
        lookup: (host, port) -> addresses; None: the system's.
    """

    def __init__(self, private_hosts: Collection[str] = (), lookup: Lookup | None = None) -> None:
        self._private, self._lookup = frozenset(private_hosts), lookup or _system_lookup

    def is_exempt(self, host: str, port: int) -> bool:
        """Whether the user names this host."""
        return host in self._private or f"{host}:{port}" in self._private

    def check(self, host: str, port: int) -> None:
        """Raise AddressRefused for a host that is an address, or is taken for one, and not a public one."""
        address = literal(host)
        # aiohttp takes hosts of digits and dots, or with a colon, for addresses and asks no resolver of ours.
        looks_like_one = ":" in host or host.replace(".", "").isdigit()
        is_refused = looks_like_one if address is None else not is_public(address)
        if is_refused and not self.is_exempt(host, port):
            raise AddressRefused(f"{host} is not a public address")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """What a connection is made to. One address that is not public refuses all of the name's."""
        address = literal(host)
        texts = [str(address)] if address is not None else await self._lookup(host, port)
        addresses = [ipaddress.ip_address(text.partition("%")[0]) for text in texts]
        if not addresses:
            raise OSError(f"{host} has no address")
        private = [one for one in addresses if not is_public(one)]
        if private and not self.is_exempt(host, port):
            raise AddressRefused(f"{host} leads to {private[0]}, which is not a public address")
        return [_result(host, one, port) for one in addresses]

    async def close(self) -> None:
        """Nothing is open."""


def _result(host: str, address: Address, port: int) -> ResolveResult:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    return ResolveResult(
        hostname=host, host=str(address), port=port, family=family, proto=0, flags=socket.AI_NUMERICHOST
    )


async def _system_lookup(host: str, port: int) -> list[str]:
    answers: list[Any] = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(one[4][0]) for one in answers))
