"""Searching what was said in the rooms that a user is or was in.

Source: client-server API, "Server Side Search".
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from federation.protocol.auth_events import CREATE, member_place
from federation.protocol.errors import InvalidParam
from federation.protocol.filters import NO_ROOM_EVENT_FILTER, RoomEventFilter
from homeserver.rooms.client_events import ClientEvents
from homeserver.rooms.history import History, is_ignored
from homeserver.rooms.history_token import gap_after, gap_before
from homeserver.rooms.history_visibility import SeenEvent, see_events
from homeserver.rooms.ignored_users import IgnoredUsers
from homeserver.rooms.viewer import Viewer
from storage.changes import Membership, StoredEvent
from storage.database import Pool
from storage.directory import ENCRYPTION
from storage.events import get_events
from storage.names import Names
from storage.room_state import get_places_at
from storage.search import (
    KIND_OF_TYPE,
    Hit,
    Terms,
    TextKind,
    TextQuery,
    catch_up,
    count_texts,
    parse_terms,
    rooms_with_place,
    search_texts,
    with_predecessors,
)
from storage.state_events import current_states
from storage.timeline import HIGHEST, Criteria, Neighbours, neighbours_of

DEFAULT_LIMIT = 10
MAX_LIMIT = 100
MAX_CONTEXT = 50
SPARE = 4
"""How many times as many matches are read as are wanted, for those that turn out invisible."""
MOST_READS = 5

KIND_OF_KEY = {
    "content.body": TextKind.BODY,
    "content.name": TextKind.NAME,
    "content.topic": TextKind.TOPIC,
}


@dataclass(frozen=True, slots=True)
class ContextWanted:
    """How many events around each result are wanted, and whether their senders' profiles are."""

    before: int = 5
    after: int = 5
    with_profiles: bool = False


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """What is searched for, and what is told of it; `start` is a token of a former page."""

    term: str
    kinds: Sequence[TextKind] = tuple(TextKind)
    wanted: RoomEventFilter = NO_ROOM_EVENT_FILTER
    by_rank: bool = True
    context: ContextWanted | None = None
    with_state: bool = False
    group_by: Sequence[str] = ()
    start: str | None = None


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a page begins: before a stream position, or after so many results by rank.

    With a `group`, the results of that group only: its key, and its value.
    """

    before: int = HIGHEST[1]
    skip: int = 0
    group: tuple[str, str] | None = None

    def __str__(self) -> str:
        encoded = orjson.dumps([self.before, self.skip, self.group])
        return base64.urlsafe_b64encode(encoded).decode().rstrip("=")


@dataclass(frozen=True, slots=True)
class Found:
    """The results of a page, where the next one begins, and how many there are in all."""

    results: list[tuple[SeenEvent, float]]
    next: Cursor | None
    count: int


class Search:
    """Finds events by their text."""

    def __init__(
        self,
        db: Pool,
        names: Names,
        clients: ClientEvents,
        ignored: IgnoredUsers,
        history: History,
    ) -> None:
        self._db = db
        self._names = names
        self._clients = clients
        self._ignored = ignored
        self._history = history

    async def room_events(self, viewer: Viewer, request: SearchRequest) -> dict[str, Any]:
        """The answer in the category `room_events`. Raises `InvalidParam`."""
        cursor = Cursor() if request.start is None else parse_cursor(request.start)
        terms = parse_terms(request.term)
        found = await self._find(viewer, request, terms, cursor)
        seen = [item for item, _ in found.results]
        rendered = await self._clients.render(seen, viewer, with_room_id=True)
        results: list[dict[str, Any]] = [
            {"rank": rank, "result": orjson.Fragment(event)}
            for (_, rank), event in zip(found.results, rendered, strict=True)
        ]
        if request.context is not None:
            contexts = await self._contexts(viewer, seen, request.context)
            for result, context in zip(results, contexts, strict=True):
                result["context"] = context
        answer: dict[str, Any] = {
            "count": found.count,
            "highlights": terms.words,
            "results": results,
        }
        if found.next is not None:
            answer["next_batch"] = str(found.next)
        if request.group_by:
            answer["groups"] = await self._groups(request.group_by, seen, found.next)
        if request.with_state:
            answer["state"] = await self._states(viewer, seen)
        return answer

    async def _find(
        self, viewer: Viewer, request: SearchRequest, terms: Terms, cursor: Cursor
    ) -> Found:
        limit = min(request.wanted.limit or DEFAULT_LIMIT, MAX_LIMIT)
        rooms = await self._rooms(viewer, request.wanted, cursor)
        if not rooms or not terms.query or request.wanted.wants_nothing:
            return Found([], None, 0)
        types = await self._names.types.find_nids(KIND_OF_TYPE)
        await catch_up(self._db, rooms, types)
        query = TextQuery(
            terms,
            rooms,
            request.kinds,
            await self._criteria(request.wanted, cursor),
            request.by_rank,
            cursor.before,
            cursor.skip,
        )
        results: list[tuple[SeenEvent, float]] = []
        for _ in range(MOST_READS):
            hits = await search_texts(self._db, query, limit * SPARE)
            for hit, item in await self._visible(viewer, request.wanted, hits):
                if len(results) == limit:
                    break
                query = _after(query, hit)
                if item is not None:
                    results.append((item, hit.rank))
            is_over = len(hits) < limit * SPARE
            if is_over or len(results) == limit:
                break
        following = None
        if len(results) == limit or not is_over:
            following = Cursor(query.before, query.skip, cursor.group)
        return Found(results, following, await count_texts(self._db, query, HIGHEST[1]))

    async def _criteria(self, wanted: RoomEventFilter, cursor: Cursor) -> Criteria | None:
        """What is asked of the events themselves; None if nothing is."""
        asked = replace(wanted, limit=None, rooms=None, not_rooms=frozenset())
        criteria = await self._history.criteria(asked)
        if cursor.group is None or cursor.group[0] != "sender":
            return criteria
        nid = await self._names.users.find_nid(cursor.group[1])
        return replace(criteria or Criteria(), senders=[] if nid is None else [nid])

    async def _visible(
        self, viewer: Viewer, wanted: RoomEventFilter, hits: Sequence[Hit]
    ) -> list[tuple[Hit, SeenEvent | None]]:
        """Each match, with the event if the viewer may see it."""
        found = await get_events(self._db, [hit.event_nid for hit in hits])
        events = [found[hit.event_nid] for hit in hits if hit.event_nid in found]
        ignored = await self._ignored.ignored_by(viewer.user_nid)
        seen = {
            item.event.event_nid: item
            for item in await see_events(self._db, self._names, viewer, events)
            if item.event.redacted_by is None
            and wanted.allows_content(item.event.content)
            and not is_ignored(item.event, ignored)
        }
        return [(hit, seen.get(hit.event_nid)) for hit in hits]

    async def _rooms(self, viewer: Viewer, wanted: RoomEventFilter, cursor: Cursor) -> list[int]:
        """The rooms to be searched: those that the viewer is or was in, but encrypted ones."""
        rows = await self._db.fetch(
            SELECT_ROOMS, viewer.user_nid, [Membership.JOIN, Membership.LEAVE, Membership.BAN]
        )
        rooms: dict[int, str] = dict(rows)
        if wanted.rooms is not None:
            create = await self._names.places.get_nid(CREATE)
            chosen = await with_predecessors(self._db, wanted.rooms, create)
            rooms = {nid: room_id for nid, room_id in rooms.items() if nid in chosen}
        if cursor.group is not None and cursor.group[0] == "room_id":
            rooms = {nid: room_id for nid, room_id in rooms.items() if room_id == cursor.group[1]}
        encryption = await self._names.places.get_nid(ENCRYPTION)
        encrypted = await rooms_with_place(self._db, rooms, encryption)
        return [
            nid
            for nid, room_id in rooms.items()
            if nid not in encrypted and room_id not in wanted.not_rooms
        ]

    async def _contexts(
        self, viewer: Viewer, seen: Sequence[SeenEvent], wanted: ContextWanted
    ) -> list[dict[str, Any]]:
        """What lies around each result."""
        around = await neighbours_of(
            self._db, [item.event.event_nid for item in seen], wanted.before, wanted.after
        )
        events = [e for near in around.values() for e in (*near.before, *near.after)]
        unique = list({event.event_nid: event for event in events}.values())
        ignored = await self._ignored.ignored_by(viewer.user_nid)
        visible = [
            item
            for item in await see_events(self._db, self._names, viewer, unique)
            if not is_ignored(item.event, ignored)
        ]
        rendered = await self._clients.render(visible, viewer, with_room_id=True)
        shown = {
            item.event.event_nid: orjson.Fragment(event)
            for item, event in zip(visible, rendered, strict=True)
        }
        profiles: Mapping[int, dict[str, Any]] = {}
        if wanted.with_profiles:
            profiles = await self._profiles(seen, around)
        contexts = []
        for item in seen:
            near = around[item.event.event_nid]
            context: dict[str, Any] = {
                "start": str(gap_before((near.before or [item.event])[-1])),
                "end": str(gap_after((near.after or [item.event])[-1])),
                "events_before": [shown[e.event_nid] for e in near.before if e.event_nid in shown],
                "events_after": [shown[e.event_nid] for e in near.after if e.event_nid in shown],
            }
            if wanted.with_profiles:
                context["profile_info"] = profiles[item.event.event_nid]
            contexts.append(context)
        return contexts

    async def _profiles(
        self, seen: Sequence[SeenEvent], around: Mapping[int, Neighbours]
    ) -> dict[int, dict[str, Any]]:
        """How the senders around each result presented themselves at that time."""
        senders: dict[int, set[str]] = {}
        for item in seen:
            near = around[item.event.event_nid]
            shown = [item.event, *near.before, *near.after]
            senders[item.event.event_nid] = {event.sender for event in shown}
        everybody = set().union(*senders.values())
        places = await self._names.places.find_nids(member_place(user) for user in everybody)
        snapshots = {e.snapshot_nid for e in (item.event for item in seen) if e.snapshot_nid}
        states = await get_places_at(self._db, snapshots, places.values())
        members = await get_events(self._db, {n for s in states.values() for n in s.values()})
        profiles: dict[int, dict[str, Any]] = {}
        for item in seen:
            state = states.get(item.event.snapshot_nid or 0, {})
            profiles[item.event.event_nid] = {
                user: _profile(members.get(state.get(places.get(member_place(user), 0), 0)))
                for user in senders[item.event.event_nid]
            }
        return profiles

    async def _groups(
        self, keys: Sequence[str], seen: Sequence[SeenEvent], following: Cursor | None
    ) -> dict[str, dict[str, Any]]:
        """The results by room or sender, in the order in which the groups appear."""
        rooms = await self._names.rooms.get_many({item.event.room_nid for item in seen})
        groups: dict[str, dict[str, Any]] = {key: {} for key in keys}
        for key, values in groups.items():
            for item in seen:
                event = item.event
                value = rooms[event.room_nid].room_id if key == "room_id" else event.sender
                group = values.setdefault(value, {"order": len(values), "results": []})
                group["results"].append(event.event_id)
            if following is not None and following.group is None and not following.skip:
                for value, group in values.items():
                    group["next_batch"] = str(replace(following, group=(key, value)))
        return groups

    async def _states(
        self, viewer: Viewer, seen: Sequence[SeenEvent]
    ) -> dict[str, list[orjson.Fragment]]:
        """The current states of those rooms of the results that the viewer is in."""
        rows = await self._db.fetch(SELECT_ROOMS, viewer.user_nid, [Membership.JOIN])
        joined = dict(rows)
        wanted = {item.event.room_nid for item in seen} & joined.keys()
        states = await current_states(self._db, wanted)
        return {
            joined[room_nid]: [
                orjson.Fragment(event)
                for event in await self._clients.render_state(events, with_room_id=True)
            ]
            for room_nid, events in states.items()
        }


SELECT_ROOMS = """
    SELECT m.room_nid, r.room_id
      FROM memberships AS m
      JOIN rooms AS r USING (room_nid)
     WHERE m.user_nid = $1 AND m.membership = ANY($2::smallint[]) AND NOT m.forgotten
"""


def parse_cursor(token: str) -> Cursor:
    """The place that a token names. Raises `InvalidParam`."""
    try:
        decoded = orjson.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        before, skip, group = decoded
        if type(before) is not int or type(skip) is not int or skip < 0:
            raise ValueError(token)
        if group is not None:
            key, value = group
            if key not in ("room_id", "sender") or not isinstance(value, str):
                raise ValueError(token)
            group = (key, value)
    except (binascii.Error, ValueError, TypeError) as error:
        raise InvalidParam("'next_batch' is not a token of a search") from error
    return Cursor(before, skip, group)


def _after(query: TextQuery, hit: Hit) -> TextQuery:
    """The query for what follows a match."""
    if query.by_rank:
        return replace(query, skip=query.skip + 1)
    return replace(query, before=hit.position)


def _profile(member: StoredEvent | None) -> dict[str, Any]:
    content = {} if member is None else member.content
    fields = {key: content.get(key) for key in ("displayname", "avatar_url")}
    return {key: value for key, value in fields.items() if isinstance(value, str)}
