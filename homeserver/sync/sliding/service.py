"""Sliding sync: answers at once what there is to tell, or waits until there is something.

An answer is worked out in steps: which rooms the lists have (`lists.py`), what of them is to be
told (`plan.py`), with what (`rooms.py`), what else (`extensions`), and what the client has then
(`sent.py`). A client that has all that it wanted is only told what has changed since.
Source: MSC4186.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import orjson

from homeserver.rooms.viewer import Viewer
from homeserver.sync.followers import Followers
from homeserver.sync.ports import IgnoredUsers
from homeserver.sync.sliding.connections import Connection, Connections
from homeserver.sync.sliding.extensions.reader import ExtensionReader, ExtensionsTold
from homeserver.sync.sliding.extensions.scope import Round
from homeserver.sync.sliding.interest import Interest
from homeserver.sync.sliding.lists import Lists, Views
from homeserver.sync.sliding.plan import Plan, Planner, Situation
from homeserver.sync.sliding.pos import Pos, UnknownPos
from homeserver.sync.sliding.reading import Reading, RoomsRead
from homeserver.sync.sliding.request import SlidingRequest, parse_request
from homeserver.sync.sliding.room_orders import RoomOrders
from homeserver.sync.sliding.rooms import RoomReader
from homeserver.sync.sliding.sent import LIVE, NONE, Changes, Sent, Told
from storage.cache import Cache
from storage.names import Names
from storage.stream import Stream

MAX_TIMEOUT_MS = 180_000
PARSED_COST = 3_000
COST_PER_BYTE = 5


@dataclass(frozen=True, slots=True)
class SlidingParts:
    """What the service is made of."""

    stream: Stream
    names: Names
    followers: Followers
    orders: RoomOrders
    connections: Connections
    lists: Lists
    planner: Planner
    rooms: RoomReader
    extensions: ExtensionReader
    ignored: IgnoredUsers


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, and what its client has when it has seen it."""

    upto: int
    typing: int
    views: Views
    rooms: RoomsRead
    extensions: ExtensionsTold
    changes: Changes
    is_settled: bool
    """Whether the client has all that it wants, but for what happened where it does not look."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to tell."""
        return not self.rooms.bodies and self.extensions.is_empty


class SlidingSync:
    """Serves sliding sync."""

    def __init__(self, parts: SlidingParts, parsed_bytes: int) -> None:
        self._parts = parts
        self._parsed: Cache[bytes, SlidingRequest] = Cache(parsed_bytes)

    def parse(self, encoded: bytes, body: dict[str, Any]) -> SlidingRequest:
        """The request of a body; clients send the same again and again.

        Raises `BadJson`, `InvalidParam`, `MissingParam`.
        """
        request = self._parsed.get(encoded)
        if request is None:
            request = parse_request(body)
            self._parsed.put(encoded, request, PARSED_COST + COST_PER_BYTE * len(encoded))
        return request

    async def sync(
        self, viewer: Viewer, request: SlidingRequest, pos: Pos | None, timeout_ms: int
    ) -> bytes:
        """The JSON of the response; waits for something to tell. Raises `UnknownPos`."""
        if pos is None:
            answer = await self._answer(viewer, request, None, None, Sent())
            return await self._begin(viewer, request, answer)
        connection, sent = await self._find(viewer, request, pos)
        follower = await self._parts.followers.get(viewer.user_nid, viewer.user_id)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + min(timeout_ms, MAX_TIMEOUT_MS) / 1000
        while True:
            # What happens while an answer is read must not be waited for afterwards.
            seen = follower.changed, follower.typing_changed
            answer = await self._answer(viewer, request, pos, connection, sent)
            if answer.is_empty and answer.is_settled:
                connection.settled = settlement(request, sent.version, answer.views)
            left = deadline - loop.time()
            if not answer.is_empty or left <= 0:
                break
            if seen == (follower.changed, follower.typing_changed):
                await follower.wait(left)
            follower = await self._parts.followers.get(viewer.user_nid, viewer.user_id)
        if answer.is_empty and answer.is_settled and not answer.changes.are_none(sent):
            # The client goes on from where it is, so nothing has to be kept for it.
            return await self._render(request, answer, pos)
        return await self._finish(request, answer, connection, sent)

    async def _find(
        self, viewer: Viewer, request: SlidingRequest, pos: Pos
    ) -> tuple[Connection, Sent]:
        parts = self._parts
        found = await parts.connections.find(
            pos, viewer.user_nid, viewer.device_nid, request.conn_id
        )
        if not await parts.stream.holds(pos.position):
            raise UnknownPos
        return found

    async def _answer(
        self,
        viewer: Viewer,
        request: SlidingRequest,
        pos: Pos | None,
        connection: Connection | None,
        sent: Sent,
    ) -> Answer:
        parts = self._parts
        upto, typing = await parts.stream.settled(), parts.extensions.typing.serial
        follower = await parts.followers.get(viewer.user_nid, viewer.user_id)
        order = await parts.orders.of(follower)
        views = await parts.lists.views(
            follower, order, request, connection.nid if connection else 0
        )
        situation = Situation(follower, order, Interest(request, views, order), sent, pos)
        settled = settlement(request, sent.version, views)
        is_settled = connection is not None and connection.settled == settled
        plan = await parts.planner.plan(situation, only_changed=is_settled, upto=upto)
        rooms = await self._read_rooms(viewer, situation, plan, views, connection, upto)
        looked_at = self._look_at(situation, plan, is_settled=is_settled)
        tellings = {telling.room_nid: telling for telling in plan.tellings}
        told = await parts.extensions.read(
            request.extensions,
            viewer,
            Round(situation, tellings, looked_at, upto),
            rooms.timelines,
            await parts.ignored.ignored_by(viewer.user_nid),
        )
        changes = self._note(request, situation, plan, rooms, looked_at)
        is_settled = changes.told == sent.told and changes.rooms.keys() <= plan.missed
        return Answer(upto, typing, views, rooms, told, changes, is_settled)

    async def _read_rooms(
        self,
        viewer: Viewer,
        situation: Situation,
        plan: Plan,
        views: Views,
        connection: Connection | None,
        upto: int,
    ) -> RoomsRead:
        pos = situation.pos
        members = connection.members_at(pos) if connection is not None and pos is not None else {}
        if not plan.tellings:
            return RoomsRead({}, {}, {}, {}, set())
        found = await self._parts.names.rooms.get_many(t.room_nid for t in plan.tellings)
        reading = Reading(
            viewer,
            plan.tellings,
            pos.position if pos is not None else None,
            upto,
            await self._parts.ignored.ignored_by(viewer.user_nid),
            views.direct,
            members,
            {nid: room.room_id for nid, room in found.items()},
        )
        return await self._parts.rooms.read(reading)

    def _look_at(self, situation: Situation, plan: Plan, *, is_settled: bool) -> frozenset[int]:
        """The rooms of which extensions may have something to tell."""
        told = (telling.room_nid for telling in plan.tellings)
        if not is_settled:
            return frozenset(situation.interest.rooms().union(told))
        return frozenset(situation.order.changed_since(situation.since).union(told))

    def _note(
        self,
        request: SlidingRequest,
        situation: Situation,
        plan: Plan,
        rooms: RoomsRead,
        looked_at: Iterable[int],
    ) -> Changes:
        """What the client has once it has the answer."""
        sent, interest, wanted = situation.sent, situation.interest, request.extensions
        has_data = Told.ACCOUNT_DATA if wanted.account_data is not None else NONE
        changes = Changes(has_data | (Told.THREADS if wanted.threads is not None else NONE))
        for room_nid in plan.missed:
            former = sent.rooms[room_nid]
            changes.note(sent, room_nid, replace(former, position=former.reached(situation.since)))
        for room_nid in set(looked_at) - plan.missed:
            room = rooms.sent.get(room_nid, sent.rooms.get(room_nid))
            if room is None or interest.config_of(room_nid) is None:
                continue
            told = NONE
            if interest.is_in_scope(wanted.receipts, room_nid):
                told |= Told.RECEIPTS
            if interest.is_in_scope(wanted.account_data, room_nid):
                told |= Told.ACCOUNT_DATA
            changes.note(sent, room_nid, replace(room, position=LIVE, told=told))
        for room_nid, room in rooms.sent.items():
            if room is None or interest.config_of(room_nid) is None:
                changes.note(sent, room_nid, room)
        return changes

    async def _begin(self, viewer: Viewer, request: SlidingRequest, answer: Answer) -> bytes:
        connection = await self._parts.connections.begin(
            viewer.user_nid, viewer.device_nid, request.conn_id
        )
        return await self._finish(request, answer, connection, Sent())

    async def _finish(
        self, request: SlidingRequest, answer: Answer, connection: Connection, sent: Sent
    ) -> bytes:
        version = await self._parts.connections.keep(connection, sent, answer.changes)
        pos = Pos(answer.upto, answer.typing, connection.nid, version)
        connection.note_members(pos, answer.rooms.members_told, answer.rooms.members_forgotten)
        connection.settled = settlement(request, version, answer.views)
        return await self._render(request, answer, pos)

    async def _render(self, request: SlidingRequest, answer: Answer, pos: Pos) -> bytes:
        nids = answer.extensions.room_nids
        found = await self._parts.names.rooms.get_many(nids)
        body: dict[str, Any] = {
            "pos": str(pos),
            "lists": {key: {"count": len(v.rooms)} for key, v in answer.views.lists.items()},
            "rooms": {room_id: room.body() for room_id, room in answer.rooms.bodies.items()},
            "extensions": answer.extensions.body({n: r.room_id for n, r in found.items()}),
        }
        if request.txn_id is not None:
            body["txn_id"] = request.txn_id
        return orjson.dumps(body)


def settlement(request: SlidingRequest, version: int, views: Views) -> object:
    """What has to be as it was for a client to have all that it wants."""
    wanted = request.extensions
    return version, views, wanted.account_data, wanted.receipts
