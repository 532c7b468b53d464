"""What other servers are told of the devices of this server's users, and the keys they are given.

Source: server-server API, "Device Management", "End-to-End Encryption".
"""

from collections.abc import Mapping, Sequence
from typing import Any

from federation.protocol.errors import NotFound
from federation.protocol.identifiers import ServerName, UserId
from homeserver.config.sections.federation import Federation as FederationSettings
from homeserver.encryption.one_time_keys import OneTimeKeys
from homeserver.encryption.published_keys import LocalKeys
from homeserver.users.served_users import check_ours
from storage.accounts import find_accounts
from storage.database import Database
from storage.device_lists import find_stream_id, read_user_keys, signing_keys

NO_UPDATE = 0


class ServedDevices:
    """Tells of devices and gives keys away."""

    def __init__(
        self,
        db: Database,
        settings: FederationSettings,
        server_name: ServerName,
        local: LocalKeys,
        one_time_keys: OneTimeKeys,
    ) -> None:
        self._db = db
        self._settings = settings
        self._server_name = server_name
        self._local = local
        self._one_time_keys = one_time_keys

    async def device_list(self, user_id: UserId) -> Mapping[str, Any]:
        """All devices of a user. Raises `InvalidParam` (another server's user), `NotFound`."""
        check_ours(user_id, self._server_name)
        account = (await find_accounts(self._db, [user_id])).get(user_id)
        if account is None or account.is_deactivated:
            raise NotFound("There is no such user")
        # Before the devices: what changes meanwhile is told by an update after this one.
        stream_id = await find_stream_id(self._db, account.user_nid)
        keys = await read_user_keys(self._db, (account.user_nid,))
        devices = []
        for device in keys.devices.values():
            shown: dict[str, Any] = {
                "device_id": device.device_id,
                "keys": keys.device_keys(device) or {},
            }
            if self._settings.allow_device_names and device.display_name is not None:
                shown["device_display_name"] = device.display_name
            devices.append(shown)
        answer: dict[str, Any] = {
            "user_id": user_id,
            "stream_id": NO_UPDATE if stream_id is None else stream_id,
            "devices": devices,
        }
        signing = signing_keys(keys, account.user_nid, user_id)
        if signing.master_key is not None:
            answer["master_key"] = signing.master_key
        if signing.self_signing_key is not None:
            answer["self_signing_key"] = signing.self_signing_key
        return answer

    async def query_keys(self, wanted: Mapping[UserId, Sequence[str]]) -> Mapping[str, Any]:
        """The keys of users' devices. Raises `InvalidParam` for other servers' users."""
        for user_id in wanted:
            check_ours(user_id, self._server_name)
        with_names = self._settings.allow_device_names
        published = await self._local.read(wanted, with_names=with_names)
        return {
            "device_keys": published.device_keys,
            "master_keys": published.master_keys,
            "self_signing_keys": published.self_signing_keys,
        }

    async def claim_keys(self, wanted: Mapping[UserId, Mapping[str, str]]) -> Mapping[str, Any]:
        """A key of each device. Raises `InvalidParam` for other servers' users."""
        for user_id in wanted:
            check_ours(user_id, self._server_name)
        return {"one_time_keys": await self._one_time_keys.claim(wanted)}
