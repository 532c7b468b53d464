"""Events of other servers enter a room.

What comes here has valid signatures and hashes. Batches of one room come one after the other; each
is judged and staged by `taking`, with the room locked, and committed at once.
Source: server-server API, "Checks performed on receipt of a PDU".
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence

from federation.protocol.identifiers import EventId
from federation.protocol.pdu import Pdu
from homeserver.rooms.live import Known, LiveRoom
from homeserver.rooms.resolver import StateMap
from homeserver.rooms.room_events import known_of
from homeserver.rooms.taking import Door, Taking, Terms, Verdict
from storage.add_events import EventSeen, RoomMoved, Transaction
from storage.database import Database
from storage.events import find_events

ATTEMPTS = 5


class Arrivals:
    """Lets events of other servers into rooms."""

    def __init__(self, door: Door) -> None:
        self._door = door

    async def enter(
        self,
        room_id: str,
        pdus: Sequence[Pdu],
        states_before: Mapping[EventId, StateMap] | None = None,
        *,
        is_relayed: bool = False,
        unwanted: Mapping[EventId, str] | None = None,
        transaction: Transaction | None = None,
    ) -> dict[EventId, Verdict]:
        """Take events in the order given, each after those that it refers to.

        `states_before` has the states of events behind a gap, whose `prev_events` are not all
        known, as another server tells them. Events that are in the room already are passed over.
        With `is_relayed` it is for this server to tell the others in the room. Those that are
        `unwanted`, for a reason, are soft-failed. A `transaction` is that of the one event.
        Answered when all is committed.
        """
        for _ in range(ATTEMPTS):
            room = await self._door.live.get(room_id)
            async with room.lock:
                if room.is_stale:
                    continue
                terms = Terms(states_before or {}, is_relayed, unwanted or {}, transaction)
                taking = Taking(self._door, room, terms)
                try:
                    verdicts, done = await taking.take(pdus)
                except (RoomMoved, EventSeen):
                    continue
                except BaseException:
                    self._door.live.drop(room)
                    raise
            try:
                if done is not None:
                    await asyncio.shield(done)
            except (RoomMoved, EventSeen):
                continue
            return verdicts
        raise RoomMoved([room.room_nid])


async def find_known(
    db: Database, room: LiveRoom, event_ids: Iterable[EventId]
) -> dict[EventId, Known]:
    """Those of the events that are stored, and of this room: others mean nothing to it."""
    found = await find_events(db, set(event_ids))
    return {
        EventId(i): known_of(room, event)
        for i, event in found.items()
        if event.room_nid == room.room_nid
    }
