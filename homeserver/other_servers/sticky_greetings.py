"""Telling servers that come into a room of the sticky events of our users in it.

They were sent before the server was there, so nobody would tell it otherwise. It is given a moment
first: a server that is still busy entering the room refuses its events. Source: MSC4354,
"Federation behaviour".
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from federation.outbound.queue_ports import OutgoingPdu
from federation.protocol.errors import MatrixError
from federation.protocol.identifiers import ServerName, server_of
from homeserver.clock import Clock
from homeserver.other_servers.backlog import outgoing_pdu
from homeserver.other_servers.room_servers import RoomServers
from storage.changes import EventAdded
from storage.database import Database
from storage.sticky_events import own_sticky_events

log = logging.getLogger("hearth.distribution")

PAUSE_S = 3.0
MOST = 1_000
"""Sticky events that servers are told of at once."""

Newcomers = Mapping[tuple[int, ServerName], set[int]]
"""The users who came into rooms, by room and server."""


class Sender(Protocol):
    """Sends to other servers."""

    def distribute(
        self, pdus: Iterable[tuple[OutgoingPdu, Iterable[ServerName]]], position: int
    ) -> None:
        """Hand over events, and that the stream was handed over up to `position`."""


class StickyGreetings:
    """Greets servers that are new in a room."""

    def __init__(
        self,
        db: Database,
        servers: RoomServers,
        sender: Sender,
        server_name: ServerName,
        clock: Clock,
        pause_s: float = PAUSE_S,
    ) -> None:
        self._db = db
        self._servers = servers
        self._sender = sender
        self._server_name = server_name
        self._clock = clock
        self._pause_s = pause_s
        self._waiting: dict[tuple[int, ServerName], set[int]] = {}
        self._news = asyncio.Event()

    def greet(self, joins: Sequence[EventAdded]) -> None:
        """Users of other servers have come into rooms, perhaps as the first of their server."""
        for join in joins:
            key = join.event.room_nid, server_of(str(join.event.state_key))
            if join.member_nid is not None and not join.is_local_member:
                self._waiting.setdefault(key, set()).add(join.member_nid)
                self._news.set()

    async def run(self) -> None:
        """Greet, until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            newcomers, self._waiting = self._waiting, {}
            await asyncio.sleep(self._pause_s)
            try:
                await self._tell(newcomers)
            except MatrixError as error:
                log.warning("Sticky events are not told to servers that came in: %s", error)

    async def _tell(self, newcomers: Newcomers) -> None:
        room_nids = {room_nid for room_nid, _ in newcomers}
        events = await own_sticky_events(
            self._db, room_nids, self._clock(), self._server_name, MOST
        )
        joined = await self._servers.joined({event.room_nid for event in events})
        new: dict[int, list[ServerName]] = {}
        for (room_nid, server), users in newcomers.items():
            # Where somebody else of the server was in the room before, it has heard of them.
            if 0 < joined.get(room_nid, {}).get(server, 0) <= len(users):
                new.setdefault(room_nid, []).append(server)
        pdus = [(outgoing_pdu(event), new.get(event.room_nid, ())) for event in events]
        self._sender.distribute(pdus, 0)
