"""Bundled aggregations: what the children of an event amount to, told with the event.

One query sums up the children of a whole page of events: the latest edit of each, its references,
its thread with the latest reply, and that reply's latest edit. A second one reads the events that
are shown, if there are any.
Source: client-server API, "Aggregations of child events", "Threading", "Event replacements",
"Reference relations".
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from federation.protocol.event_rendering import build_client_event
from federation.protocol.room_versions import get_room_version
from homeserver.rooms.ignored_users import IgnoredUsers
from homeserver.rooms.viewer import Viewer
from storage.changes import StoredEvent
from storage.database import Database
from storage.events import get_events
from storage.names import Names
from storage.relations import ChildSummary, ThreadSummary, summarise_children


@dataclass(frozen=True, slots=True)
class _Shown:
    """What the bundles of one page are made of."""

    summary: ChildSummary
    events: dict[int, StoredEvent] = field(default_factory=dict)


class Bundles:
    """Reads the aggregations of many events at once."""

    def __init__(self, db: Database, names: Names, ignored: IgnoredUsers) -> None:
        self._db = db
        self._names = names
        self._ignored = ignored

    async def of(self, events: Sequence[StoredEvent], viewer: Viewer) -> dict[int, dict[str, Any]]:
        """`m.relations` of those of the events that have children, by event."""
        parents = {e.event_id: e for e in events if e.redacted_by is None}
        if not parents:
            return {}
        shown = await self._read(list(parents), viewer)
        summary = shown.summary
        bundles: dict[int, dict[str, Any]] = {}
        for event_id in summary.edits.keys() & parents.keys():
            bundle = bundles.setdefault(parents[event_id].event_nid, {})
            bundle["m.replace"] = await self._edit(event_id, shown)
        for event_id, child_ids in summary.references.items():
            bundle = bundles.setdefault(parents[event_id].event_nid, {})
            bundle["m.reference"] = {"chunk": [{"event_id": child_id} for child_id in child_ids]}
        for event_id, thread in summary.threads.items():
            parent = parents[event_id]
            bundle = bundles.setdefault(parent.event_nid, {})
            bundle["m.thread"] = await self._thread(parent, thread, shown, viewer)
        return bundles

    async def _read(self, event_ids: Sequence[str], viewer: Viewer) -> _Shown:
        ignored = await self._ignored.nids_of(viewer.user_nid)
        summary = await summarise_children(self._db, event_ids, viewer.user_nid, ignored)
        latest = {thread.latest_nid for thread in summary.threads.values()}
        return _Shown(summary, await get_events(self._db, latest | set(summary.edits.values())))

    async def _edit(self, event_id: str, shown: _Shown) -> dict[str, Any]:
        return await self._fields(shown.events[shown.summary.edits[event_id]])

    async def _thread(
        self, root: StoredEvent, thread: ThreadSummary, shown: _Shown, viewer: Viewer
    ) -> dict[str, Any]:
        latest = shown.events[thread.latest_nid]
        fields = await self._fields(latest)
        if latest.event_id in shown.summary.edits:
            edit = await self._edit(latest.event_id, shown)
            fields["unsigned"] = {"m.relations": {"m.replace": edit}}
        return {
            "latest_event": fields,
            "count": thread.count,
            "current_user_participated": (thread.has_viewer or root.sender_nid == viewer.user_nid),
        }

    async def _fields(self, event: StoredEvent) -> dict[str, Any]:
        room = await self._names.rooms.get(event.room_nid)
        version = get_room_version(room.version_id)
        return build_client_event(event.fields, event.event_id, room.room_id, version)
