"""The directory of published rooms.

Rooms are listed with the largest first. Counting the members of all published rooms for every
page would cost more than it is worth, so the ranking is kept for a moment; a page's entries are
always fresh. A pagination token names the entry that a page begins or ends at, not a number of
entries, so that rooms do not slip through when the ranking changes.
Source: client-server API, "Published room directory".
"""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from federation.protocol.errors import Forbidden, InvalidParam, NotFound
from federation.protocol.identifiers import ServerName, UserId, check_server_name
from homeserver.clock import Clock
from homeserver.config.sections.rooms import Rooms as RoomSettings
from homeserver.rooms.aliases import CANONICAL_ALIAS, may_send_state
from homeserver.rooms.live import LiveRooms
from homeserver.rooms.ports import DirectoryQuery, RemoteRooms
from storage.database import Database
from storage.directory import (
    Listing,
    RoomSummary,
    listed_room_nids,
    ranked_rooms,
    room_summaries,
)
from storage.names import Names
from storage.rooms import is_published, set_published

RANKING_LIFETIME_MS = 10_000
MAX_LIMIT = 100
MAX_RANKINGS = 8
SCANNED_AT_ONCE = 200
"""Rooms whose summaries are read together when a page is looked for."""

Rank = tuple[int, int]
"""A place in the ranking: the negative number of members, the room's number."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """The published rooms in order, as counted at a time."""

    ranks: Sequence[Rank]
    room_nids: frozenset[int]
    counted_ts: int


class Directory:
    """Publishes rooms and lists them."""

    def __init__(
        self,
        db: Database,
        names: Names,
        live: LiveRooms,
        remote: RemoteRooms,
        settings: RoomSettings,
        clock: Clock,
        server_name: ServerName,
    ) -> None:
        self._db = db
        self._names = names
        self._live = live
        self._remote = remote
        self._settings = settings
        self._clock = clock
        self._server_name = server_name
        self._rankings: dict[Listing, Ranking] = {}

    async def is_published(self, room_id: str) -> bool:
        """Whether the room is in this server's directory. Raises `NotFound`."""
        room = await self._names.rooms.find(room_id)
        if room is None:
            raise NotFound(f"There is no room {room_id} here")
        return await is_published(self._db, room.room_nid)

    async def set_published(
        self, user_id: UserId, room_id: str, *, published: bool, is_admin: bool
    ) -> None:
        """Put a room into the directory or take it out.

        It takes the power to announce the room's aliases, or an administrator. Raises
        `NotFound`, `Forbidden`.
        """
        room = await self._live.get(room_id)
        publication = self._settings.directory_publication
        if published and publication != "everyone" and not (is_admin and publication == "admins"):
            raise Forbidden("You may not publish rooms in this server's directory")
        if not is_admin:
            async with room.lock:
                allowed = await may_send_state(self._live, room, user_id, CANONICAL_ALIAS[0])
            if not allowed:
                raise Forbidden("You may not say whether this room is in the directory")
        await set_published(self._db, room.room_nid, published=published)

    async def page(self, server: str | None, query: DirectoryQuery) -> Mapping[str, Any]:
        """A page of a server's directory; of this one's if none is named.

        Raises `InvalidParam`, `NotFound` (no such server).
        """
        if server is not None and server != self._server_name:
            return await self._remote.public_rooms(check_server_name(server), query)
        return await self.local_page(query)

    async def local_page(self, query: DirectoryQuery) -> Mapping[str, Any]:
        """A page of this server's directory. Raises `InvalidParam`."""
        if not self._settings.directory_search:
            return {"chunk": [], "total_room_count_estimate": 0}
        ranks = (await self._ranked(listing_of(query))).ranks
        backwards, start = find_start(ranks, query.since)
        candidates = list(reversed(ranks[:start])) if backwards else ranks[start:]
        found, more = await self._collect(candidates, query)
        page = found[::-1] if backwards else found
        return {
            "chunk": [summary.published_fields() for _, summary in page],
            "total_room_count_estimate": len(ranks),
            **page_tokens(
                [rank for rank, _ in page],
                before=more if backwards else start > 0,
                after=bool(start < len(ranks)) if backwards else more,
            ),
        }

    async def _collect(
        self, candidates: Sequence[Rank], query: DirectoryQuery
    ) -> tuple[list[tuple[Rank, RoomSummary]], bool]:
        """The first rooms that fit the query, and whether there are more."""
        found: list[tuple[Rank, RoomSummary]] = []
        for offset in range(0, len(candidates), SCANNED_AT_ONCE):
            part = candidates[offset : offset + SCANNED_AT_ONCE]
            if query.search_term is None and query.room_types is None:
                part = part[: query.limit - len(found) + 1]
            summaries = await room_summaries(self._db, self._names, [nid for _, nid in part])
            for rank in part:
                summary = summaries.get(rank[1])
                if summary is None or not fits(summary, query):
                    continue
                if len(found) == query.limit:
                    return found, True
                found.append((rank, summary))
        return found, False

    async def _ranked(self, listing: Listing) -> Ranking:
        """The ranking, counted anew when a room was published or withdrawn, or time has passed."""
        room_nids = await listed_room_nids(self._db, listing)
        now = self._clock()
        known = self._rankings.get(listing)
        if (
            known is None
            or known.room_nids != room_nids
            or now - known.counted_ts > RANKING_LIFETIME_MS
        ):
            counted = await ranked_rooms(self._db, room_nids)
            ranks = sorted((-joined, room_nid) for room_nid, joined in counted)
            known = Ranking(ranks, room_nids, now)
            if len(self._rankings) >= MAX_RANKINGS:
                self._rankings.clear()
            self._rankings[listing] = known
        return known


def listing_of(query: DirectoryQuery) -> Listing:
    """The directory that a query asks for; a network by the ID of its instance."""
    if query.all_networks:
        return Listing(is_all=True)
    if query.third_party_network is None:
        return Listing()
    service_id, _, network_id = query.third_party_network.partition("|")
    return Listing((service_id, network_id))


def fits(summary: RoomSummary, query: DirectoryQuery) -> bool:
    """Whether a room is one of those that are asked for.

    The search term is looked for in name, topic and canonical alias, whatever the case.
    """
    if query.room_types is not None and summary.room_type not in query.room_types:
        return False
    if query.search_term is None:
        return True
    term = query.search_term.casefold()
    texts = (summary.name, summary.topic, summary.canonical_alias)
    return any(term in text.casefold() for text in texts if text is not None)


def find_start(ranks: Sequence[Rank], since: str | None) -> tuple[bool, int]:
    """Whether a token leads backwards, and where in the ranking its page begins or ends.

    Raises `InvalidParam`.
    """
    if since is None:
        return False, 0
    direction, members, room_nid = parse_token(since)
    rank = (-members, room_nid)
    if direction == "p":
        return True, bisect_left(ranks, rank)
    return False, bisect_right(ranks, rank)


def parse_token(token: str) -> tuple[str, int, int]:
    """Direction (`n` or `p`), members and room of a pagination token. Raises `InvalidParam`."""
    match token.split("."):
        case [("n" | "p") as direction, members, room_nid] if is_number(members, room_nid):
            return direction, int(members), int(room_nid)
    raise InvalidParam("'since' is not a token of this directory")


def is_number(*texts: str) -> bool:
    """Whether all the texts are decimal digits, and not too many."""
    return all(text.isascii() and text.isdecimal() and len(text) < 12 for text in texts)


def page_tokens(page: Sequence[Rank], *, before: bool, after: bool) -> dict[str, str]:
    """The tokens of the pages before and after a page, where there are any."""
    tokens = {}
    if page and before:
        tokens["prev_batch"] = f"p.{-page[0][0]}.{page[0][1]}"
    if page and after:
        tokens["next_batch"] = f"n.{-page[-1][0]}.{page[-1][1]}"
    return tokens
