"""Rooms as those see them who are not in them, and who may.

Source: client-server API, `GET /room_summary/{roomIdOrAlias}`, `GET /rooms/{roomId}/hierarchy`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from federation.protocol.errors import NotFound
from federation.protocol.room_versions import ROOM_VERSIONS
from homeserver.rooms.viewer import Viewer
from storage.changes import Membership
from storage.database import Database
from storage.directory import RoomSummary, room_summaries
from storage.names import Names
from storage.spaces import KnownMembership, joined_among, memberships_of, room_outlines

NO_MEMBERSHIP = KnownMembership(Membership.LEAVE, None)


class RemoteSummaries(Protocol):
    """What other servers tell of rooms that this one is not in."""

    async def fetch(
        self, wanted: Mapping[str, Sequence[str]], *, suggested_only: bool
    ) -> Mapping[str, Mapping[str, Any]]:
        """The summaries of rooms, each asked of the servers that are given with it.

        They have the fields of the `rooms` of a hierarchy, `children_state` too. Rooms that
        nobody tells of are left out.
        """


class NoRemoteSummaries:
    """For a server that asks nobody."""

    async def fetch(
        self, wanted: Mapping[str, Sequence[str]], *, suggested_only: bool
    ) -> Mapping[str, Mapping[str, Any]]:
        """Nothing can be had."""
        del wanted, suggested_only
        return {}


@dataclass(frozen=True, slots=True)
class Doors:
    """What decides who may see a room that they are not in."""

    join_rule: str
    allowed_room_ids: Sequence[str]
    is_world_readable: bool
    version_id: str | None

    @property
    def are_open(self) -> bool:
        """Whether everybody may see it: to read it, to join it or to knock on it."""
        if self.is_world_readable or self.join_rule == "public":
            return True
        version = ROOM_VERSIONS.get(self.version_id or "")
        if self.join_rule == "knock":
            return version is None or version.knocking
        return self.join_rule == "knock_restricted" and (
            version is None or version.knock_restricted_joins
        )

    @property
    def keys(self) -> Sequence[str]:
        """The rooms whose members may see it."""
        version = ROOM_VERSIONS.get(self.version_id or "")
        can_restrict = version is None or version.restricted_joins
        return self.allowed_room_ids if can_restrict else ()


def doors_of(summary: RoomSummary) -> Doors:
    """The doors of a room of this server."""
    return Doors(
        summary.join_rule,
        summary.allowed_room_ids,
        summary.is_world_readable,
        summary.version_id,
    )


def doors_of_remote(fields: Mapping[str, Any]) -> Doors:
    """The doors of a room, as another server tells of it; no join rule there means public."""
    join_rule, allowed = fields.get("join_rule"), fields.get("allowed_room_ids")
    version_id = fields.get("room_version")
    return Doors(
        join_rule if isinstance(join_rule, str) else "public",
        [room for room in allowed if isinstance(room, str)] if isinstance(allowed, list) else [],
        fields.get("world_readable") is True,
        version_id if isinstance(version_id, str) else None,
    )


async def choose_visible(
    db: Database, viewer: Viewer, rooms: Mapping[str, Doors]
) -> dict[str, KnownMembership]:
    """The rooms that a viewer may see, with the viewer's membership of each.

    Those are the rooms that the viewer is in or invited to, and those whose doors are open; one
    who is banned sees no more than what the world may read.
    """
    memberships = await memberships_of(db, viewer.user_nid, rooms)
    keys = {key for doors in rooms.values() for key in doors.keys}
    joined = await joined_among(db, viewer.user_nid, keys) if keys else set()
    visible = {}
    for room_id, doors in rooms.items():
        known = memberships.get(room_id, NO_MEMBERSHIP)
        if known.membership == Membership.BAN:
            may_see = doors.is_world_readable
        else:
            is_expected = known.membership in (Membership.JOIN, Membership.INVITE)
            may_see = is_expected or doors.are_open or not joined.isdisjoint(doors.keys)
        if may_see:
            visible[room_id] = known
    return visible


def summary_fields(summary: RoomSummary) -> dict[str, Any]:
    """The fields of `RoomSummary`."""
    fields = summary.published_fields() | {"room_version": summary.version_id}
    if summary.allowed_room_ids:
        fields["allowed_room_ids"] = summary.allowed_room_ids
    if summary.encryption is not None:
        fields["encryption"] = summary.encryption
    return fields


class Summaries:
    """Tells of rooms by ID."""

    def __init__(self, db: Database, names: Names, remote: RemoteSummaries | None = None) -> None:
        self._db = db
        self._names = names
        self._remote = remote or NoRemoteSummaries()

    async def get(
        self, viewer: Viewer | None, room_id: str, servers: Sequence[str] = ()
    ) -> dict[str, Any]:
        """The summary of a room, with the viewer's membership, if anybody is logged in.

        Raises `NotFound`, also for a room that the viewer may not see.
        """
        outline = (await room_outlines(self._db, self._names, [room_id])).get(room_id)
        if outline is not None:
            known = await self._see(viewer, room_id, doors_of(outline))
            summaries = await room_summaries(self._db, self._names, [outline.room_nid])
            return summary_fields(summaries[outline.room_nid]) | known
        fetched = await self._remote.fetch({room_id: servers}, suggested_only=False)
        if room_id in fetched:
            known = await self._see(viewer, room_id, doors_of_remote(fetched[room_id]))
            told = {k: v for k, v in fetched[room_id].items() if k != "children_state"}
            return told | known
        return await self._from_stripped_state(viewer, room_id)

    async def _see(self, viewer: Viewer | None, room_id: str, doors: Doors) -> dict[str, Any]:
        """The viewer's membership as a field of the answer. Raises `NotFound`."""
        if viewer is None:
            if not doors.are_open:
                raise _not_found(room_id)
            return {}
        visible = await choose_visible(self._db, viewer, {room_id: doors})
        if room_id not in visible:
            raise _not_found(room_id)
        return {"membership": Membership(visible[room_id].membership).word}

    async def _from_stripped_state(self, viewer: Viewer | None, room_id: str) -> dict[str, Any]:
        """What an invited or knocking viewer was told of a room. Raises `NotFound`."""
        if viewer is not None:
            known = (await memberships_of(self._db, viewer.user_nid, [room_id])).get(room_id)
            room = await self._names.rooms.find(room_id)
            if room is not None and known is not None and known.stripped_state is not None:
                contents = stripped_contents(orjson.loads(known.stripped_state))
                summary = RoomSummary(room.room_nid, room_id, room.version_id, 0, contents)
                return summary_fields(summary) | {"membership": Membership(known.membership).word}
        raise _not_found(room_id)


def stripped_contents(
    events: Iterable[object],
) -> dict[tuple[str, str], Mapping[str, Any]]:
    """The contents of stripped state by place; what is malformed is left out."""
    contents: dict[tuple[str, str], Mapping[str, Any]] = {}
    for event in events:
        if not isinstance(event, Mapping):
            continue
        event_type, state_key, content = map(event.get, ("type", "state_key", "content"))
        if (
            isinstance(event_type, str)
            and isinstance(state_key, str)
            and isinstance(content, Mapping)
        ):
            contents[event_type, state_key] = content
    return contents


def _not_found(room_id: str) -> NotFound:
    return NotFound(f"There is no room {room_id} that you may see")
