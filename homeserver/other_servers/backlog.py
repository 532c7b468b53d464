"""What other servers still have to get, read back from the database."""

from collections.abc import Collection, Mapping, Sequence

from federation.outbound.queue_ports import MissedPdus, OutgoingPdu, Progress, QueuedEdu
from federation.protocol.identifiers import ServerName
from homeserver.clock import Clock
from homeserver.other_servers.room_servers import RoomServers
from storage.changes import StoredEvent
from storage.database import Pool
from storage.outgoing import (
    Sent,
    keep_sent,
    missed_rooms,
    own_events_of_rooms,
    queued_edus,
    waiting_destinations,
)
from storage.sticky_events import sticky_among

MOST_OF_ROOM = 500
"""So many events of a room are sent to a server that was away, besides those that are sticky; it
can ask for those before."""


class KeptBacklog:
    """The backlog of all destinations; `number` is this process's among the stream's peers."""

    __slots__ = ("_clock", "_db", "_number", "_server_name", "_servers")

    def __init__(
        self, db: Pool, servers: RoomServers, server_name: ServerName, number: int, clock: Clock
    ) -> None:
        self._clock = clock
        self._db = db
        self._servers = servers
        self._server_name = server_name
        self._number = number

    async def waiting_destinations(self) -> Sequence[ServerName]:
        """The destinations that lack something."""
        return await waiting_destinations(self._db)

    async def missed_rooms(self, destination: ServerName) -> Mapping[int, int]:
        """The rooms of which a destination lacks events, each with the first position of these."""
        return await missed_rooms(self._db, destination)

    async def missed_pdus(
        self, destination: ServerName, rooms: Mapping[int, int], upto: int, limit: int
    ) -> MissedPdus:
        """The next events that a destination lacks, up to a position, at most `limit`."""
        by_room = await own_events_of_rooms(
            self._db,
            self._server_name,
            rooms,
            upto,
            self._clock(),
            limit=limit,
            latest=MOST_OF_ROOM,
        )
        events = [event for room in by_room.values() for event in room]
        theirs = await self._wanted_by(destination, events)
        pdus: list[OutgoingPdu] = []
        covered: dict[int, int] = {}
        for room_nid, room in by_room.items():
            chosen = [event for event in room if event.event_nid in theirs]
            taken = chosen[: limit - len(pdus)]
            pdus += [outgoing_pdu(event) for event in taken]
            if len(taken) < len(chosen):
                if taken:
                    covered[room_nid] = position_of(taken[-1])
                break
            covered[room_nid] = upto if len(room) < limit else position_of(room[-1])
        return MissedPdus(pdus, covered)

    async def _wanted_by(
        self, destination: ServerName, events: Sequence[StoredEvent]
    ) -> Collection[int]:
        """The numbers of the events that a destination has to get.

        They are those of rooms that it was in then, and sticky ones of rooms that it is in now.
        """
        destinations = await self._servers.destinations(events)
        theirs, others = set[int](), dict[int, int]()
        for event, names in zip(events, destinations, strict=True):
            if destination in names:
                theirs.add(event.event_nid)
            else:
                others[event.event_nid] = event.room_nid
        sticky = await sticky_among(self._db, others, self._clock()) if others else set[int]()
        now = await self._servers.now({others[nid] for nid in sticky})
        return theirs | {nid for nid in sticky if destination in now.get(others[nid], ())}

    async def queued_edus(
        self, destination: ServerName, after: int, limit: int
    ) -> Sequence[QueuedEdu]:
        """The next EDUs that are queued for a destination, after a position (exclusive)."""
        rows = await queued_edus(self._db, destination, after, limit)
        return [QueuedEdu(position, edu) for position, edu in rows]

    async def keep(self, progress: Progress) -> bool:
        """Keep what has been sent; False if another process has taken over the sending."""
        new = {k: m.missed_from for k, m in progress.marks.items() if m.is_new}
        moved = {k: m.missed_from for k, m in progress.marks.items() if not m.is_new}
        sent = Sent(
            progress.position,
            {key: at for key, at in new.items() if at is not None},
            {key: at for key, at in moved.items() if at is not None},
            [key for key, at in (*new.items(), *moved.items()) if at is None],
            progress.edus,
        )
        return await keep_sent(self._db, self._number, sent)


def outgoing_pdu(event: StoredEvent) -> OutgoingPdu:
    """An event of the timeline as it is sent."""
    return OutgoingPdu(position_of(event), event.room_nid, event.json)


def position_of(event: StoredEvent) -> int:
    """The position of an event of the timeline."""
    if event.position is None:
        raise ValueError(f"{event.event_id} has no place in the timeline")
    return event.position
