"""Mail and identity servers, put together."""

from federation.outbound.identity_server import IdentityServers
from federation.outbound.tls import build_tls_context
from homeserver.building.core import Core
from homeserver.mail.mailer import Mailer


def build_mailer(core: Core) -> Mailer:
    """What sends mail; nothing is connected or loaded before the first one."""
    outgoing = core.settings.outgoing
    return Mailer(
        core.settings.mail,
        core.server_name,
        lambda: build_tls_context(outgoing.extra_ca_files, verify=outgoing.verify_tls),
    )


def build_identity_servers(core: Core) -> IdentityServers:
    """The identity servers that are talked to."""
    return IdentityServers(
        core.links.connections,
        core.settings.third_party_ids.identity_servers,
        core.server_name,
        core.key,
    )
