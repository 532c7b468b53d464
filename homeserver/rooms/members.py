"""Who is in a room, now or at a point of its history.

Source: client-server API, `GET /rooms/{roomId}/members`, `GET /rooms/{roomId}/joined_members`.
"""

from collections.abc import Mapping

from federation.protocol.errors import Forbidden
from homeserver.rooms.client_events import ClientEvents
from homeserver.rooms.history import History, MessagesRequest
from homeserver.rooms.history_token import HistoryPoint
from homeserver.rooms.history_visibility import see_events
from homeserver.rooms.readable_rooms import NOT_A_MEMBER, ReadableRoom, get_readable_room
from homeserver.rooms.viewer import Viewer
from storage.changes import Membership, StoredEvent
from storage.database import Database
from storage.names import Names
from storage.room_state import get_state
from storage.state_events import choose_events, current_members
from storage.timeline import Criteria, find_event_at, find_first_member, page_of_history

MEMBERS = Criteria(types=["m.room.member"])


class Members:
    """Lists the members of rooms."""

    def __init__(self, db: Database, names: Names, clients: ClientEvents, history: History) -> None:
        self._db = db
        self._names = names
        self._clients = clients
        self._history = history

    async def members(
        self,
        viewer: Viewer,
        room_id: str,
        *,
        at: HistoryPoint | None = None,
        membership: Membership | None = None,
        not_membership: Membership | None = None,
    ) -> list[bytes]:
        """The member events of a room, now, at a point, or when the viewer left it.

        Those are told whose membership is `membership` or is not `not_membership`.
        Raises `Forbidden`.
        """
        wanted = choose_memberships(membership, not_membership)
        readable = await get_readable_room(self._db, self._names, viewer, room_id)
        if at is None and readable.until is None:
            events = await current_members(self._db, readable.room.room_nid, wanted)
        else:
            events = await self._members_at(await self._find_moment(viewer, readable, at))
            words = {choice.word for choice in wanted}
            events = [event for event in events if event.content.get("membership") in words]
        return await self._clients.render_state(events, with_room_id=True)

    async def joined(self, viewer: Viewer, room_id: str) -> dict[str, dict[str, str | None]]:
        """How the joined members of a room present themselves there, by user ID.

        Raises `Forbidden` for all but members.
        """
        readable = await get_readable_room(self._db, self._names, viewer, room_id)
        if not readable.is_joined:
            raise Forbidden(NOT_A_MEMBER)
        events = await current_members(self._db, readable.room.room_nid, [Membership.JOIN])
        return {str(event.state_key): present_member(event.content) for event in events}

    async def _find_moment(
        self, viewer: Viewer, readable: ReadableRoom, at: HistoryPoint | None
    ) -> StoredEvent | None:
        """The event after which the state is asked for; its sight is what the viewer needs."""
        room_nid = readable.room.room_nid
        if at is None and readable.until is not None:
            return await find_event_at(self._db, room_nid, readable.until)
        span = await self._history.span(readable, MessagesRequest(backwards=True, start=at))
        found = await page_of_history(self._db, span, 1, backwards=True)
        # Before all history that is here there is no state to tell of; the first one is next.
        event = found[0] if found else await find_first_member(self._db, room_nid)
        if event is None:
            return None
        if not await see_events(self._db, self._names, viewer, [event], readable.memberships):
            raise Forbidden("You may not see the room as it was then")
        return event

    async def _members_at(self, event: StoredEvent | None) -> list[StoredEvent]:
        if event is None or event.snapshot_nid is None:
            return []
        state = await get_state(self._db, event.snapshot_nid)
        return await choose_events(self._db, state.values(), MEMBERS)


def choose_memberships(
    membership: Membership | None, not_membership: Membership | None
) -> list[Membership]:
    """The memberships that are the one or are not the other; all if neither is given."""
    if membership is None and not_membership is None:
        return list(Membership)
    return [
        choice
        for choice in Membership
        if choice is membership or (not_membership is not None and choice is not not_membership)
    ]


def present_member(content: Mapping[str, object]) -> dict[str, str | None]:
    """The name and avatar in a membership's content; None where it has none."""
    shown = {"display_name": content.get("displayname"), "avatar_url": content.get("avatar_url")}
    return {key: value if isinstance(value, str) else None for key, value in shown.items()}
