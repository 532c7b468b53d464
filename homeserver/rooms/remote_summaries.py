"""Rooms that this server is not in, as servers in them tell of them.

A server tells of a space and of its children at once. All of it is remembered for a while, by room
and by the server that said so: what a server claims of a room is shown only where that server was
named as one to ask about it, so nobody can speak for the rooms of others.
Source: server-server API, `GET /hierarchy/{roomId}`.
"""

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from federation.outbound.directory import RemoteDirectory
from federation.outbound.errors import FederationError
from federation.outbound.single_flight import SingleFlight
from federation.protocol.identifiers import ServerName, is_valid_server_name, server_of
from homeserver.clock import Clock
from homeserver.rooms.spaces import SPACE, told_links
from storage.cache import Cache
from storage.database import Database
from storage.spaces import links_to

log = logging.getLogger("hearth.spaces")

REMEMBERED_MS = 5 * 60_000
MOST_SERVERS_ASKED = 3
"""For each room."""
MOST_ROOMS_ASKED = 100
"""At once: of one level of a tree."""
MOST_AT_ONCE = 10
TOGETHER_S = 15.0
"""For all rooms of a level; what is not told by then is left out."""
MOST_LINKS_READ = 200
OVERHEAD_BYTES = 400

Fields = Mapping[str, Any]
Question = tuple[str, ServerName, bool]
"""Room, server and whether only suggested children are wanted."""

TEXTS = (
    "room_id",
    "name",
    "topic",
    "canonical_alias",
    "avatar_url",
    "join_rule",
    "room_type",
    "encryption",
    "room_version",
)
FLAGS = ("world_readable", "guest_can_join")


class RemoteSummaries:
    """Asks other servers about rooms."""

    def __init__(
        self,
        db: Database,
        directory: RemoteDirectory,
        clock: Clock,
        server_name: ServerName,
        cache_bytes: int,
    ) -> None:
        self._db = db
        self._directory = directory
        self._clock = clock
        self._server_name = server_name
        self._told: Cache[Question, tuple[bytes, int]] = Cache(cache_bytes)
        """What a server told, as JSON: fields of the room, null where it tells nothing."""
        self._routes: Cache[str, tuple[ServerName, ...]] = Cache(cache_bytes // 8)
        """Servers that other servers' spaces name for their children."""
        self._flights: SingleFlight[Question, Fields | None] = SingleFlight()
        self._places = asyncio.Semaphore(MOST_AT_ONCE)

    async def fetch(
        self, wanted: Mapping[str, Sequence[str]], *, suggested_only: bool
    ) -> Mapping[str, Fields]:
        """The summaries of rooms, each asked of the servers that are given with it.

        They have the fields of the `rooms` of a hierarchy, `children_state` too. Rooms that
        nobody tells of are left out.
        """
        named = await self._candidates(dict(list(wanted.items())[:MOST_ROOMS_ASKED]))
        found: dict[str, Fields] = {}

        async def find(room_id: str, servers: Sequence[ServerName]) -> None:
            fields = await self._find(room_id, servers, suggested_only)
            if fields is not None:
                found[room_id] = fields

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TOGETHER_S), asyncio.TaskGroup() as group:
                for room_id, servers in named.items():
                    group.create_task(find(room_id, servers))
        return found

    async def _candidates(
        self, wanted: Mapping[str, Sequence[str]]
    ) -> dict[str, Sequence[ServerName]]:
        """Servers to ask about each room; where none is named, those that spaces name for it."""
        nameless = [room_id for room_id, servers in wanted.items() if not servers]
        links = await links_to(self._db, nameless, MOST_LINKS_READ) if nameless else {}
        found: dict[str, Sequence[ServerName]] = {}
        for room_id, servers in wanted.items():
            named = list(servers)
            if not named:
                named += [s for content in links.get(room_id, ()) for s in via_of(content)]
                named += [*(self._routes.get(room_id) or ()), server_of(room_id)]
            good = [s for s in dict.fromkeys(named) if is_valid_server_name(s)]
            others = [ServerName(s) for s in good if s != self._server_name]
            found[room_id] = others[:MOST_SERVERS_ASKED]
        return found

    async def _find(
        self, room_id: str, servers: Sequence[ServerName], suggested_only: bool
    ) -> Fields | None:
        questions = [(room_id, server, suggested_only) for server in servers]
        for question in questions:
            known = self._told.get(question)
            if known is not None and known[1] > self._clock():
                fields: Fields | None = orjson.loads(known[0])
                if fields is not None:
                    return fields
        for question in questions:
            known = self._told.get(question)
            if known is not None and known[1] > self._clock():
                continue
            fields = await self._flights.run(question, lambda asked=question: self._ask(asked))  # type: ignore[misc]
            if fields is not None:
                return fields
        return None

    async def _ask(self, question: Question) -> Fields | None:
        room_id, server, suggested_only = question
        try:
            async with self._places:
                answer = await self._directory.hierarchy(
                    server, room_id, suggested_only=suggested_only
                )
        except FederationError as error:
            # Not remembered: what the room's servers know of our users may change any time.
            log.info("%s does not tell of %s: %s", server, room_id, error)
            return None
        room = read_summary(answer["room"])
        if room is None or room["room_id"] != room_id:
            return None
        self._remember(question, room)
        self._remember_children(question, answer, room)
        return room

    def _remember_children(self, question: Question, answer: Fields, room: Fields) -> None:
        """Keep what was told beside; of spaces too little was told, they are asked about anew."""
        _, server, suggested_only = question
        for event in room["children_state"]:
            via = tuple(ServerName(s) for s in via_of(event["content"]))[:MOST_SERVERS_ASKED]
            if via:
                self._routes.put(event["state_key"], via, OVERHEAD_BYTES)
        children, hidden = answer.get("children"), answer.get("inaccessible_children")
        for told in children if isinstance(children, list) else ():
            child = read_summary(told)
            if child is not None and child.get("room_type") != SPACE:
                self._remember((child["room_id"], server, suggested_only), child)
        for room_id in hidden if isinstance(hidden, list) else ():
            if isinstance(room_id, str):
                self._remember((room_id, server, suggested_only), None)

    def _remember(self, question: Question, fields: Fields | None) -> None:
        encoded = orjson.dumps(fields)
        until_ts = self._clock() + REMEMBERED_MS
        self._told.put(question, (encoded, until_ts), len(encoded) + OVERHEAD_BYTES)


def via_of(content: object) -> list[str]:
    """The servers that a link to a child names."""
    via = content.get("via") if isinstance(content, Mapping) else None
    return [s for s in via if isinstance(s, str)] if isinstance(via, list) else []


def read_summary(told: object) -> dict[str, Any] | None:
    """The well-formed fields of a summary that another server gave; None if it is none."""
    if not isinstance(told, Mapping) or not isinstance(told.get("room_id"), str):
        return None
    joined, allowed = told.get("num_joined_members"), told.get("allowed_room_ids")
    fields: dict[str, Any] = {key: told[key] for key in TEXTS if isinstance(told.get(key), str)}
    fields |= {key: told.get(key) is True for key in FLAGS}
    fields["num_joined_members"] = joined if type(joined) is int and joined >= 0 else 0
    if isinstance(allowed, list):
        fields["allowed_room_ids"] = [room_id for room_id in allowed if isinstance(room_id, str)]
    fields["children_state"] = told_links(told)
    return fields
