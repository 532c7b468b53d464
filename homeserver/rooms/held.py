"""Events that were taken and cannot be judged yet are kept, and tried again.

What such an event follows was told by its server, so there is nothing to blame the event for; but
something behind it cannot be had now, or does not hold. It is tried again when its server sends
something for the room, for then the server is there, but not all the time.
"""

from collections.abc import Iterable, Mapping

from federation.protocol.event_format import parse_stored_pdu
from federation.protocol.identifiers import EventId
from federation.protocol.pdu import Pdu
from homeserver.clock import Clock
from homeserver.rooms.live import LiveRoom
from storage.committer import Committer
from storage.database import Database
from storage.held_events import HoldEvents, ReleaseEvents, all_holding, held_events

MOST_HELD = 100
"""Of one server in one room."""
TRIED_EVERY_MS = 60_000


class HeldEvents:
    """Keeps events that cannot be judged yet."""

    def __init__(self, db: Database, committer: Committer, clock: Clock) -> None:
        self._db = db
        self._committer = committer
        self._clock = clock
        self._tried: dict[tuple[int, str], int] | None = None

    async def hold(
        self, origin: str, room: LiveRoom, pdus: Mapping[EventId, Pdu]
    ) -> dict[EventId, str]:
        """Keep events of a server; why some are not kept."""
        held = await held_events(self._db, room.room_nid, origin)
        places = MOST_HELD - len(held)
        fitting = [i for i in pdus if i not in held][:places]
        if fitting:
            encoded = {str(i): pdus[i].encoded for i in fitting}
            await self._committer.commit(HoldEvents(room.room_nid, origin, encoded))
        (await self._tries()).setdefault((room.room_nid, origin), self._clock())
        kept = {*held, *fitting}
        return dict.fromkeys(pdus.keys() - kept, "too many events of the server cannot be judged")

    async def due(self, origin: str, room: LiveRoom) -> dict[EventId, Pdu]:
        """The events of a server that are to be tried again now."""
        tries, key = await self._tries(), (room.room_nid, origin)
        if key not in tries or self._clock() - tries[key] < TRIED_EVERY_MS:
            return {}
        tries[key] = self._clock()
        return {
            EventId(i): parse_stored_pdu(encoded, room.version, EventId(i), room.room_id)
            for i, encoded in (await held_events(self._db, room.room_nid, origin)).items()
        }

    async def release(self, origin: str, room: LiveRoom, event_ids: Iterable[EventId]) -> None:
        """Events of a server have been judged."""
        tries, key = await self._tries(), (room.room_nid, origin)
        if key not in tries:
            return
        held = (await held_events(self._db, room.room_nid, origin)).keys()
        judged = held & set(event_ids)
        if judged:
            await self._committer.commit(ReleaseEvents(room.room_nid, origin, sorted(judged)))
        if judged == held:
            tries.pop(key, None)

    async def _tries(self) -> dict[tuple[int, str], int]:
        """When the events of a room and a server were tried last, for all that are held."""
        if self._tried is None:
            self._tried = dict.fromkeys(await all_holding(self._db), 0)
        return self._tried
