"""What other servers are told of this server's users: profiles and devices.

Source: server-server API, `GET /query/profile`, "Device Management", "End-to-End Encryption".
"""

from collections.abc import Mapping, Sequence
from typing import Any

from federation.protocol.errors import Forbidden, InvalidParam, NotFound
from federation.protocol.identifiers import ServerName, UserId, server_of
from homeserver.config.settings import Federation as FederationSettings
from homeserver.users.profiles import Profiles
from storage.accounts import find_accounts
from storage.database import Database
from storage.devices import devices_of
from storage.feed import current_position


class ServedProfiles:
    """Tells other servers users' profiles."""

    def __init__(
        self, profiles: Profiles, settings: FederationSettings, server_name: ServerName
    ) -> None:
        self._profiles = profiles
        self._settings = settings
        self._server_name = server_name

    async def profile(self, user_id: UserId, field: str | None) -> Mapping[str, Any]:
        """A user's profile, or one field of it.

        Raises `Forbidden` where profiles are not told, `InvalidParam` (another server's user),
        `NotFound`.
        """
        check_ours(user_id, self._server_name)
        if not self._settings.allow_profile_lookup:
            raise Forbidden("Profile lookup over federation is disabled on this homeserver")
        if field is None:
            return await self._profiles.profile(user_id)
        return {field: await self._profiles.field(user_id, field)}


class ServedDevices:
    """Tells other servers users' devices, which have no keys as long as there is no encryption."""

    def __init__(self, db: Database, settings: FederationSettings, server_name: ServerName) -> None:
        self._db = db
        self._settings = settings
        self._server_name = server_name

    async def device_list(self, user_id: UserId) -> Mapping[str, Any]:
        """All devices of a user. Raises `InvalidParam` (another server's user), `NotFound`."""
        check_ours(user_id, self._server_name)
        account = (await find_accounts(self._db, [user_id])).get(user_id)
        if account is None or account.is_deactivated:
            raise NotFound("There is no such user")
        # Before the devices: who hears of a change after this position asks again.
        position = await current_position(self._db)
        devices = []
        for device in await devices_of(self._db, account.user_nid):
            shown: dict[str, Any] = {"device_id": device.device_id, "keys": {}}
            if self._settings.allow_device_names and device.display_name is not None:
                shown["device_display_name"] = device.display_name
            devices.append(shown)
        return {"user_id": user_id, "stream_id": position, "devices": devices}

    async def query_keys(self, wanted: Mapping[UserId, Sequence[str]]) -> Mapping[str, Any]:
        """No keys of any user. Raises `InvalidParam` for other servers' users."""
        for user_id in wanted:
            check_ours(user_id, self._server_name)
        return {
            "device_keys": {user_id: {} for user_id in wanted},
            "master_keys": {},
            "self_signing_keys": {},
        }

    async def claim_keys(self, wanted: Mapping[UserId, Mapping[str, str]]) -> Mapping[str, Any]:
        """No keys of any device. Raises `InvalidParam` for other servers' users."""
        for user_id in wanted:
            check_ours(user_id, self._server_name)
        return {"one_time_keys": {}}


def check_ours(user_id: UserId, server_name: ServerName) -> None:
    """Raise `InvalidParam` for a user of another server."""
    if server_of(user_id) != server_name:
        raise InvalidParam(f"{user_id} is not a user of this server")
