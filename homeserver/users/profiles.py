"""Profiles: what users tell everybody about themselves.

Source: client-server API, "Profiles".
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import orjson

from federation.protocol.errors import (
    BadJson,
    InvalidParam,
    KeyTooLarge,
    NotFound,
    ProfileTooLarge,
)
from federation.protocol.identifiers import (
    ServerName,
    UserId,
    is_valid_historical_user_id,
    server_of,
)
from homeserver.users.ports import MemberEvents, RemoteProfiles, ServiceUsers
from storage.accounts import find_accounts
from storage.database import Database, Pool
from storage.names import Names
from storage.profiles import (
    AVATAR_URL,
    DISPLAYNAME,
    delete_profile_field,
    find_profile_field,
    member_profiles,
    profile_of,
    set_profile_field,
)

MAX_PROFILE_BYTES: Final = 65_534
"""Without the braces; the whole must stay under 64 KiB."""
MAX_FIELD_NAME_BYTES: Final = 255
MAX_LENGTHS: Final = {DISPLAYNAME: 256, AVATAR_URL: 1000}
"""Of the fields that go into every member event, in characters."""

FIELD_NAME = re.compile(r"[a-z][a-z0-9_.-]*")
"""Source: appendices, "Common Namespaced Identifier Grammar"."""


class MemberProfiles:
    """What of users' profiles goes into their member events."""

    __slots__ = ("_db", "_names")

    def __init__(self, db: Database, names: Names) -> None:
        self._db = db
        self._names = names

    async def get(self, user_id: UserId) -> dict[str, str]:
        """`displayname` and `avatar_url`, each only where the user has one."""
        user_nid = await self._names.users.find_nid(user_id)
        if user_nid is None:
            return {}
        profile = (await member_profiles(self._db, [user_nid]))[user_nid]
        fields = {DISPLAYNAME: profile.displayname, AVATAR_URL: profile.avatar_url}
        return {field: value for field, value in fields.items() if value is not None}


class Profiles:
    """The profiles of users, who may change theirs if they are of this server."""

    __slots__ = ("_db", "_member_events", "_remote", "_server_name", "_services")

    def __init__(
        self,
        db: Pool,
        member_events: MemberEvents,
        remote: RemoteProfiles,
        services: ServiceUsers,
        server_name: ServerName,
    ) -> None:
        self._db = db
        self._member_events = member_events
        self._remote = remote
        self._services = services
        self._server_name = server_name

    async def profile(self, user_id: str) -> Mapping[str, Any]:
        """All fields of a user's profile.

        Of another server's user raises what that server answers. Raises `NotFound`.
        """
        if self._is_elsewhere(user_id):
            return await self._remote.profile(UserId(user_id))
        user_nid = await self._get_user(user_id)
        fields = await profile_of(self._db, user_nid)
        return {field: orjson.loads(value) for field, value in fields.items()}

    async def field(self, user_id: str, field: str) -> Mapping[str, Any]:
        """One field of a user's profile under its name. Raises as `profile` does.

        A name or avatar that is not there is no error: bridges ask what ghosts are called before
        they name them, and take an error for a reason not to. For other fields raises `NotFound`.
        """
        if self._is_elsewhere(user_id):
            fields = await self._remote.profile(UserId(user_id))
            return {field: fields[field]} if field in fields else missing_field(field)
        user_nid = await self._get_user(user_id)
        value = await find_profile_field(self._db, user_nid, field)
        return missing_field(field) if value is None else {field: orjson.loads(value)}

    async def set_field(self, user_id: UserId, user_nid: int, field: str, value: object) -> None:
        """Set a field; a new name or avatar is shown in the user's rooms before this returns.

        An empty name or avatar is none, as clients have always meant it.
        Raises `InvalidParam`, `BadJson`, `KeyTooLarge`, `ProfileTooLarge`.
        """
        check_field_name(field)
        if field in MAX_LENGTHS:
            if value is None or value == "":
                await self.delete_field(user_id, user_nid, field)
                return
            check_member_field(field, value)
        encoded = orjson.dumps(value)
        if await find_profile_field(self._db, user_nid, field) == encoded:
            return
        if not await set_profile_field(self._db, user_nid, field, encoded, MAX_PROFILE_BYTES):
            raise ProfileTooLarge("A profile must be smaller than 64 KiB")
        await self._show_in_rooms(user_id, user_nid, field)

    async def delete_field(self, user_id: UserId, user_nid: int, field: str) -> None:
        """Remove a field, if it is there. Raises `InvalidParam`, `KeyTooLarge`."""
        check_field_name(field)
        if await delete_profile_field(self._db, user_nid, field):
            await self._show_in_rooms(user_id, user_nid, field)

    def _is_elsewhere(self, user_id: str) -> bool:
        is_ours = server_of(user_id) == self._server_name
        return not is_ours and is_valid_historical_user_id(user_id)

    async def _get_user(self, user_id: str) -> int:
        wanted = UserId(user_id)
        account = (await find_accounts(self._db, [wanted])).get(wanted)
        if account is None and await self._services.make_user_known(wanted):
            account = (await find_accounts(self._db, [wanted])).get(wanted)
        if account is None or account.is_deactivated:
            raise NotFound("There is no profile of this user")
        return account.user_nid

    async def _show_in_rooms(self, user_id: UserId, user_nid: int, field: str) -> None:
        if field not in MAX_LENGTHS:
            return
        profile = (await member_profiles(self._db, [user_nid]))[user_nid]
        await self._member_events.update_member_profiles(
            user_id, profile.displayname, profile.avatar_url
        )


def missing_field(field: str) -> Mapping[str, Any]:
    """What is told of a field that a profile does not have. Raises `NotFound`."""
    if field in MAX_LENGTHS:
        return {}
    raise NotFound("The profile has no such field")


def check_field_name(field: str) -> None:
    """Raise `KeyTooLarge` or `InvalidParam` unless a profile may have a field of this name."""
    if len(field.encode()) > MAX_FIELD_NAME_BYTES:
        raise KeyTooLarge(f"A field name may have at most {MAX_FIELD_NAME_BYTES} bytes")
    if not FIELD_NAME.fullmatch(field):
        raise InvalidParam("Not the name of a profile field")


def check_member_field(field: str, value: object) -> None:
    """Raise `BadJson` or `InvalidParam` unless the value can go into member events."""
    if not isinstance(value, str) or "\0" in value:
        raise BadJson(f"'{field}' must be a string without NUL characters")
    if len(value) > MAX_LENGTHS[field]:
        raise InvalidParam(f"'{field}' may have at most {MAX_LENGTHS[field]} characters")
