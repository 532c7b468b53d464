"""Telling of changes: those who share a room with a user hear of the user's devices and keys.

Source: server-server API, "Device Management"; client-server API, "Tracking the device list for a
user".
"""

from collections.abc import Sequence
from dataclasses import replace

from federation.protocol.identifiers import DeviceId, ServerName, UserId
from homeserver.clock import Clock
from homeserver.config.sections.federation import Federation
from homeserver.encryption.ports import RoomServers
from storage.committer import Committer, Write
from storage.cross_signing import is_cross_signing_key
from storage.database import Database
from storage.dehydrated_devices import find_dehydrated_device
from storage.device_lists import AnnounceDevices, IntroduceDevices
from storage.devices import devices_of
from storage.participants import joined_rooms_of


class DeviceLists:
    """Makes what is committed together with a change, so that others hear of it."""

    def __init__(
        self,
        db: Database,
        committer: Committer,
        clock: Clock,
        settings: Federation,
        servers: RoomServers,
    ) -> None:
        self._db = db
        self._committer = committer
        self._clock = clock
        self._settings = settings
        self._servers = servers

    async def writes_for_change(
        self, user_nid: int, user_id: UserId, device_ids: Sequence[DeviceId]
    ) -> Sequence[Write]:
        """Devices have other names, keys or signatures."""
        return (await self._announce(user_nid, user_id, device_ids),)

    async def writes_for_removal(
        self, user_nid: int, user_id: UserId, device_ids: Sequence[DeviceId]
    ) -> Sequence[Write]:
        """Devices are gone."""
        return (await self._announce(user_nid, user_id, device_ids, is_removal=True),)

    async def writes_for_signing_keys(
        self, user_nid: int, user_id: UserId, device_ids: Sequence[DeviceId] = ()
    ) -> Sequence[Write]:
        """The master or self-signing key or their signatures are others, and so are devices."""
        return (await self._announce(user_nid, user_id, device_ids, has_signing_keys=True),)

    async def note_new_device(self, user_nid: int, user_id: UserId, device_id: DeviceId) -> None:
        """A user has one more device, without keys as yet: other servers list it nonetheless."""
        write = await self._announce(user_nid, user_id, (device_id,))
        if write.destinations:
            await self._committer.commit(replace(write, is_for_servers_only=True))

    async def announce_again(self, users: Sequence[tuple[int, UserId, DeviceId]]) -> None:
        """Have other servers look at users' devices again; of each user one device is named."""
        if not self._settings.enabled or not users:
            return
        rooms = await joined_rooms_of(self._db, [user_nid for user_nid, _, _ in users])
        servers = await self._servers.now({room for own in rooms.values() for room in own})
        now = self._clock()
        writes = [
            AnnounceDevices(
                user_nid,
                user_id,
                tuple(rooms[user_nid]),
                frozenset(name for room in rooms[user_nid] for name in servers.get(room, ())),
                (device_id,),
                is_removal=False,
                has_signing_keys=False,
                with_names=self._settings.allow_device_names,
                announced_ts=now,
                is_for_servers_only=True,
            )
            for user_nid, user_id, device_id in users
        ]
        told = [write for write in writes if write.destinations]
        if told:
            await self._committer.commit(*told)

    async def introduce(
        self, user_nid: int, user_id: UserId, servers: frozenset[ServerName]
    ) -> None:
        """Tell servers of all devices of a user who has come into a room of theirs."""
        device_ids = tuple(device.device_id for device in await devices_of(self._db, user_nid))
        if device_ids:
            with_names, now = self._settings.allow_device_names, self._clock()
            await self._committer.commit(
                IntroduceDevices(user_nid, user_id, servers, device_ids, with_names, now)
            )

    async def is_cross_signing_key(self, user_nid: int, device_id: DeviceId) -> bool:
        """Whether one of the user's cross-signing keys has this ID, which no device may have."""
        return await is_cross_signing_key(self._db, user_nid, device_id)

    async def may_log_in(self, user_nid: int, device_id: DeviceId) -> bool:
        """Whether a session may have this ID: none a cross-signing key or dehydrated device has."""
        if await self.is_cross_signing_key(user_nid, device_id):
            return False
        dehydrated = await find_dehydrated_device(self._db, user_nid)
        return dehydrated is None or dehydrated.device_id != device_id

    async def _announce(
        self,
        user_nid: int,
        user_id: UserId,
        device_ids: Sequence[DeviceId],
        *,
        is_removal: bool = False,
        has_signing_keys: bool = False,
    ) -> AnnounceDevices:
        rooms = (await joined_rooms_of(self._db, (user_nid,)))[user_nid]
        servers = await self._servers.now(rooms) if self._settings.enabled and rooms else {}
        return AnnounceDevices(
            user_nid,
            user_id,
            tuple(rooms),
            frozenset(name for names in servers.values() for name in names),
            tuple(device_ids),
            is_removal,
            has_signing_keys,
            self._settings.allow_device_names,
            self._clock(),
        )
