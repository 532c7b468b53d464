"""Bundled aggregations: what the children of an event amount to, told with the event.

Source: client-server API, "Aggregations of child events", "Threading", "Event replacements",
"Reference relations".
"""

from collections.abc import Sequence
from typing import Any

from federation.protocol.event_rendering import build_client_event
from federation.protocol.room_versions import get_room_version
from homeserver.rooms.ignored_users import IgnoredUsers
from homeserver.rooms.viewer import Viewer
from storage.changes import StoredEvent
from storage.database import Database
from storage.events import get_events
from storage.names import Names

SELECT_LATEST_EDITS = """
    SELECT DISTINCT ON (parent.event_nid) parent.event_nid, r.event_nid
      FROM unnest($1::text[], $2::bigint[], $3::integer[], $4::integer[])
        AS parent (event_id, event_nid, sender_nid, type_nid)
      JOIN relations AS r
        ON r.parent_event_id = parent.event_id
       AND r.rel_type = 'm.replace'
       AND r.sender_nid = parent.sender_nid
       AND r.type_nid = parent.type_nid
       AND r.stream_position IS NOT NULL
      JOIN events AS e ON e.event_nid = r.event_nid
     WHERE e.place_nid IS NULL
     ORDER BY parent.event_nid, e.origin_server_ts DESC, e.event_id DESC
"""

SELECT_REFERENCES = """
    SELECT r.parent_event_id, e.event_id
      FROM relations AS r
      JOIN events AS e USING (event_nid)
     WHERE r.parent_event_id = ANY($1::text[])
       AND r.rel_type = 'm.reference'
       AND r.stream_position IS NOT NULL
       AND r.sender_nid <> ALL($2::integer[])
     ORDER BY r.stream_position
"""

SELECT_THREADS = """
    SELECT parent_event_id,
           count(*),
           (array_agg(event_nid ORDER BY stream_position DESC))[1],
           bool_or(sender_nid = $2)
      FROM relations
     WHERE parent_event_id = ANY($1::text[])
       AND rel_type = 'm.thread'
       AND stream_position IS NOT NULL
       AND sender_nid <> ALL($3::integer[])
     GROUP BY parent_event_id
"""

SELECT_PARENTS = """
    SELECT DISTINCT parent_event_id, rel_type
      FROM relations
     WHERE parent_event_id = ANY($1::text[])
       AND rel_type IN ('m.replace', 'm.reference', 'm.thread')
       AND stream_position IS NOT NULL
"""


class Bundles:
    """Reads the aggregations of many events at once."""

    def __init__(self, db: Database, names: Names, ignored: IgnoredUsers) -> None:
        self._db = db
        self._names = names
        self._ignored = ignored

    async def of(self, events: Sequence[StoredEvent], viewer: Viewer) -> dict[int, dict[str, Any]]:
        """`m.relations` of those of the events that have children, by event."""
        candidates = {e.event_id: e for e in events if e.redacted_by is None}
        if not candidates:
            return {}
        parents: dict[str, set[str]] = {}
        for event_id, rel_type in await self._db.fetch(SELECT_PARENTS, list(candidates)):
            parents.setdefault(rel_type, set()).add(event_id)
        bundles: dict[int, dict[str, Any]] = {}
        if not parents:
            return bundles
        ignored = await self._ignored.nids_of(viewer.user_nid)
        await self._add_edits(bundles, [candidates[i] for i in parents.get("m.replace", ())])
        await self._add_references(bundles, candidates, parents.get("m.reference", set()), ignored)
        await self._add_threads(
            bundles, candidates, parents.get("m.thread", set()), viewer, ignored
        )
        return bundles

    async def _add_edits(
        self, bundles: dict[int, dict[str, Any]], parents: Sequence[StoredEvent]
    ) -> None:
        eligible = [parent for parent in parents if parent.state_key is None]
        if not eligible:
            return
        types = await self._names.types.get_nids({parent.type for parent in eligible})
        rows = await self._db.fetch(
            SELECT_LATEST_EDITS,
            [parent.event_id for parent in eligible],
            [parent.event_nid for parent in eligible],
            [parent.sender_nid for parent in eligible],
            [types[parent.type] for parent in eligible],
        )
        edits = await get_events(self._db, [edit_nid for _, edit_nid in rows])
        for parent_nid, edit_nid in rows:
            bundles.setdefault(parent_nid, {})["m.replace"] = await self._fields(edits[edit_nid])

    async def _add_references(
        self,
        bundles: dict[int, dict[str, Any]],
        candidates: dict[str, StoredEvent],
        parents: set[str],
        ignored: list[int],
    ) -> None:
        if not parents:
            return
        rows = await self._db.fetch(SELECT_REFERENCES, list(parents), ignored)
        for parent_id, event_id in rows:
            bundle = bundles.setdefault(candidates[parent_id].event_nid, {})
            bundle.setdefault("m.reference", {"chunk": []})["chunk"].append({"event_id": event_id})

    async def _add_threads(
        self,
        bundles: dict[int, dict[str, Any]],
        candidates: dict[str, StoredEvent],
        parents: set[str],
        viewer: Viewer,
        ignored: list[int],
    ) -> None:
        if not parents:
            return
        rows = await self._db.fetch(SELECT_THREADS, list(parents), viewer.user_nid, ignored)
        latest = await get_events(self._db, [row[2] for row in rows])
        edits: dict[int, dict[str, Any]] = {}
        await self._add_edits(edits, list(latest.values()))
        for parent_id, count, latest_nid, participated in rows:
            parent = candidates[parent_id]
            event = await self._fields(latest[latest_nid])
            if latest_nid in edits:
                event["unsigned"] = {"m.relations": edits[latest_nid]}
            bundles.setdefault(parent.event_nid, {})["m.thread"] = {
                "latest_event": event,
                "count": count,
                "current_user_participated": participated or parent.sender_nid == viewer.user_nid,
            }

    async def _fields(self, event: StoredEvent) -> dict[str, Any]:
        room = await self._names.rooms.get(event.room_nid)
        version = get_room_version(room.version_id)
        return build_client_event(event.fields, event.event_id, room.room_id, version)
