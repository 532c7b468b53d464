"""Rooms of one server in a test's database, made through the door that all events take."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from federation.protocol.build_event import build_event
from federation.protocol.errors import NotFound
from federation.protocol.identifiers import EventId, RoomId, ServerName, UserId, server_of
from federation.protocol.room_versions import EventFormat, get_room_version
from federation.protocol.signatures import SigningKey, signing_key_from_seed
from homeserver.clock import system_clock
from homeserver.rooms.append import Append
from homeserver.rooms.arrivals import Arrivals
from homeserver.rooms.client_events import ClientEvents
from homeserver.rooms.ignored_users import IgnoredUsers
from homeserver.rooms.live import LiveRoom, LiveRooms
from homeserver.rooms.policy_servers import PolicyServers
from homeserver.rooms.relations import Bundles
from homeserver.rooms.send import NewEvent, Send
from homeserver.rooms.server_access import ServerAccess
from homeserver.rooms.taking import Door
from homeserver.rooms.viewer import Viewer
from storage.account_data import SetAccountData
from storage.add_events import Transaction
from storage.auth_edges import AuthEdges
from storage.changes import Change, StoredEvent
from storage.committer import Committer, Write
from storage.database import Database, Pool, open_pool
from storage.events import find_event
from storage.names import Names, RoomName
from storage.nids import Nids
from storage.rooms import AddRoom, take_room_nid
from storage.state_layers import StateLayers

SERVER = ServerName("hub.example")
ALICE = UserId("@alice:hub.example")
BOB = UserId("@bob:hub.example")
CAROL = UserId("@carol:hub.example")


@dataclass(slots=True)
class World:
    """The services that rooms are made with, and those that make events ready for clients."""

    db: Pool
    names: Names
    committer: Committer
    live: LiveRooms
    layers: StateLayers
    append: Append
    sending: Send
    ignored: IgnoredUsers
    clients: ClientEvents
    key: SigningKey
    now: int = 1_000_000

    @property
    def door(self) -> Door:
        """What letting events of other servers in takes."""
        nids, edges = Nids(self.db), AuthEdges(self.db, 1_000_000)
        return Door(self.db, self.names, nids, self.live, self.layers, edges, self.append)

    async def create(
        self,
        creator: UserId = ALICE,
        *,
        visibility: str | None = None,
        members: Sequence[UserId] = (),
        room_type: str | None = None,
        version: str = "11",
        join_rule: str = "public",
        predecessor: str | None = None,
    ) -> str:
        """A room that everybody of `members` has joined; its ID."""
        room_nid = await take_room_nid(self.db)
        room_id = f"!room{room_nid}:{SERVER}"
        features = get_room_version(version)
        content: dict[str, Any] = {"room_version": version} | (
            {"type": room_type} if room_type else {}
        )
        if features.creator_in_content:
            content["creator"] = creator
        if predecessor is not None:
            content["predecessor"] = {"room_id": predecessor}
        pdu = build_event(
            room_version=features,
            room_id=None if features.create_event_is_room_id else RoomId(room_id),
            sender=creator,
            event_type="m.room.create",
            content=content,
            depth=1,
            origin_server_ts=self.tick(),
            prev_events=[],
            auth_events=[],
            server_name=ServerName(server_of(creator)),
            key=self.key,
            state_key="",
            opaque_id=f"create{room_nid}" if features.event_format is EventFormat.V1 else None,
        )
        room_id = pdu.room_id
        added = AddRoom(
            room_nid, room_id, version, await self.names.users.get_nid(creator), 0, published=False
        )
        self.live.add(RoomName(room_nid, room_id, version))

        async def attempt(room: LiveRoom) -> tuple[EventId, Sequence[Write]]:
            return pdu.event_id, [added, *await self.append.stage(room, pdu, ())]

        await self.sending.in_room(room_id, attempt)
        await self.member(room_id, creator, "join")
        # From version 12 on creators stand above all levels and must not be among the users.
        users = {} if features.privileged_creators else {creator: 100}
        levels = {"users": users, "events": {"org.example.free": 0}}
        await self.state(room_id, creator, "m.room.power_levels", levels)
        await self.state(room_id, creator, "m.room.join_rules", {"join_rule": "public"})
        if visibility is not None:
            await self.set_visibility(room_id, visibility, creator)
        for member in members:
            await self.member(room_id, member, "join")
        if join_rule != "public":
            await self.state(room_id, creator, "m.room.join_rules", {"join_rule": join_rule})
        return room_id

    async def send(
        self,
        room_id: str,
        sender: UserId,
        event_type: str,
        content: Mapping[str, Any],
        *,
        state_key: str | None = None,
        redacts: str | None = None,
        transaction: Transaction | None = None,
        ts: int | None = None,
    ) -> str:
        """Send an event; its ID."""
        new = NewEvent(
            sender,
            event_type,
            content,
            state_key,
            EventId(redacts) if redacts else None,
            ts or self.tick(),
        )
        return await self.sending.send(room_id, new, cause=transaction)

    async def say(
        self, room_id: str, sender: UserId, body: str, *, ts: int | None = None, **content: Any
    ) -> str:
        """Send a text message; its ID."""
        return await self.send(
            room_id, sender, "m.room.message", {"msgtype": "m.text", "body": body, **content}, ts=ts
        )

    async def relate(
        self, room_id: str, sender: UserId, rel_type: str, parent: str, body: str = "child"
    ) -> str:
        """Send a text message that relates to another event; its ID."""
        relation = {"rel_type": rel_type, "event_id": parent}
        content = {"msgtype": "m.text", "body": body, "m.relates_to": relation}
        return await self.send(room_id, sender, "m.room.message", content)

    async def state(
        self,
        room_id: str,
        sender: UserId,
        event_type: str,
        content: Mapping[str, Any],
        state_key: str = "",
    ) -> str:
        """Send a state event; its ID."""
        return await self.send(room_id, sender, event_type, content, state_key=state_key)

    async def member(
        self,
        room_id: str,
        user_id: UserId,
        membership: str,
        *,
        by: UserId | None = None,
        **content: Any,
    ) -> str:
        """Send a membership, of oneself unless `by` says otherwise; its ID."""
        return await self.state(
            room_id,
            by or user_id,
            "m.room.member",
            {"membership": membership, **content},
            user_id,
        )

    async def redact(self, room_id: str, sender: UserId, target: str) -> str:
        """Redact an event, in room version 11 or later; the redaction's ID."""
        return await self.send(
            room_id, sender, "m.room.redaction", {"redacts": target}, redacts=target
        )

    async def set_visibility(self, room_id: str, visibility: str, by: UserId = ALICE) -> str:
        """Set the history visibility."""
        content = {"history_visibility": visibility}
        return await self.state(room_id, by, "m.room.history_visibility", content)

    async def ignore(self, user_id: UserId, *ignored: UserId) -> None:
        """Let a user ignore others."""
        names = ",".join(f'"{name}":{{}}' for name in ignored)
        content = f'{{"ignored_users":{{{names}}}}}'.encode()
        nid = await self.names.users.get_nid(user_id)
        await self.committer.commit(SetAccountData(nid, 0, "m.ignored_user_list", content))

    async def viewer(self, user_id: UserId, device_nid: int = 0) -> Viewer:
        """Somebody who looks at rooms."""
        return Viewer(user_id, await self.names.users.get_nid(user_id), device_nid)

    async def event(self, event_id: str) -> StoredEvent:
        """An event as it is stored."""
        event = await find_event(self.db, event_id)
        assert event is not None
        return event

    def tick(self) -> int:
        """A time that is a second later than the last."""
        self.now += 1000
        return self.now


@asynccontextmanager
async def open_world(
    database_url: str, server: ServerName = SERVER, seed: bytes = b"1" * 32
) -> AsyncIterator[World]:
    """A server without its HTTP side; closed when the block is left."""
    db = await open_pool(database_url, 3)
    names = Names(db, 1_000_000)
    ignored = IgnoredUsers(db, names, 100_000)

    async def publish(before: int, after: int, changes: Sequence[Change]) -> None:
        ignored.heard(changes)

    committer = Committer(database_url, publish, {})
    running = asyncio.create_task(committer.run())
    layers = StateLayers(db, 1_000_000)
    live = LiveRooms(db, names, layers, 1_000_000)
    nids, edges = Nids(db), AuthEdges(db, 1_000_000)
    append = Append(db, names, nids, live, layers, committer, system_clock, server)
    key = signing_key_from_seed("1", seed)
    sending = build_send(Door(db, names, nids, live, layers, edges, append), server, key)
    clients = ClientEvents(db, names, Bundles(db, names, ignored), system_clock)
    try:
        yield World(db, names, committer, live, layers, append, sending, ignored, clients, key)
    finally:
        committer.close()
        await running
        await db.close()


class NoPolicyServers:
    """Nobody who signs."""

    async def sign(self, server: ServerName, event: bytes) -> Mapping[str, Any]:
        raise NotFound(f"{server} is no policy server")


def build_send(door: Door, server: ServerName, key: SigningKey) -> Send:
    """Sending, in rooms without policy servers."""
    policies = build_policies(door.db, door.names, door.live)
    arrivals = Arrivals(door)
    return Send(door.db, door.live, door.append, lambda: 0, server, key, arrivals, policies)


def build_policies(db: Database, names: Names, live: LiveRooms) -> PolicyServers:
    """Policy servers of rooms, none of which can be reached."""
    return PolicyServers(live, ServerAccess(db, names, 100_000), NoPolicyServers())
