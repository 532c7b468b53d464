"""Identity servers, put together."""

from federation.outbound.identity_server import IdentityServers
from homeserver.building.core import Core


def build_identity_servers(core: Core) -> IdentityServers:
    """The identity servers that are talked to."""
    return IdentityServers(
        core.links.connections,
        core.settings.third_party_ids.identity_servers,
        core.server_name,
        core.key,
    )
