"""All services of end-to-end encryption, put together."""

from dataclasses import dataclass

from federation.outbound.device_keys import RemoteDeviceKeys
from federation.protocol.identifiers import ServerName
from homeserver.clock import Clock
from homeserver.config.settings import Settings
from homeserver.encryption.cross_signing import CrossSigning
from homeserver.encryption.device_keys import DeviceKeys
from homeserver.encryption.device_lists import DeviceLists
from homeserver.encryption.key_backups import KeyBackups
from homeserver.encryption.key_queries import KeyQueries
from homeserver.encryption.one_time_keys import OneTimeKeys
from homeserver.encryption.ports import Announce
from homeserver.encryption.published_keys import LocalKeys
from homeserver.encryption.remote_devices import RemoteDevices
from homeserver.encryption.served_devices import ServedDevices
from homeserver.encryption.to_device import Inbox, ToDevice
from homeserver.other_servers.links import Links
from storage.committer import Committer
from storage.database import Pool
from storage.names import Names


@dataclass(frozen=True, slots=True)
class Encryption:
    """What devices need to speak to each other without the server understanding it."""

    to_device: ToDevice
    inbox: Inbox
    device_keys: DeviceKeys
    one_time_keys: OneTimeKeys
    cross_signing: CrossSigning
    queries: KeyQueries
    key_backups: KeyBackups
    remote_devices: RemoteDevices
    """Follows the devices of other servers' users; its `run` is for the caller to run."""
    served: ServedDevices


def build_encryption(
    *,
    db: Pool,
    names: Names,
    committer: Committer,
    clock: Clock,
    settings: Settings,
    links: Links,
    lists: DeviceLists,
    announce: Announce,
    cache_bytes: int,
) -> Encryption:
    """Put the services together."""
    server_name = ServerName(settings.server.name)
    asker = RemoteDeviceKeys(links.client)
    local = LocalKeys(db)
    one_time_keys = OneTimeKeys(db, announce, cache_bytes // 2)
    remote = RemoteDevices(db, names, committer, asker, links.backoff)
    queries = KeyQueries(db, names, local, one_time_keys, remote, asker, server_name)
    federates = settings.federation.enabled
    return Encryption(
        to_device=ToDevice(db, committer, clock, server_name, federates=federates),
        inbox=Inbox(db, cache_bytes // 2),
        device_keys=DeviceKeys(db, committer, lists),
        one_time_keys=one_time_keys,
        cross_signing=CrossSigning(db, names, committer, lists, queries),
        queries=queries,
        key_backups=KeyBackups(db),
        remote_devices=remote,
        served=ServedDevices(db, settings.federation, server_name, local, one_time_keys),
    )
