"""The address of the client behind reverse proxies."""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

IpAddress = IPv4Address | IPv6Address


class TrustedProxies:
    """The proxies whose word on the client's address is believed."""

    __slots__ = ("_networks", "is_trusted")

    def __init__(self, ranges: Iterable[str]) -> None:
        self._networks = [ip_network(one) for one in ranges]
        # Few distinct peers make most requests.
        self.is_trusted = lru_cache(maxsize=256)(self._find_out)

    def client_address(self, peer: str, forwarded_for: str | None) -> str:
        """The client's address, given the connection's peer and the X-Forwarded-For header.

        Each proxy appends the address it saw, so the list is read from its end: the first entry
        that is not a trusted proxy is the client; what stands before it the client may have made
        up itself.
        """
        client = normal_address(peer)
        if not forwarded_for or not self.is_trusted(client):
            return client
        for entry in reversed(forwarded_for.split(",")):
            address = parse_address(entry)
            if address is None:
                break
            client = str(address)
            if not self.is_trusted(client):
                break
        return client

    def _find_out(self, address: str) -> bool:
        parsed = parse_address(address)
        # A peer without an address is on a Unix socket of this machine.
        if parsed is None:
            return not address
        return any(parsed in network for network in self._networks)


def parse_address(text: str) -> IpAddress | None:
    """An IP address, maybe with brackets or a port around it; None for anything else."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def normal_address(peer: str) -> str:
    """The peer's address; an IPv4 client of a dual-stack socket has its IPv4 address."""
    if not peer.startswith("::ffff:"):
        return peer
    return str(parse_address(peer) or peer)


def address_to_limit(address: str) -> str:
    """What stands for a client in rate limits: the address, or for IPv6 its /64 network.

    A single IPv6 client has a /64 at its disposal.
    """
    if ":" not in address:
        return address
    parsed = parse_address(address)
    if parsed is None:
        return address
    return str(ip_network((int(parsed) >> 64 << 64, 64)))
