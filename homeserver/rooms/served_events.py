"""Events of rooms for the other servers in them: singly, as states, and along the graph.

Events go out as the bytes that were stored. An event that a server may not see goes out redacted,
so that it can still follow the graph. Rejected events are given singly, to who is in the room and
meets them in the graph, and never in a walk.
Source: server-server API, "Backfilling and retrieving missing events", "Retrieving events".
"""

import asyncio
from collections.abc import Mapping, Sequence

import orjson

from federation.inbound.reading_ports import EventTime, Gap, ServedState
from federation.protocol.canonical_json import encode_for
from federation.protocol.errors import NotFound
from federation.protocol.event_rendering import decode_event
from federation.protocol.identifiers import EventId, RoomId, ServerName
from federation.protocol.redaction import redact
from federation.protocol.room_versions import get_room_version
from homeserver.rooms.auth_chains import AuthChains
from homeserver.rooms.server_access import ServerAccess, shut_out
from homeserver.rooms.server_visibility import Onlooker, find_hidden
from storage.cache import Cache
from storage.changes import Standing
from storage.database import Database
from storage.event_graph import (
    GraphEvent,
    events_before,
    events_between,
    find_graph_event,
    get_pdus,
    get_sorted_ids,
)
from storage.names import Names, RoomName
from storage.room_state import get_state
from storage.timeline import HIGHEST, LOWEST, Moment, events_near_time

STATES_AT_ONCE = 2
"""States with their chains may be large; so many are in memory at a time."""


class ServedEvents:
    """Hands events on to other servers."""

    def __init__(
        self, db: Database, names: Names, access: ServerAccess, chains: AuthChains, max_bytes: int
    ) -> None:
        self._db = db
        self._names = names
        self._access = access
        self._chains = chains
        self._state_ids: Cache[int, bytes] = Cache(max_bytes)
        """Answers by event: many servers ask for the state before the same event."""
        self._states = asyncio.Semaphore(STATES_AT_ONCE)

    async def event(self, origin: ServerName, event_id: EventId) -> bytes:
        """A single event. Raises `NotFound`, `Forbidden`."""
        event = await find_graph_event(self._db, event_id)
        if event is None:
            raise not_found(event_id)
        room = await self._names.rooms.get(event.room_nid)
        standing = await self._access.find_standing(room.room_id, origin)
        if standing is None:
            raise not_found(event_id)
        if not standing.is_allowed:
            raise shut_out(origin)
        onlooker = Onlooker(origin, room.room_nid, standing.is_in_room)
        hidden = await find_hidden(self._db, self._names, onlooker, [event])
        is_strange = hidden or event.standing == Standing.REJECTED
        if is_strange and not standing.is_in_room:
            raise not_found(event_id)
        return redacted(event, room) if hidden else event.json

    async def state(self, origin: ServerName, room_id: RoomId, event_id: EventId) -> ServedState:
        """The state before an event. Raises `NotFound`, `Forbidden`."""
        room = await self._access.get_room(room_id, origin)
        async with self._states:
            state = await self._state_before(room, event_id)
            chain = await self._chains.chain_of(room, state)
            return ServedState(await get_pdus(self._db, state), await get_pdus(self._db, chain))

    async def state_ids(self, origin: ServerName, room_id: RoomId, event_id: EventId) -> bytes:
        """The state before an event, as the answer's JSON. Raises `NotFound`, `Forbidden`."""
        room = await self._access.get_room(room_id, origin)
        event = await self._get_event(room, event_id)
        known = self._state_ids.get(event.event_nid)
        if known is not None:
            return known
        async with self._states:
            state = await self._state_before(room, event_id)
            chain = await self._chains.chain_of(room, state)
            answer = orjson.dumps(
                {
                    "auth_chain_ids": await get_sorted_ids(self._db, chain),
                    "pdu_ids": await get_sorted_ids(self._db, state),
                }
            )
        self._state_ids.put(event.event_nid, answer, len(answer))
        return answer

    async def auth_chain(
        self, origin: ServerName, room_id: RoomId, event_id: EventId
    ) -> Sequence[bytes]:
        """All that vouches for an event. Raises `NotFound`, `Forbidden`."""
        room = await self._access.get_room(room_id, origin)
        event = await self._get_event(room, event_id)
        return await get_pdus(self._db, await self._chains.chain_of(room, (event.event_nid,)))

    async def backfill(
        self, origin: ServerName, room_id: RoomId, event_ids: Sequence[EventId], limit: int
    ) -> Sequence[bytes]:
        """Events and what precedes them. Raises `NotFound`, `Forbidden`."""
        room = await self._access.get_room(room_id, origin)
        events = await events_before(self._db, room.room_nid, event_ids, limit)
        return await self._show(origin, room, events)

    async def missing_events(
        self, origin: ServerName, room_id: RoomId, gap: Gap
    ) -> Sequence[bytes]:
        """The events of a gap. Raises `NotFound`, `Forbidden`."""
        room = await self._access.get_room(room_id, origin)
        events = await events_between(
            self._db, room.room_nid, gap.earliest, gap.latest, gap.min_depth, gap.limit
        )
        return await self._show(origin, room, events)

    async def closest_event(
        self, origin: ServerName, room_id: RoomId, ts: int, *, backwards: bool
    ) -> EventTime:
        """The event closest to a time. Raises `NotFound`, `Forbidden`."""
        room = await self._access.get_room(room_id, origin)
        moment = Moment(ts, HIGHEST if backwards else LOWEST)
        events = await events_near_time(
            self._db, room.room_nid, moment, HIGHEST[1], 1, backwards=backwards
        )
        if not events:
            raise NotFound("There is no event at that time")
        return EventTime(EventId(events[0].event_id), events[0].fields["origin_server_ts"])

    async def _show(
        self, origin: ServerName, room: RoomName, events: Sequence[GraphEvent]
    ) -> list[bytes]:
        """Events as a server in their room may see them."""
        onlooker = Onlooker(origin, room.room_nid, is_in_room=True)
        hidden = await find_hidden(self._db, self._names, onlooker, events)
        return [
            redacted(event, room) if event.event_nid in hidden else event.json for event in events
        ]

    async def _get_event(self, room: RoomName, event_id: EventId) -> GraphEvent:
        event = await find_graph_event(self._db, event_id)
        if event is None or event.room_nid != room.room_nid:
            raise not_found(event_id)
        return event

    async def _state_before(self, room: RoomName, event_id: EventId) -> list[int]:
        """The events of the state before an event. Raises `NotFound`, also for an outlier."""
        event = await self._get_event(room, event_id)
        if event.snapshot_nid is None:
            raise NotFound(f"The state before {event_id} is not known here")
        state = await get_state(self._db, event.snapshot_nid)
        return list(without_event(state, event).values())


def without_event(state_after: Mapping[int, int], event: GraphEvent) -> dict[int, int]:
    """The state before an event, by the one after it."""
    state = dict(state_after)
    if event.place_nid is not None and state.get(event.place_nid) == event.event_nid:
        del state[event.place_nid]
        if event.replaces_nid is not None:
            state[event.place_nid] = event.replaces_nid
    return state


def redacted(event: GraphEvent, room: RoomName) -> bytes:
    """The redacted form of an event."""
    version = get_room_version(room.version_id)
    return encode_for(redact(decode_event(event.json, version), version), version)


def not_found(event_id: str) -> NotFound:
    """The error for an event that is not here."""
    return NotFound(f"Could not find event {event_id}")
