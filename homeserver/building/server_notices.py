"""Notices of the server, put together."""

from homeserver.building.core import Core
from homeserver.rooms.rooms import Rooms
from homeserver.server_notices.notices import Notices
from homeserver.users.personal import Personal
from homeserver.users.users import Users


def build_server_notices(core: Core, rooms: Rooms, users: Users, personal: Personal) -> Notices:
    """Put the service together."""
    return Notices(
        db=core.db,
        names=core.names,
        settings=core.settings,
        creation=rooms.creation,
        memberships=rooms.memberships,
        send=core.send,
        accounts=users.accounts,
        profiles=personal.profiles,
        account_data=personal.account_data,
    )
