"""All services of end-to-end encryption."""

from dataclasses import dataclass

from homeserver.encryption.cross_signing import CrossSigning
from homeserver.encryption.dehydrated_devices import DehydratedDevices
from homeserver.encryption.device_keys import DeviceKeys
from homeserver.encryption.key_backups import KeyBackups
from homeserver.encryption.key_queries import KeyQueries
from homeserver.encryption.one_time_keys import OneTimeKeys
from homeserver.encryption.remote_devices import RemoteDevices
from homeserver.encryption.served_devices import ServedDevices
from homeserver.encryption.to_device import Inbox, ToDevice


@dataclass(frozen=True, slots=True)
class Encryption:
    """What devices need to speak to each other without the server understanding it."""

    to_device: ToDevice
    inbox: Inbox
    device_keys: DeviceKeys
    dehydrated: DehydratedDevices
    one_time_keys: OneTimeKeys
    cross_signing: CrossSigning
    queries: KeyQueries
    key_backups: KeyBackups
    remote_devices: RemoteDevices
    """Follows the devices of other servers' users; its `run` is for the caller to run."""
    served: ServedDevices
