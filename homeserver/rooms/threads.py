"""The threads of a room, those replied to last first.

Source: client-server API, "Querying threads in a room".
"""

from dataclasses import dataclass, replace

from federation.protocol.redaction import redact
from federation.protocol.room_versions import get_room_version
from homeserver.rooms.client_events import ClientEvents
from homeserver.rooms.history_token import Gap, HistoryPoint
from homeserver.rooms.history_visibility import SeenEvent, see_events
from homeserver.rooms.ignored_users import IgnoredUsers
from homeserver.rooms.readable_rooms import ReadableRoom, get_readable_room
from homeserver.rooms.viewer import Viewer
from storage.database import Database
from storage.names import Names
from storage.relations import ThreadRoot, threads_of
from storage.timeline import HIGHEST

DEFAULT_LIMIT = 20
MAX_LIMIT = 100
REPLIES_AT_ONCE = 1_000
MOST_LOOKS = 5


@dataclass(frozen=True, slots=True)
class ThreadsPage:
    """Thread roots as JSON; `next_batch` is None where there are no more."""

    chunk: list[bytes]
    next_batch: str | None


class Threads:
    """Lists the threads of rooms."""

    def __init__(
        self, db: Database, names: Names, clients: ClientEvents, ignored: IgnoredUsers
    ) -> None:
        self._db = db
        self._names = names
        self._clients = clients
        self._ignored = ignored

    async def page(
        self,
        viewer: Viewer,
        room_id: str,
        *,
        participated: bool = False,
        start: HistoryPoint | None = None,
        limit: int = DEFAULT_LIMIT,
    ) -> ThreadsPage:
        """The next threads before `start`; only those with a part of the viewer's if asked.

        Raises `Forbidden`.
        """
        readable = await get_readable_room(self._db, self._names, viewer, room_id)
        upto: int | None = HIGHEST[1] if start is None else start.position
        if readable.until is not None and upto is not None:
            upto = min(upto, readable.until)
        found: list[tuple[SeenEvent, int]] = []
        for _ in range(MOST_LOOKS):
            if upto is None or len(found) > limit:
                break
            roots, upto = await self._look(viewer, readable, upto, participated=participated)
            found += await self._visible(viewer, readable, roots)
        if len(found) > limit:
            found = found[:limit]
            upto = found[-1][1] - 1
        ignored = await self._ignored.ignored_by(viewer.user_nid)
        shown = [self._shown(root, ignored, readable) for root, _ in found]
        chunk = await self._clients.render(shown, viewer, with_room_id=True)
        return ThreadsPage(chunk, None if upto is None else str(Gap(0, upto)))

    async def _look(
        self, viewer: Viewer, readable: ReadableRoom, upto: int, *, participated: bool
    ) -> tuple[list[ThreadRoot], int | None]:
        """Some threads, and where to look next."""
        roots, oldest = await threads_of(
            self._db,
            readable.room.room_nid,
            upto,
            await self._ignored.nids_of(viewer.user_nid),
            viewer.user_nid if participated else None,
            REPLIES_AT_ONCE,
        )
        return roots, None if oldest is None else oldest - 1

    async def _visible(
        self, viewer: Viewer, readable: ReadableRoom, roots: list[ThreadRoot]
    ) -> list[tuple[SeenEvent, int]]:
        latest = {root.event.event_nid: root.latest for root in roots}
        events = [root.event for root in roots]
        seen = await see_events(self._db, self._names, viewer, events, readable.memberships)
        return [(item, latest[item.event.event_nid]) for item in seen]

    def _shown(self, root: SeenEvent, ignored: frozenset[str], readable: ReadableRoom) -> SeenEvent:
        """The root as the viewer is shown it: redacted if it is of somebody they ignore."""
        if root.event.sender not in ignored:
            return root
        version = get_room_version(readable.room.version_id)
        return replace(root, event=replace(root.event, fields=redact(root.event.fields, version)))
