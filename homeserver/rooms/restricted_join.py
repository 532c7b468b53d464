"""Letting members of other rooms into a restricted room.

Source: client-server API, "Restricted rooms"; server-server API, `GET /make_join`.
"""

from federation.protocol.auth_events import CREATE, JOIN_RULES, POWER_LEVELS, member_place
from federation.protocol.auth_rules.membership import is_restricted
from federation.protocol.errors import Forbidden, UnableToAuthoriseJoin, UnableToGrantJoin
from federation.protocol.identifiers import ServerName, UserId, server_of
from federation.protocol.power_levels import room_creators
from homeserver.rooms.live import LiveRoom, LiveRooms
from storage.database import Database
from storage.directory import allowed_room_ids
from storage.memberships import is_joined_to_any, local_members, rooms_with_local_members
from storage.names import Names

MAX_ALLOWED_ROOMS = 1_000


class RestrictedJoins:
    """Finds who may let somebody into a restricted room."""

    def __init__(
        self, db: Database, names: Names, live: LiveRooms, server_name: ServerName
    ) -> None:
        self._db = db
        self._names = names
        self._live = live
        self._server_name = server_name

    async def applies_to(self, room: LiveRoom, user_id: str) -> bool:
        """Whether a join needs somebody who lets the user in; hold the room's lock.

        Nobody is needed for an invited or joined user.
        """
        await self._live.load_entries(room, (JOIN_RULES, member_place(user_id)))
        rules, member = room.state[JOIN_RULES], room.state[member_place(user_id)]
        if rules is None or (member and member.pdu.content.get("membership") in IN_ANYWAY):
            return False
        join_rule = rules.pdu.content.get("join_rule")
        return isinstance(join_rule, str) and is_restricted(join_rule, room.version)

    async def find_voucher(self, room: LiveRoom, user_id: str) -> UserId:
        """The user of this server who lets `user_id` in; hold the room's lock.

        Raises `Forbidden` (the user is in none of the allowed rooms), `UnableToAuthoriseJoin`
        (in none of those that this server knows), `UnableToGrantJoin` (nobody here may invite).
        """
        await self._check_allowed(room, user_id)
        for candidate in await self._candidates(room):
            place = member_place(candidate)
            await self._live.load_entries(room, (place,))
            member = room.state[place]
            if member is not None and member.pdu.content.get("membership") == "join":
                return candidate
        raise UnableToGrantJoin(f"Nobody on {self._server_name} may let users into this room")

    async def _check_allowed(self, room: LiveRoom, user_id: str) -> None:
        await self._live.load_entries(room, (JOIN_RULES,))
        rules = room.state[JOIN_RULES]
        allowed = allowed_room_ids(rules.pdu.content)[:MAX_ALLOWED_ROOMS] if rules else []
        known = await rooms_with_local_members(self._db, allowed)
        user_nid = await self._names.users.find_nid(user_id)
        if user_nid is not None and await is_joined_to_any(self._db, user_nid, known):
            return
        if set(allowed) - known:
            raise UnableToAuthoriseJoin("This server does not know all rooms that let users in")
        raise Forbidden("You are in none of the rooms whose members may join")

    async def _candidates(self, room: LiveRoom) -> list[UserId]:
        """Users of this server who may invite, the most powerful first."""
        power, create = room.power, room.state[CREATE]
        if power is None or create is None:
            return []
        levels = room.state[POWER_LEVELS]
        named = levels.pdu.content.get("users") if levels else None
        users = {*room_creators(create.pdu), *(named if isinstance(named, dict) else ())}
        ours = [user for user in users if is_user_of(user, self._server_name)]
        found = sorted((u for u in ours if power.of(u) >= power.invite), key=power.of, reverse=True)
        if power.users_default >= power.invite:
            members = await local_members(self._db, room.room_nid, 10)
            found += [user for user in members if power.of(user) >= power.invite]
        return [UserId(user) for user in found]


IN_ANYWAY = ("invite", "join")


def is_user_of(user_id: str, server_name: str) -> bool:
    """Whether a text that should be a user ID is one of this server's."""
    return user_id.startswith("@") and server_of(user_id) == server_name
