"""Server access control lists: which servers may take part in a room.

Source: client-server API, "Server Access Control Lists (ACLs) for rooms", `m.room.server_acl`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from federation.protocol.glob import GlobSet, fold

_IPV4 = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}", re.ASCII)


@dataclass(frozen=True, slots=True, eq=False)
class ServerAcl:
    """A room's `m.room.server_acl` event, ready to be asked."""

    allow: GlobSet
    deny: GlobSet
    allow_ip_literals: bool

    def is_allowed(self, server_name: str) -> bool:
        """Whether the server may take part; its port plays no role."""
        host = host_of(server_name)
        if not self.allow_ip_literals and is_ip_literal(host):
            return False
        folded = fold(host)
        return not self.deny.matches(folded) and self.allow.matches(folded)


def parse_server_acl(content: Mapping[str, Any]) -> ServerAcl:
    """The list in an event's content.

    Malformed parts count as absent: lists as empty (so that nobody is allowed, or nobody is
    denied), `allow_ip_literals` as true, and entries other than strings are passed over.
    """
    return ServerAcl(
        allow=GlobSet(_patterns(content.get("allow"))),
        deny=GlobSet(_patterns(content.get("deny"))),
        allow_ip_literals=content.get("allow_ip_literals") is not False,
    )


def host_of(server_name: str) -> str:
    """The server name without its port; an IPv6 literal keeps its brackets."""
    if server_name.startswith("["):
        address, bracket, _ = server_name.partition("]")
        return address + bracket
    return server_name.partition(":")[0]


def is_ip_literal(host: str) -> bool:
    """Whether the host is an IPv6 literal in brackets or looks like a dotted quad."""
    return host.startswith("[") or _IPV4.fullmatch(host) is not None


def _patterns(value: object) -> list[str]:
    if not isinstance(value, list):
        return []
    return [fold(pattern) for pattern in value if isinstance(pattern, str)]
