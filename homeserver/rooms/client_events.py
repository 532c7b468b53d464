"""Events as clients see them, with everything that stands in `unsigned`.

What a page of events needs beside the events themselves (replaced state, redactions, transaction
IDs, bundled aggregations) is read with one query each, and only where an event calls for it.
Source: client-server API, "Room event format", "Aggregations of child events".
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from federation.protocol.event_rendering import build_client_event, dump_event
from federation.protocol.room_versions import get_room_version
from federation.protocol.sticky import STICKY, TTL, sticky_until
from homeserver.clock import Clock
from homeserver.rooms.history_visibility import SeenEvent
from homeserver.rooms.relations import Bundles
from homeserver.rooms.viewer import Viewer
from storage.changes import StoredEvent
from storage.database import Database
from storage.events import get_events
from storage.names import Names, RoomName
from storage.sticky_events import expiry_of

AT_ONCE = 500
"""State events that are rendered before others get their turn: a room may have very many."""

SELECT_ECHOES = """
    SELECT own.event_nid, t.txn_id, d.delay_id
      FROM unnest($1::bigint[]) AS own (event_nid)
      LEFT JOIN event_transactions AS t
        ON t.event_nid = own.event_nid AND t.device_nid = $2
      LEFT JOIN delayed_events AS d ON d.event_nid = own.event_nid
     WHERE t.txn_id IS NOT NULL OR d.delay_id IS NOT NULL
"""


class ClientEvents:
    """Makes events ready for one viewer, many at a time."""

    def __init__(self, db: Database, names: Names, bundles: Bundles, clock: Clock) -> None:
        self._db = db
        self._names = names
        self._bundles = bundles
        self._clock = clock

    async def render(
        self,
        seen: Sequence[SeenEvent],
        viewer: Viewer,
        *,
        with_room_id: bool,
        with_bundles: bool = True,
    ) -> list[bytes]:
        """The JSON of each event, in the order given."""
        built = await self.build(seen, viewer, with_room_id=with_room_id, with_bundles=with_bundles)
        return [dump_event(event) for event in built]

    async def build(
        self,
        seen: Sequence[SeenEvent],
        viewer: Viewer,
        *,
        with_room_id: bool,
        with_bundles: bool = True,
    ) -> list[dict[str, Any]]:
        """The fields of each event with `unsigned`, in the order given."""
        events = [item.event for item in seen]
        rooms = await self._names.rooms.get_many({event.room_nid for event in events})
        related = await self._related(events)
        echoes = await self._echoes(events, viewer)
        left_ms = await self._time_left(events)
        bundles = await self._bundles.of(events, viewer) if with_bundles else {}
        built = []
        for event, membership in ((item.event, item.membership) for item in seen):
            room = rooms[event.room_nid]
            fields = build_fields(event, room, with_room_id=with_room_id)
            unsigned: dict[str, Any] = {"membership": membership}
            if event.event_nid in echoes:
                unsigned.update(echoes[event.event_nid])
            if event.event_nid in left_ms:
                unsigned[TTL] = left_ms[event.event_nid]
            add_related(unsigned, event, related, room)
            if event.event_nid in bundles:
                unsigned["m.relations"] = bundles[event.event_nid]
            fields["unsigned"] = unsigned
            built.append(fields)
        return built

    async def build_plain(self, events: Sequence[StoredEvent]) -> list[dict[str, Any]]:
        """The fields of each event for nobody in particular, such as an application service.

        `unsigned` has what an event replaced and what redacted it.
        """
        rooms = await self._names.rooms.get_many({event.room_nid for event in events})
        related = await self._related(events)
        built = []
        for event in events:
            fields = build_fields(event, rooms[event.room_nid], with_room_id=True)
            fields["unsigned"] = {}
            add_related(fields["unsigned"], event, related, rooms[event.room_nid])
            built.append(fields)
        return built

    async def render_state(
        self, events: Sequence[StoredEvent], *, with_room_id: bool
    ) -> list[bytes]:
        """The JSON of state events that are told for themselves and not as a part of history.

        Of `unsigned` they have only what redacted them: what they replaced would double the cost
        of a list of members.
        """
        rooms = await self._names.rooms.get_many({event.room_nid for event in events})
        redactions = await get_events(
            self._db, {event.redacted_by for event in events if event.redacted_by is not None}
        )
        rendered = []
        for number, event in enumerate(events, 1):
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)
            room = rooms[event.room_nid]
            fields = build_fields(event, room, with_room_id=with_room_id)
            unsigned: dict[str, Any] = {}
            add_redaction(unsigned, redactions.get(event.redacted_by or 0), room)
            if unsigned:
                fields["unsigned"] = unsigned
            rendered.append(dump_event(fields))
        return rendered

    async def _related(self, events: Sequence[StoredEvent]) -> dict[int, StoredEvent]:
        """The events that these replaced in the state or were redacted by."""
        wanted = {nid for event in events for nid in (event.replaces_nid, event.redacted_by) if nid}
        return await get_events(self._db, wanted)

    async def _time_left(self, events: Sequence[StoredEvent]) -> dict[int, int]:
        """For how much longer those of the events that are sticky are so."""
        now = self._clock()
        sticky = [
            event.event_nid
            for event in events
            if STICKY in event.fields and (sticky_until(event.fields, now) or 0) > now
        ]
        if not sticky:
            return {}
        expiry = await expiry_of(self._db, sticky)
        return {nid: expires_ts - now for nid, expires_ts in expiry.items() if expires_ts > now}

    async def _echoes(
        self, events: Sequence[StoredEvent], viewer: Viewer
    ) -> dict[int, dict[str, Any]]:
        """What the viewer is shown of how their own events were made."""
        own = [event.event_nid for event in events if event.sender_nid == viewer.user_nid]
        if not own:
            return {}
        rows = await self._db.fetch(SELECT_ECHOES, own, viewer.device_nid)
        return {
            event_nid: {"transaction_id": txn_id} if delay_id is None else delay_echo(delay_id)
            for event_nid, txn_id, delay_id in rows
        }


def delay_echo(delay_id: str) -> dict[str, Any]:
    """What the sender of a delayed event is shown in `unsigned`, by both names of MSC4140."""
    return {"delay_id": delay_id, "org.matrix.msc4140.delay_id": delay_id}


def build_fields(event: StoredEvent, room: RoomName, *, with_room_id: bool) -> dict[str, Any]:
    """The fields of an event that are the same for everybody."""
    room_id = room.room_id if with_room_id else None
    return build_client_event(
        event.fields, event.event_id, room_id, get_room_version(room.version_id)
    )


def add_related(
    unsigned: dict[str, Any],
    event: StoredEvent,
    related: Mapping[int, StoredEvent],
    room: RoomName,
) -> None:
    """Add what an event replaced in the state and what redacted it."""
    replaced = related.get(event.replaces_nid or 0)
    if replaced is not None:
        unsigned["prev_content"] = replaced.content
        unsigned["prev_sender"] = replaced.sender
        unsigned["replaces_state"] = replaced.event_id
    add_redaction(unsigned, related.get(event.redacted_by or 0), room)


def add_redaction(unsigned: dict[str, Any], redaction: StoredEvent | None, room: RoomName) -> None:
    """Add the event that redacted another one, if there is any."""
    if redaction is not None:
        fields = build_fields(redaction, room, with_room_id=True)
        unsigned["redacted_because"] = fields
        unsigned["redacted_by"] = redaction.event_id
