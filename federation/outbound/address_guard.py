"""The guard of outgoing connections: which addresses may be connected to.

It is asked twice: by the resolver, which leaves out what is denied, and when a socket is made for
an address that is about to be connected to. The second time decides, so that a name which changes
its address between look-up and connection gains nothing.
"""

import socket
from collections.abc import Iterable
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Any

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

IPV4_COMPATIBLE = IPv6Network("::/96")
NAT64 = IPv6Network("64:ff9b::/96")
"""Where IPv4 is behind a translator, the only way to it from networks of IPv6 alone."""
IPV4_MASK = 2**32 - 1


class AddressDenied(OSError):
    """The configuration forbids connections to this address."""


class AddressGuard:
    """Networks that are denied, and exceptions from them."""

    __slots__ = ("_allow", "_deny")

    def __init__(self, deny: Iterable[str], allow: Iterable[str] = ()) -> None:
        """Raises `ValueError` for what is no network."""
        self._deny = [ip_network(network) for network in deny]
        self._allow = [ip_network(network) for network in allow]

    def is_allowed(self, address: str) -> bool:
        """Whether an IP address may be connected to; what is no address may not."""
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        return all(self._passes(one) for one in meant_addresses(parsed))

    def check(self, address: str) -> None:
        """Raises `AddressDenied` unless the address may be connected to."""
        if not self.is_allowed(address):
            raise AddressDenied(f"outgoing connections to {address} are not allowed")

    def open_socket(self, address_info: Any) -> socket.socket:
        """A socket for an entry of `getaddrinfo`. Raises `AddressDenied`."""
        family, kind, protocol, _, socket_address = address_info
        self.check(socket_address[0])
        return socket.socket(family, kind, protocol)

    def _passes(self, address: Address) -> bool:
        return is_in(address, self._allow) or not is_in(address, self._deny)


def meant_addresses(address: Address) -> list[Address]:
    """The address, and the IPv4 addresses that packets to it may end up at."""
    if isinstance(address, IPv4Address):
        return [address]
    if address.ipv4_mapped is not None:
        # The kernel takes it for the IPv4 address, and nothing else.
        return [address.ipv4_mapped]
    meant: list[Address] = [IPv6Address(int(address))]
    if address.sixtofour is not None:
        meant.append(address.sixtofour)
    if address.teredo is not None:
        meant += address.teredo
    if address in IPV4_COMPATIBLE and int(address) > 1:
        meant.append(IPv4Address(int(address)))
    if address in NAT64:
        meant.append(IPv4Address(int(address) & IPV4_MASK))
    return meant


def is_in(address: Address, networks: Iterable[Network]) -> bool:
    """Whether one of the networks has the address."""
    return any(address in network for network in networks)
