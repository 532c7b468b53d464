"""Walking a tree of spaces.

The tree is read level by level, each with a handful of queries however many rooms it has; then it
is walked depth first. A page is a part of that walk, and its token tells how far the former pages
went, so that nothing is kept between requests.
Source: client-server API, "Discovering rooms within spaces".
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from federation.protocol.errors import Forbidden, InvalidParam
from federation.protocol.event_rendering import build_stripped_event
from homeserver.rooms.summary import (
    NoRemoteSummaries,
    RemoteSummaries,
    choose_visible,
    doors_of,
    doors_of_remote,
    summary_fields,
)
from homeserver.rooms.viewer import Viewer
from storage.database import Database
from storage.directory import room_summaries
from storage.names import Names
from storage.spaces import child_links, room_outlines

SPACE = "m.space"
DEFAULT_LIMIT = 50
MAX_LIMIT = 100
DEFAULT_DEPTH = 20
MAX_ROOMS = 2_000
"""How many rooms of a tree are looked at."""

TOKEN = re.compile(r"h([0-9]{1,6})_([0-9]{1,6})_([01])")
ORDER = re.compile(r"[\x20-\x7e]{1,50}")
LAST = "\x7f"
"""Sorts after every valid order."""


@dataclass(frozen=True, slots=True)
class HierarchyRequest:
    """Which tree is walked, and how far; `start` is a token of a former page."""

    room_id: str
    suggested_only: bool = False
    max_depth: int = DEFAULT_DEPTH
    limit: int = DEFAULT_LIMIT
    start: str | None = None


@dataclass(frozen=True, slots=True)
class HierarchyPage:
    """Rooms in the order of the walk; `next_batch` is None where the walk ends."""

    rooms: list[dict[str, Any]]
    next_batch: str | None


@dataclass(frozen=True, slots=True)
class Child:
    """A valid link to a child; `event` is what clients are shown of it."""

    room_id: str
    servers: tuple[str, ...]
    event: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TreeRoom:
    """A room in a tree: its children, none unless it is a space, in their order.

    `fields` are what another server told of a room that this one is not in; `room_nid` is 0 then.
    """

    room_id: str
    room_nid: int
    children: Sequence[Child]
    fields: Mapping[str, Any] | None = None


class Spaces:
    """Shows trees of spaces."""

    def __init__(self, db: Database, names: Names, remote: RemoteSummaries | None = None) -> None:
        self._db = db
        self._names = names
        self._remote = remote or NoRemoteSummaries()

    async def page(self, viewer: Viewer, request: HierarchyRequest) -> HierarchyPage:
        """A page of the walk. Raises `Forbidden`, `InvalidParam`."""
        offset = _parse_token(request)
        tree = await self._read_tree(viewer, request)
        if request.room_id not in tree:
            raise Forbidden("There is no such room, or you may not see it")
        walk = list(walk_tree(tree, request.room_id, request.max_depth))
        rooms = [tree[room_id] for room_id in walk[offset : offset + request.limit]]
        end = offset + len(rooms)
        next_batch = None
        if end < len(walk):
            next_batch = f"h{end}_{request.max_depth}_{int(request.suggested_only)}"
        return HierarchyPage(await self._show(rooms), next_batch)

    async def _read_tree(self, viewer: Viewer, request: HierarchyRequest) -> dict[str, TreeRoom]:
        """The rooms of a tree that the viewer may see."""
        tree: dict[str, TreeRoom] = {}
        asked: set[str] = set()
        wanted: dict[str, Sequence[str]] = {request.room_id: ()}
        for _ in range(request.max_depth + 1):
            if not wanted:
                break
            asked |= wanted.keys()
            level = await self._read_rooms(viewer, wanted, suggested_only=request.suggested_only)
            tree |= level
            children = (child for room in level.values() for child in room.children)
            fresh = {c.room_id: c.servers for c in children if c.room_id not in asked}
            left = max(0, MAX_ROOMS - len(asked))
            wanted = dict(list(fresh.items())[:left])
        return tree

    async def _read_rooms(
        self, viewer: Viewer, wanted: Mapping[str, Sequence[str]], *, suggested_only: bool
    ) -> dict[str, TreeRoom]:
        """Those of the rooms that the viewer may see."""
        outlines = await room_outlines(self._db, self._names, wanted)
        elsewhere = {i: servers for i, servers in wanted.items() if i not in outlines}
        told: Mapping[str, Mapping[str, Any]] = {}
        if elsewhere:
            told = await self._remote.fetch(elsewhere, suggested_only=suggested_only)
        doors = {room_id: doors_of(outline) for room_id, outline in outlines.items()}
        doors |= {room_id: doors_of_remote(fields) for room_id, fields in told.items()}
        visible = await choose_visible(self._db, viewer, doors)
        spaces = [o.room_nid for i, o in outlines.items() if i in visible and o.room_type == SPACE]
        links = await child_links(self._db, spaces) if spaces else {}
        rooms = {}
        for room_id in visible:
            if room_id in outlines:
                room_nid = outlines[room_id].room_nid
                events = [link.fields for link in links.get(room_nid, ())]
                children = order_children(events, suggested_only=suggested_only)
                rooms[room_id] = TreeRoom(room_id, room_nid, children)
            else:
                fields = told[room_id]
                children = order_children(told_links(fields), suggested_only=suggested_only)
                rooms[room_id] = TreeRoom(room_id, 0, children, fields)
        return rooms

    async def _show(self, rooms: Sequence[TreeRoom]) -> list[dict[str, Any]]:
        summaries = await room_summaries(
            self._db, self._names, [room.room_nid for room in rooms if room.fields is None]
        )
        shown = []
        for room in rooms:
            if room.fields is None:
                fields = summary_fields(summaries[room.room_nid])
            else:
                fields = dict(room.fields)
            fields["children_state"] = [child.event for child in room.children]
            shown.append(fields)
        return shown


def walk_tree(tree: Mapping[str, TreeRoom], root: str, max_depth: int) -> Iterator[str]:
    """The rooms of a tree depth first, each once."""
    seen = {root}
    left = [(root, 0)]
    while left:
        room_id, depth = left.pop()
        yield room_id
        if depth == max_depth:
            continue
        below = []
        for child in tree[room_id].children:
            if child.room_id in tree and child.room_id not in seen:
                seen.add(child.room_id)
                below.append((child.room_id, depth + 1))
        left += reversed(below)


def order_children(events: Iterable[Mapping[str, Any]], *, suggested_only: bool) -> list[Child]:
    """The valid links among `m.space.child` events, in the order of the children.

    Source: client-server API, "Ordering of children within a space".
    """
    keyed = []
    for event in events:
        content = event["content"]
        via = content.get("via")
        servers = tuple(s for s in via if isinstance(s, str)) if isinstance(via, list) else ()
        if not servers or (suggested_only and content.get("suggested") is not True):
            continue
        order, ts = content.get("order"), event["origin_server_ts"]
        if not (isinstance(order, str) and ORDER.fullmatch(order)):
            order = LAST
        shown = build_stripped_event(event) | {"origin_server_ts": ts}
        keyed.append((order, ts, Child(event["state_key"], servers, shown)))
    keyed.sort(key=lambda item: (item[0], item[1], item[2].room_id))
    return [child for _, _, child in keyed]


def told_links(fields: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The well-formed links of a space of which another server told; of other rooms none."""
    if fields.get("room_type") != SPACE or not isinstance(fields.get("children_state"), list):
        return []
    return [
        event
        for event in fields["children_state"][:MAX_ROOMS]
        if isinstance(event, Mapping)
        and event.get("type") == "m.space.child"
        and isinstance(event.get("state_key"), str)
        and isinstance(event.get("sender"), str)
        and isinstance(event.get("content"), Mapping)
        and type(event.get("origin_server_ts")) is int
    ]


def _parse_token(request: HierarchyRequest) -> int:
    """How many rooms the former pages had. Raises `InvalidParam`."""
    if request.start is None:
        return 0
    token = TOKEN.fullmatch(request.start)
    if token is None:
        raise InvalidParam("'from' is not a token of a hierarchy")
    if (int(token[2]), token[3] == "1") != (request.max_depth, request.suggested_only):
        raise InvalidParam("'max_depth' and 'suggested_only' must stay as they were")
    return int(token[1])
