"""What other servers are told of the profiles of this server's users.

Source: server-server API, `GET /query/profile`.
"""

from collections.abc import Mapping
from typing import Any

from federation.protocol.errors import Forbidden, InvalidParam
from federation.protocol.identifiers import ServerName, UserId, server_of
from homeserver.config.sections.federation import Federation as FederationSettings
from homeserver.users.profiles import Profiles


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
        return await self._profiles.field(user_id, field)


def check_ours(user_id: UserId, server_name: ServerName) -> None:
    """Raise `InvalidParam` for a user of another server."""
    if server_of(user_id) != server_name:
        raise InvalidParam(f"{user_id} is not a user of this server")
