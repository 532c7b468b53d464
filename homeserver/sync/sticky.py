"""Sticky events that a client is not shown in a timeline.

Everybody in a room is told of them, whatever the history visibility, and of all that are still
sticky when they come in. Where there are too many for one answer, the next one goes on behind the
last. Source: MSC4354.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from homeserver.clock import Clock
from homeserver.rooms.client_events import ClientEvents
from homeserver.rooms.history_visibility import SeenEvent
from homeserver.rooms.viewer import Viewer
from homeserver.sync.reading import Reading
from homeserver.sync.response import RoomSection, SyncBody
from homeserver.sync.token import StickyMark
from storage.changes import Change, StickyEventAdded
from storage.database import Database
from storage.sticky_events import last_expiry, sticky_events_after

MOST_AT_ONCE = 500
"""Sticky events in an answer of /sync."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What a client is shown or not to be shown anyway: events of timelines, ignored senders."""

    event_ids: Collection[str]
    ignored: Collection[str]


@dataclass(slots=True)
class StickyTold:
    """Sticky events as JSON, by room; `reached` is set where there are more."""

    rooms: dict[int, list[bytes]] = field(default_factory=dict)
    reached: int | None = None


class StickyEvents:
    """Reads sticky events, and asks for none while it knows that there are none anywhere."""

    def __init__(self, db: Database, clients: ClientEvents, clock: Clock) -> None:
        self._db = db
        self._clients = clients
        self._clock = clock
        self._last_expiry = 0
        """When the last of those that are known expires."""
        self._knows_all = False
        """Whether the events from before this process began to listen are known too."""

    async def heard(self, changes: Sequence[Change], own: bool) -> None:
        """Take note of when events expire; a listener of the stream."""
        del own
        for change in changes:
            if isinstance(change, StickyEventAdded):
                self._last_expiry = max(self._last_expiry, change.expires_ts)

    async def read(
        self, viewer: Viewer, since: Mapping[int, int], upto: int, shown: Shown, limit: int
    ) -> StickyTold:
        """The next sticky events of rooms, each after a position, but for what is shown."""
        if not since or not await self._may_exist():
            return StickyTold()
        found = await sticky_events_after(self._db, since, upto, self._clock(), limit + 1)
        chosen = found[:limit]
        told = StickyTold(reached=chosen[-1].position if len(found) > limit else None)
        events = [
            one.event
            for one in chosen
            if one.event.event_id not in shown.event_ids and one.event.sender not in shown.ignored
        ]
        seen = [SeenEvent(event, "join") for event in events]
        rendered = await self._clients.render(seen, viewer, with_room_id=False)
        for event, encoded in zip(events, rendered, strict=True):
            told.rooms.setdefault(event.room_nid, []).append(encoded)
        return told

    async def add(self, reading: Reading, body: SyncBody) -> None:
        """Add to an answer of /sync what its timelines do not show."""
        if not await self._may_exist():
            return
        mark = find_mark(reading)
        since = positions(reading, mark)
        if not since:
            return
        shown = Shown(
            {
                item.event.event_id
                for timeline in reading.timelines.values()
                for item in timeline.events
            },
            reading.ignored,
        )
        told = await self.read(reading.request.viewer, since, reading.upto, shown, MOST_AT_ONCE)
        for room_nid, events in told.rooms.items():
            body.joined.setdefault(reading.rooms[room_nid], RoomSection()).sticky = events
        if told.reached is not None:
            body.next_batch = replace(body.next_batch, sticky=replace(mark, upto=told.reached))

    async def _may_exist(self) -> bool:
        """Whether any event is sticky now, in whatever room."""
        if not self._knows_all:
            # What is committed after this was read is heard of, maybe before it has been read.
            older = await last_expiry(self._db)
            self._last_expiry = max(self._last_expiry, older)
            self._knows_all = True
        return self._last_expiry > self._clock()


def find_mark(reading: Reading) -> StickyMark:
    """How far the client has got with sticky events."""
    since = reading.request.since
    if since is not None and since.sticky is not None:
        return since.sticky
    return StickyMark(max(reading.since, 0), 0)


def positions(reading: Reading, mark: StickyMark) -> dict[int, int]:
    """After which position each joined room is to be told; none where there is nothing to tell."""
    joined = reading.sections.joined
    new = {
        nid
        for nid, own in joined.items()
        if reading.is_whole(nid) or (mark.upto and own.position > mark.complete_upto)
    }
    if not new and not mark.upto and mark.complete_upto >= reading.follower.sticky_added:
        return {}
    return {nid: mark.since(is_new=nid in new) for nid in joined}
