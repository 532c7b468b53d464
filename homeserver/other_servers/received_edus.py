"""What other servers' EDUs change here: each is handed to the service of its noun, or stored."""

from collections.abc import Mapping, Sequence
from typing import Any

from federation.protocol import canonical_json
from federation.protocol.edu import (
    DeviceListUpdate,
    DirectToDevice,
    PresenceUpdate,
    Receipt,
    SigningKeyUpdate,
    Typist,
)
from federation.protocol.identifiers import ServerName
from homeserver.encryption.to_device import ToDevice
from homeserver.rooms.receipts import Receipts
from homeserver.rooms.typing import REMOTE_TIMEOUT_MS, Typing
from homeserver.users.presence import Presence
from storage.committer import Committer
from storage.database import Database
from storage.memberships import is_joined, users_sharing_rooms
from storage.names import Names
from storage.remote_devices import UpdateRemoteDevice, UpdateRemoteSigningKeys


class ReceivedEdus:
    """Takes EDUs whose origin may speak for their users and is allowed in their rooms."""

    def __init__(
        self,
        db: Database,
        names: Names,
        committer: Committer,
        typing: Typing,
        receipts: Receipts,
        presence: Presence,
        to_device: ToDevice,
    ) -> None:
        self._db = db
        self._names = names
        self._committer = committer
        self._typing = typing
        self._receipts = receipts
        self._presence = presence
        self._to_device = to_device

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
        user_nid = await self._find_sharing(update.user_id)
        if user_nid is not None:
            await self._committer.commit(
                UpdateRemoteDevice(
                    user_nid,
                    update.device_id,
                    update.stream_id,
                    update.prev_ids,
                    update.is_deleted,
                    update.display_name,
                    encode_optional(update.keys),
                )
            )

    async def signing_key_update(self, update: SigningKeyUpdate) -> None:
        """A user has other cross-signing keys; noted as above."""
        user_nid = await self._find_sharing(update.user_id)
        if user_nid is not None:
            master_key = encode_optional(update.master_key)
            self_signing_key = encode_optional(update.self_signing_key)
            await self._committer.commit(
                UpdateRemoteSigningKeys(user_nid, master_key, self_signing_key)
            )

    async def _find_sharing(self, user_id: str) -> int | None:
        user_nid = await self._names.users.find_nid(user_id)
        if user_nid is None or not await users_sharing_rooms(self._db, (user_nid,)):
            return None
        return user_nid


def encode_optional(value: Mapping[str, Any] | None) -> bytes | None:
    """The JSON of a value that may be absent. Raises `BadJson`."""
    return None if value is None else canonical_json.encode_lax(value)
