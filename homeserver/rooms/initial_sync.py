"""Rooms in full, as clients of old ask for them at their start and peeking ones for a single room.

However many rooms there are, they are read with a handful of queries.
Source: client-server API, `GET /initialSync`, `GET /rooms/{roomId}/initialSync`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import orjson

from federation.protocol.auth_events import member_place
from homeserver.rooms.client_events import ClientEvents
from homeserver.rooms.history import is_ignored
from homeserver.rooms.history_token import Gap, gap_after, gap_before
from homeserver.rooms.history_visibility import (
    OwnMembership,
    SeenEvent,
    get_joined_until,
    get_memberships,
    see_events,
)
from homeserver.rooms.ignored_users import IgnoredUsers
from homeserver.rooms.readable_rooms import ReadableRoom, get_readable_room
from homeserver.rooms.viewer import Viewer
from storage.account_data import GLOBAL, account_data_of_rooms, all_account_data
from storage.changes import AccountDataSet, Membership, PresenceSet, StoredEvent
from storage.database import Database
from storage.events import get_events
from storage.feed import current_position
from storage.names import Names, RoomName
from storage.presence import presence_after, presence_of
from storage.room_state import get_states
from storage.state_events import current_members, current_states
from storage.timeline import HIGHEST, events_at, latest_events

DEFAULT_LIMIT = 10
MAX_LIMIT = 100

SELECT_ROOMS = """
    SELECT room_nid, stripped_state
      FROM memberships
     WHERE user_nid = $1
       AND NOT (membership = 2 AND sender_nid = ANY($2::integer[]))
"""
SELECT_PUBLISHED = "SELECT room_nid FROM rooms WHERE published AND room_nid = ANY($1::integer[])"


@dataclass(slots=True)
class RoomCopy:
    """A room in full; events are JSON. `invite` is set for a room that the viewer is invited to.

    `start` and `end` lead to what comes before and after the messages.
    """

    room_id: str
    membership: str | None
    is_published: bool = False
    messages: list[bytes] = field(default_factory=list)
    start: str = str(Gap(0, 0))
    end: str = str(Gap(0, 0))
    state: list[bytes] = field(default_factory=list)
    account_data: list[AccountDataSet] = field(default_factory=list)
    invite: bytes | None = None


@dataclass(frozen=True, slots=True)
class AccountCopy:
    """All that a user has; `end` is where the stream goes on."""

    end: str
    rooms: list[RoomCopy]
    account_data: list[AccountDataSet]
    presence: list[PresenceSet]


class InitialSync:
    """Copies rooms."""

    def __init__(
        self, db: Database, names: Names, clients: ClientEvents, ignored: IgnoredUsers
    ) -> None:
        self._db = db
        self._names = names
        self._clients = clients
        self._ignored = ignored

    async def room(
        self, viewer: Viewer, room_id: str, limit: int
    ) -> tuple[RoomCopy, list[PresenceSet]]:
        """A room, and the presence of those in it if the viewer is too. Raises `Forbidden`."""
        readable = await get_readable_room(self._db, self._names, viewer, room_id)
        room = readable.room
        word = None if readable.own is None else readable.own.membership.word
        copies = {room.room_nid: RoomCopy(room.room_id, word)}
        until = {room.room_nid: readable.until}
        await self._fill(viewer, copies, until, limit, readable.memberships)
        rows = await account_data_of_rooms(self._db, viewer.user_nid, [room.room_nid])
        copies[room.room_nid].account_data = rows
        return copies[room.room_nid], await self._presence(readable)

    async def account(self, viewer: Viewer, limit: int, *, with_left: bool) -> AccountCopy:
        """All rooms that a user is in or invited to, and what else the user has.

        Invites of users whom the user ignores are left out.
        """
        position = await current_position(self._db)
        ignored = await self._ignored.nids_of(viewer.user_nid)
        stripped = dict(await self._db.fetch(SELECT_ROOMS, viewer.user_nid, ignored))
        memberships = await get_memberships(self._db, viewer.user_nid, stripped)
        names = await self._names.rooms.get_many(memberships)
        until = await self._until(viewer, memberships, with_left=with_left)
        copies = {
            nid: RoomCopy(names[nid].room_id, own.membership.word)
            for nid, own in memberships.items()
            if nid in until or own.membership is Membership.INVITE
        }
        await self._fill(viewer, {nid: copies[nid] for nid in until}, until, limit, memberships)
        await self._add_invites(viewer, copies, memberships, names, stripped)
        rows = await all_account_data(self._db, viewer.user_nid)
        for row in rows:
            if row.room_nid in copies:
                copies[row.room_nid].account_data.append(row)
        return AccountCopy(
            f"s{position}",
            list(copies.values()),
            [row for row in rows if row.room_nid == GLOBAL],
            await presence_after(self._db, viewer.user_nid, 0, position),
        )

    async def _until(
        self, viewer: Viewer, memberships: Mapping[int, OwnMembership], *, with_left: bool
    ) -> dict[int, int | None]:
        """The rooms that can be read, up to where; None for those that the user is in."""
        until: dict[int, int | None] = {
            nid: None for nid, own in memberships.items() if own.membership is Membership.JOIN
        }
        gone = [
            nid
            for nid, own in memberships.items()
            if own.membership in (Membership.LEAVE, Membership.BAN) and not own.forgotten
        ]
        if with_left and gone:
            place = await self._names.places.get_nid(member_place(viewer.user_id))
            until |= await get_joined_until(self._db, place, gone, memberships)
        return until

    async def _fill(
        self,
        viewer: Viewer,
        copies: Mapping[int, RoomCopy],
        until: Mapping[int, int | None],
        limit: int,
        memberships: Mapping[int, OwnMembership],
    ) -> None:
        """Put the latest messages and the state into the copies of rooms."""
        upto = {nid: HIGHEST[1] if until[nid] is None else until[nid] or 0 for nid in copies}
        latest = await latest_events(self._db, upto, limit)
        await self._add_messages(viewer, copies, latest, memberships)
        for nid, events in (await self._states(until)).items():
            copies[nid].state = await self._clients.render_state(events, with_room_id=True)
        for (nid,) in await self._db.fetch(SELECT_PUBLISHED, list(copies)):
            copies[nid].is_published = True

    async def _add_messages(
        self,
        viewer: Viewer,
        copies: Mapping[int, RoomCopy],
        latest: Mapping[int, Sequence[StoredEvent]],
        memberships: Mapping[int, OwnMembership],
    ) -> None:
        ignored = await self._ignored.ignored_by(viewer.user_nid)
        events = [event for of_room in latest.values() for event in of_room]
        seen: list[SeenEvent] = [
            item
            for item in await see_events(self._db, self._names, viewer, events, memberships)
            if not is_ignored(item.event, ignored)
        ]
        rendered = await self._clients.render(seen, viewer, with_room_id=True, with_bundles=False)
        for item, message in zip(seen, rendered, strict=True):
            copies[item.event.room_nid].messages.append(message)
        for nid, of_room in latest.items():
            if of_room:
                copies[nid].start = str(gap_before(of_room[0]))
                copies[nid].end = str(gap_after(of_room[-1]))

    async def _states(self, until: Mapping[int, int | None]) -> dict[int, list[StoredEvent]]:
        """The states of rooms, now or as they were when the viewer left."""
        states = await current_states(self._db, [nid for nid, end in until.items() if end is None])
        ends = [end for end in until.values() if end is not None]
        departures = await events_at(self._db, ends) if ends else []
        snapshots = {e.snapshot_nid: e.room_nid for e in departures if e.snapshot_nid is not None}
        then = await get_states(self._db, snapshots) if snapshots else {}
        events = await get_events(self._db, {n for state in then.values() for n in state.values()})
        for snapshot_nid, state in then.items():
            states[snapshots[snapshot_nid]] = [events[nid] for nid in state.values()]
        return states

    async def _add_invites(
        self,
        viewer: Viewer,
        copies: Mapping[int, RoomCopy],
        memberships: Mapping[int, OwnMembership],
        names: Mapping[int, RoomName],
        stripped: Mapping[int, bytes | None],
    ) -> None:
        """Add the invites themselves: from the rooms that are here, or as they were received."""
        invited = {
            nid: own for nid, own in memberships.items() if own.membership is Membership.INVITE
        }
        events = await get_events(self._db, [own.event_nid for own in invited.values()])
        for nid, own in invited.items():
            if own.event_nid in events:
                (invite,) = await self._clients.render_state(
                    [events[own.event_nid]], with_room_id=True
                )
                copies[nid].invite = invite
            else:
                copies[nid].invite = _find_invite(viewer, names[nid], stripped[nid])

    async def _presence(self, readable: ReadableRoom) -> list[PresenceSet]:
        if not readable.is_joined:
            return []
        members = await current_members(self._db, readable.room.room_nid, [Membership.JOIN])
        found = await self._names.users.find_nids(str(event.state_key) for event in members)
        return await presence_of(self._db, found.values())


def _find_invite(viewer: Viewer, room: RoomName, stripped: bytes | None) -> bytes | None:
    """The invite among stripped state."""
    for event in orjson.loads(stripped) if stripped else ():
        if event.get("type") == "m.room.member" and event.get("state_key") == viewer.user_id:
            return orjson.dumps(event | {"room_id": room.room_id})
    return None
