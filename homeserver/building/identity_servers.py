"""Identity servers and what asks them, put together."""

from federation.outbound.identity_server import IdentityServers
from homeserver.building.core import Core
from homeserver.rooms.address_invites import AddressInvites
from homeserver.rooms.rooms import Rooms


def build_identity_servers(core: Core) -> IdentityServers:
    """The identity servers that are talked to."""
    return IdentityServers(
        core.links.connections,
        core.settings.third_party_ids.identity_servers,
        core.server_name,
        core.key,
    )


def build_address_invites(core: Core, rooms: Rooms, servers: IdentityServers) -> AddressInvites:
    """Invites by e-mail address or telephone number."""
    return AddressInvites(core.live, core.send, rooms.memberships, servers)
