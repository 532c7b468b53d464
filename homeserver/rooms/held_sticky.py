"""Sticky events that the state of their room forbade when they came.

Servers may differ for a while about who is in a room. As long as such an event is sticky, it is
looked at again whenever the state changes: once that allows it, everybody is told. Otherwise those
in a call would see different people in it. Source: MSC4354, "Soft-failure checks".
"""

import asyncio
import logging
from collections.abc import Sequence

from federation.protocol.auth_events import CREATE, auth_event_places
from federation.protocol.auth_rules.general import check_auth
from federation.protocol.errors import AuthRuleFailed, MatrixError
from federation.protocol.event_format import parse_stored_pdu
from federation.protocol.identifiers import EventId
from federation.protocol.pdu import Pdu
from homeserver.clock import Clock
from homeserver.rooms.append import Append
from homeserver.rooms.live import LiveRoom, LiveRooms
from storage.changes import Change, EventAdded
from storage.committer import Committer
from storage.database import Database
from storage.names import Names
from storage.sticky_events import HeldSticky, StickEvent, held_sticky_events, rooms_with_held

log = logging.getLogger("hearth.sticky")

RETRY_S = 5.0


class HeldStickyEvents:
    """Lets go of what is held."""

    def __init__(
        self,
        db: Database,
        names: Names,
        live: LiveRooms,
        append: Append,
        committer: Committer,
        clock: Clock,
    ) -> None:
        self._db = db
        self._names = names
        self._live = live
        self._append = append
        self._committer = committer
        self._clock = clock
        self._changed: set[int] = set()
        self._news = asyncio.Event()

    async def heard(self, changes: Sequence[Change], own: bool) -> None:
        """Take note of rooms whose state has changed; a listener of the stream."""
        del own
        if not self._append.holding:
            return
        changed = {
            change.event.room_nid
            for change in changes
            if isinstance(change, EventAdded) and change.changes_state
        } & self._append.holding
        if changed:
            self._changed |= changed
            self._news.set()

    async def run(self) -> None:
        """Look at held events when the state of their room has changed, until cancelled."""
        self._append.holding |= await rooms_with_held(self._db, self._clock())
        while True:
            await self._news.wait()
            self._news.clear()
            rooms, self._changed = self._changed, set()
            try:
                await self._review(rooms)
            except MatrixError as error:
                log.warning("Sticky events stay held: %s", error)
                await asyncio.sleep(RETRY_S)
                self._changed |= rooms
                self._news.set()

    async def _review(self, room_nids: set[int]) -> None:
        held = await held_sticky_events(self._db, room_nids, self._clock())
        by_room: dict[int, list[HeldSticky]] = {}
        for one in held:
            by_room.setdefault(one.event.room_nid, []).append(one)
        self._append.holding -= room_nids - by_room.keys()
        for room_nid, events in by_room.items():
            room = await self._live.get((await self._names.rooms.get(room_nid)).room_id)
            async with room.lock:
                allowed = [one for one in events if await self._is_allowed(room, one)]
            if allowed:
                await self._committer.commit(
                    *(StickEvent(one.event.event_nid, room_nid, one.expires_ts) for one in allowed)
                )

    async def _is_allowed(self, room: LiveRoom, held: HeldSticky) -> bool:
        """Whether the room's current state allows an event; the room is locked."""
        event_id = EventId(held.event.event_id)
        pdu = parse_stored_pdu(held.event.json, room.version, event_id, room.room_id)
        places = (CREATE, *places_of(pdu))
        await self._live.load_entries(room, places)
        try:
            check_auth(pdu, room.auth_state(places))
        except AuthRuleFailed:
            return False
        return True


def places_of(pdu: Pdu) -> Sequence[tuple[str, str]]:
    """The places of the state that the rules ask for an event."""
    return auth_event_places(pdu.type, pdu.state_key, pdu.sender, pdu.content, pdu.room_version)
