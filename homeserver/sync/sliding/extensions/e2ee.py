"""The extension for end-to-end encryption: whose devices changed, and the device's own keys.

Source: MSC3884.
"""

from dataclasses import dataclass

from homeserver.encryption.one_time_keys import KeyCounts, OneTimeKeys
from homeserver.sync.device_news import DeviceListNews, DeviceNews
from homeserver.sync.followers import Follower
from homeserver.sync.sliding.pos import Pos


@dataclass(frozen=True, slots=True)
class E2eeTold:
    """Changes of device lists, and how many keys the device has left."""

    devices: DeviceListNews
    keys: KeyCounts

    @property
    def is_empty(self) -> bool:
        """Whether nothing has changed that the client should hear of at once."""
        return not self.devices.changed and not self.devices.left


class E2ee:
    """Tells what encryption needs."""

    def __init__(self, devices: DeviceNews, keys: OneTimeKeys) -> None:
        self._devices = devices
        self._keys = keys

    async def tell(
        self, follower: Follower, device_nid: int, pos: Pos | None, upto: int
    ) -> E2eeTold:
        """What has changed since the token; a new connection hears of no changes."""
        devices = DeviceListNews()
        if pos is not None and follower.devices_changed > pos.position:
            devices = await self._devices.device_lists(follower, pos.position, upto)
        return E2eeTold(devices, await self._keys.counts(device_nid))
