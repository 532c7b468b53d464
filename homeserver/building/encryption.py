"""End-to-end encryption, put together."""

from federation.outbound.device_keys import RemoteDeviceKeys
from homeserver.building.core import Core
from homeserver.encryption.cross_signing import CrossSigning
from homeserver.encryption.dehydrated_devices import DehydratedDevices
from homeserver.encryption.device_keys import DeviceKeys
from homeserver.encryption.device_lists import DeviceLists
from homeserver.encryption.encryption import Encryption
from homeserver.encryption.key_backups import KeyBackups
from homeserver.encryption.key_queries import KeyQueries
from homeserver.encryption.one_time_keys import OneTimeKeys
from homeserver.encryption.published_keys import LocalKeys
from homeserver.encryption.remote_devices import RemoteDevices
from homeserver.encryption.served_devices import ServedDevices
from homeserver.encryption.to_device import Inbox, ToDevice

ONE_TIME_KEYS = "one_time_keys"
"""The topic on which processes tell each other whose one-time keys have changed."""


def build_encryption(core: Core, lists: DeviceLists) -> Encryption:
    """Put the services together."""
    db, names, committer, name = core.db, core.names, core.committer, core.server_name
    asker = RemoteDeviceKeys(core.links.client)
    local = LocalKeys(db)
    one_time_keys = OneTimeKeys(db, core.announcer(ONE_TIME_KEYS), core.cache_part // 2)
    core.hear(ONE_TIME_KEYS, one_time_keys.hear, one_time_keys.forget_all)
    remote = RemoteDevices(db, names, committer, asker, core.links.backoff)
    queries = KeyQueries(db, names, local, one_time_keys, remote, asker, name)
    federates = core.settings.federation.enabled
    return Encryption(
        to_device=ToDevice(db, committer, core.clock, name, federates=federates),
        inbox=Inbox(db, core.cache_part // 2),
        device_keys=DeviceKeys(db, committer, lists),
        dehydrated=DehydratedDevices(db, committer, core.clock, lists),
        one_time_keys=one_time_keys,
        cross_signing=CrossSigning(db, names, committer, lists, queries),
        queries=queries,
        key_backups=KeyBackups(db),
        remote_devices=remote,
        served=ServedDevices(db, core.settings.federation, name, local, one_time_keys),
    )
