"""The events that relate to an event, page by page.

Source: client-server API, "Relationships API".
"""

from dataclasses import dataclass

from federation.protocol.errors import NotFound
from homeserver.rooms.client_events import ClientEvents
from homeserver.rooms.history import is_ignored
from homeserver.rooms.history_token import HistoryPoint, gap_after, gap_before
from homeserver.rooms.history_visibility import see_events
from homeserver.rooms.ignored_users import IgnoredUsers
from homeserver.rooms.viewer import Viewer
from storage.database import Database
from storage.events import find_event
from storage.names import Names
from storage.relations import MAX_RECURSION, Children, children_of
from storage.timeline import HIGHEST, LOWEST

DEFAULT_LIMIT = 20
MAX_LIMIT = 500


@dataclass(frozen=True, slots=True)
class ChildrenRequest:
    """Which children of an event are wanted; those of all types and relations unless named."""

    room_id: str
    event_id: str
    rel_type: str | None = None
    event_type: str | None = None
    backwards: bool = True
    limit: int = DEFAULT_LIMIT
    start: HistoryPoint | None = None
    stop: HistoryPoint | None = None
    recurse: bool = False


@dataclass(frozen=True, slots=True)
class ChildrenPage:
    """Children as JSON; `next_batch` is None where there are no more."""

    chunk: list[bytes]
    next_batch: str | None
    recursion_depth: int


class ChildEvents:
    """Finds what relates to events."""

    def __init__(
        self, db: Database, names: Names, clients: ClientEvents, ignored: IgnoredUsers
    ) -> None:
        self._db = db
        self._names = names
        self._clients = clients
        self._ignored = ignored

    async def page(self, viewer: Viewer, request: ChildrenRequest) -> ChildrenPage:
        """A page of an event's children. Raises `NotFound` unless the viewer sees the event."""
        room_nid = await self._check_parent(viewer, request)
        depth = MAX_RECURSION if request.recurse else 1
        type_nid = None
        if request.event_type is not None:
            type_nid = await self._names.types.find_nid(request.event_type)
            if type_nid is None:
                return ChildrenPage([], None, depth)
        lower, upper = request.start, request.stop
        if request.backwards:
            lower, upper = upper, lower
        wanted = Children(
            room_nid,
            request.event_id,
            LOWEST[1] if lower is None else lower.position,
            HIGHEST[1] if upper is None else upper.position,
            request.rel_type,
            type_nid,
            depth,
        )
        found = await children_of(self._db, wanted, request.limit + 1, backwards=request.backwards)
        events = found[: request.limit]
        next_batch = None
        if len(found) > len(events) and events:
            next_batch = str((gap_before if request.backwards else gap_after)(events[-1]))
        seen = await see_events(self._db, self._names, viewer, events)
        ignored = await self._ignored.ignored_by(viewer.user_nid)
        shown = [item for item in seen if not is_ignored(item.event, ignored)]
        chunk = await self._clients.render(shown, viewer, with_room_id=True)
        return ChildrenPage(chunk, next_batch, depth)

    async def _check_parent(self, viewer: Viewer, request: ChildrenRequest) -> int:
        """The number of the event's room. Raises `NotFound`."""
        parent = await find_event(self._db, request.event_id)
        room = await self._names.rooms.find(request.room_id)
        if (
            parent is None
            or room is None
            or parent.room_nid != room.room_nid
            or not await see_events(self._db, self._names, viewer, [parent])
        ):
            raise NotFound("Event not found")
        return room.room_nid
