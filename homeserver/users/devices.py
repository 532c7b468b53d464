"""Devices, as their users manage them.

Source: client-server API, "Device Management" and "Logout".
"""

from collections.abc import Sequence

from federation.protocol.errors import InvalidParam, NotFound
from federation.protocol.identifiers import DeviceId, UserId
from homeserver.users.account_data import deletion
from homeserver.users.ports import DeviceLists
from homeserver.users.requester import Requester
from homeserver.users.sessions import Sessions
from homeserver.users.token_issuer import MAX_DISPLAY_NAME
from storage.account_data import GLOBAL, EditAccountData, find_types
from storage.committer import Committer
from storage.database import Pool
from storage.devices import Device, RemoveDevices, RenameDevice, devices_of, find_device
from storage.pushers import delete_pushers_of_other_devices
from storage.tokens import delete_access_token, delete_access_tokens_of_user

DEVICE_SETTINGS = (
    "m.local_notification_settings",
    "org.matrix.msc3890.local_notification_settings",
)
"""Types of account data that end in a device ID."""


class Devices:
    """Lists, renames and removes devices; logging out is removing."""

    __slots__ = ("_committer", "_db", "_device_lists", "_sessions")

    def __init__(
        self, *, db: Pool, committer: Committer, sessions: Sessions, device_lists: DeviceLists
    ) -> None:
        self._db = db
        self._committer = committer
        self._sessions = sessions
        self._device_lists = device_lists

    async def list_of(self, user_nid: int) -> list[Device]:
        """All devices of a user, oldest first."""
        return await devices_of(self._db, user_nid)

    async def get(self, user_nid: int, device_id: str) -> Device:
        """A device of a user. Raises `NotFound`."""
        device = await find_device(self._db, user_nid, device_id)
        if device is None:
            raise NotFound("There is no such device")
        return device

    async def rename(self, user_nid: int, user_id: UserId, device_id: str, name: str) -> None:
        """Give a device another display name. Raises `NotFound`, `InvalidParam`."""
        device = await self.get(user_nid, device_id)
        if len(name) > MAX_DISPLAY_NAME:
            raise InvalidParam(f"A device's name has at most {MAX_DISPLAY_NAME} characters")
        ids = (device.device_id,)
        heard = await self._device_lists.writes_for_change(user_nid, user_id, ids)
        await self._committer.commit(RenameDevice(user_nid, device.device_id, name), *heard)

    async def remove(self, user_nid: int, user_id: UserId, device_ids: Sequence[str]) -> None:
        """Remove devices with their tokens, keys and pushers; unknown ones are ignored."""
        known = {device.device_id for device in await devices_of(self._db, user_nid)}
        ids = [DeviceId(device_id) for device_id in sorted(known.intersection(device_ids))]
        if not ids:
            return
        heard = await self._device_lists.writes_for_removal(user_nid, user_id, ids)
        settings = await self._forget_settings(user_nid, ids)
        await self._committer.commit(RemoveDevices(user_nid, ids), *heard, *settings)
        await self._sessions.end(user_nid)

    async def announce_again(self, users: Sequence[tuple[int, UserId, DeviceId]]) -> None:
        """Have other servers look at users' devices again; of each user one device is named."""
        await self._device_lists.announce_again(users)

    async def _forget_settings(
        self, user_nid: int, device_ids: Sequence[DeviceId]
    ) -> list[EditAccountData]:
        """What deletes the settings that clients keep for these devices.

        Source: MSC3890, "During server-side removal of devices".
        """
        names = [f"{prefix}.{device_id}" for device_id in device_ids for prefix in DEVICE_SETTINGS]
        kept = await find_types(self._db, user_nid, names)
        return [deletion(user_nid, GLOBAL, name) for name in kept]

    async def log_out(self, requester: Requester) -> None:
        """Remove the requester's device, or revoke a token that has none."""
        if requester.device_id is not None:
            await self.remove(requester.user_nid, requester.user_id, [requester.device_id])
            return
        await delete_access_token(self._db, requester.token_id)
        await self._sessions.end(requester.user_nid)

    async def log_out_everywhere(self, user_nid: int, user_id: UserId) -> None:
        """Remove all devices of a user and revoke all tokens."""
        devices = await devices_of(self._db, user_nid)
        await self.remove(user_nid, user_id, [device.device_id for device in devices])
        await delete_access_tokens_of_user(self._db, user_nid)
        await self._sessions.end(user_nid)

    async def log_out_others(
        self, user_nid: int, user_id: UserId, keep_device_nid: int = 0
    ) -> None:
        """Remove all devices of a user but one (0 for none), and pushers not of that one."""
        others = [
            d for d in await devices_of(self._db, user_nid) if d.device_nid != keep_device_nid
        ]
        await self.remove(user_nid, user_id, [device.device_id for device in others])
        await delete_pushers_of_other_devices(self._db, user_nid, keep_device_nid)
