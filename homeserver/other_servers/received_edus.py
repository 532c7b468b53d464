"""What other servers' EDUs change here: each is handed to the service of its noun, or stored."""

from collections.abc import Sequence

from federation.protocol.edu import (
    DeviceListUpdate,
    DirectToDevice,
    PresenceUpdate,
    Receipt,
    SigningKeyUpdate,
    Typist,
)
from federation.protocol.identifiers import ServerName
from homeserver.encryption.remote_devices import RemoteDevices
from homeserver.encryption.to_device import ToDevice
from homeserver.rooms.receipts import Receipts
from homeserver.rooms.typing import REMOTE_TIMEOUT_MS, Typing
from homeserver.users.presence import Presence
from storage.database import Database
from storage.memberships import is_joined
from storage.names import Names


class ReceivedEdus:
    """Takes EDUs whose origin may speak for their users and is allowed in their rooms."""

    def __init__(
        self,
        db: Database,
        names: Names,
        typing: Typing,
        receipts: Receipts,
        presence: Presence,
        to_device: ToDevice,
        devices: RemoteDevices,
    ) -> None:
        self._db = db
        self._names = names
        self._typing = typing
        self._receipts = receipts
        self._presence = presence
        self._to_device = to_device
        self._devices = devices

    async def typing(self, typist: Typist) -> None:
        """A user begins or ceases to type; nothing happens unless they are in the room."""
        room = await self._names.rooms.find(typist.room_id)
        user_nid = await self._names.users.find_nid(typist.user_id)
        if room is None or user_nid is None:
            return
        if not typist.is_typing:
            self._typing.stop(room.room_nid, typist.user_id)
        elif await is_joined(self._db, user_nid, room.room_nid):
            self._typing.start(room.room_nid, typist.user_id, REMOTE_TIMEOUT_MS)

    async def receipts(self, receipts: Sequence[Receipt]) -> None:
        """Users have read."""
        await self._receipts.take(receipts)

    async def presence(self, updates: Sequence[PresenceUpdate]) -> None:
        """Users show themselves."""
        await self._presence.take(updates)

    async def direct_to_device(self, origin: ServerName, message: DirectToDevice) -> None:
        """Messages to devices, kept until they are fetched; the same `message_id` counts once."""
        await self._to_device.take(origin, message)

    async def device_list_update(self, update: DeviceListUpdate) -> None:
        """A device of a user has changed; noted for users who share a room with one of ours."""
        await self._devices.take_update(update)

    async def signing_key_update(self, update: SigningKeyUpdate) -> None:
        """A user has other cross-signing keys; noted as above."""
        await self._devices.take_signing_keys(update)
