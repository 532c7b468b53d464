"""All services of end-to-end encryption, put together."""

from dataclasses import dataclass

from federation.protocol.identifiers import ServerName
from homeserver.clock import Clock
from homeserver.config.settings import Settings
from homeserver.encryption.to_device import Inbox, ToDevice
from storage.committer import Committer
from storage.database import Pool


@dataclass(frozen=True, slots=True)
class Encryption:
    """What devices need to speak to each other without the server understanding it."""

    to_device: ToDevice
    inbox: Inbox


def build_encryption(
    *, db: Pool, committer: Committer, clock: Clock, settings: Settings, cache_bytes: int
) -> Encryption:
    """Put the services together."""
    server_name = ServerName(settings.server.name)
    federates = settings.federation.enabled
    return Encryption(
        to_device=ToDevice(db, committer, clock, server_name, federates=federates),
        inbox=Inbox(db, cache_bytes),
    )
