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
from homeserver.rooms.room_events import known_of
from homeserver.rooms.taking import Door, Taking, Terms, Told, Verdict
from storage.add_events import Cause, EventSeen, RoomMoved
from storage.database import Database
from storage.events import find_events
from storage.nids import NidSequence

ATTEMPTS = 5
NOTHING_TOLD = Told()


class Arrivals:
    """Lets events of other servers into rooms."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._older_positions = NidSequence(door.db, "backfill_positions")

    async def enter(
        self,
        room_id: str,
        pdus: Sequence[Pdu],
        told: Told = NOTHING_TOLD,
        *,
        is_relayed: bool = False,
        unwanted: Mapping[EventId, str] | None = None,
        cause: Cause | None = None,
    ) -> dict[EventId, Verdict]:
        """Take events in the order given, each after those that it refers to.

        `told` has states behind gaps. Events that are in the room already are passed over. With
        `is_relayed` it is for this server to tell the others in the room. Those that are
        `unwanted`, for a reason, are soft-failed. A `cause` is that of the one event.
        Answered when all is committed.
        """
        terms = Terms(told, is_relayed, unwanted=unwanted or {}, cause=cause)
        return await self._enter(room_id, pdus, terms)

    async def enter_older(
        self, room_id: str, pdus: Sequence[Pdu], told: Told
    ) -> dict[EventId, Verdict]:
        """Take events that happened before others that are here, in the order given.

        They have their places before all that the stream has and move nothing in the room.
        """
        positions = sorted(await self._older_positions.take(len(pdus)))
        older = {pdu.event_id: at for pdu, at in zip(pdus, positions, strict=True)}
        return await self._enter(room_id, pdus, Terms(told, older=older))

    async def _enter(
        self, room_id: str, pdus: Sequence[Pdu], terms: Terms
    ) -> dict[EventId, Verdict]:
        for _ in range(ATTEMPTS):
            room = await self._door.live.get(room_id)
            async with room.lock:
                if room.is_stale:
                    continue
                try:
                    verdicts, done = await Taking(self._door, room, terms).take(pdus)
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
