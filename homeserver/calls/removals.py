"""Cutting those off from calls who are no longer in the room.

A token is good until it expires, so whoever was cut off could connect again: LiveKit tells who
connects, and they are looked at again. Source: MSC4195, "Kicking users from the SFU on room
leave/ban".
"""

import asyncio
import logging
from collections.abc import Sequence

from federation.protocol.errors import MatrixError
from federation.protocol.identifiers import UserId
from homeserver.calls.ports import LiveKitRooms
from homeserver.clock import Clock
from storage.call_participants import (
    Participant,
    forget_participants,
    note_connected,
    note_cut_off,
    participants_to_cut_off,
    put_participant,
)
from storage.changes import Change, EventAdded, Membership
from storage.database import Database

log = logging.getLogger("hearth.calls")

KEPT_MS = 7 * 86_400_000
"""How long a token is remembered: longer than anybody calls without asking for a new one."""
RETRY_S = 30.0


class Removals:
    """Knows who is in calls as a member of which room."""

    def __init__(self, db: Database, rooms: LiveKitRooms, clock: Clock) -> None:
        self._db = db
        self._rooms = rooms
        self._clock = clock
        self._back: set[Participant] = set()
        """Who has connected again, whatever is being noted of them just now."""
        self._wanted = asyncio.Event()
        # What happened while no server ran.
        self._wanted.set()

    async def given(self, participant: Participant, user_id: UserId, room_id: str) -> None:
        """Take note of a token that is given out."""
        await put_participant(self._db, participant, user_id, room_id, self._clock())

    async def heard(self, changes: Sequence[Change], own: bool) -> None:
        """Look when somebody has left a room; a listener of the stream.

        The process that has let the event in does that for all.
        """
        if own and any(is_departure(change) for change in changes):
            self._wanted.set()

    async def connected(self, participant: Participant) -> None:
        """Look at somebody who has connected."""
        if await note_connected(self._db, participant):
            self._back.add(participant)
            self._wanted.set()

    async def run(self) -> None:
        """Cut off whoever is to be, until cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            try:
                await self._remove()
            except MatrixError as error:
                log.warning("Nobody can be cut off from calls just now: %s", error)
                await asyncio.sleep(RETRY_S)
                self._wanted.set()

    async def _remove(self) -> None:
        await forget_participants(self._db, self._clock() - KEPT_MS)
        for participant in {*await participants_to_cut_off(self._db), *self._back}:
            self._back.discard(participant)
            await self._rooms.remove(*participant)
            await note_cut_off(self._db, participant)


def is_departure(change: Change) -> bool:
    """Whether somebody may have left a room."""
    return isinstance(change, EventAdded) and change.membership not in (None, Membership.JOIN)
