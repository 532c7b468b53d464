"""Two servers, each over a database of its own, share a room: entering it, talking, gaps.

They speak through the services' own functions instead of HTTP; signatures are real.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from federation.protocol.build_event import complete_event
from federation.protocol.canonical_json import decode
from federation.protocol.errors import Forbidden, IncompatibleRoomVersion, InvalidParam, MatrixError
from federation.protocol.identifiers import EventId, RoomId, ServerName, UserId
from federation.protocol.pdu import Pdu
from federation.protocol.room_versions import RoomVersion, get_room_version
from federation.protocol.signatures import SigningKey, signing_key_from_seed, verify_event
from homeserver.rooms.arrivals import Arrivals, find_known
from homeserver.rooms.backfill import Backfill
from homeserver.rooms.elsewhere import Elsewhere
from homeserver.rooms.entering import Entering, Welcome
from homeserver.rooms.gap_states import GapStates
from homeserver.rooms.held import HeldEvents
from homeserver.rooms.intake import Intake
from homeserver.rooms.outliers import Outliers
from homeserver.rooms.remote_events import Fields
from homeserver.rooms.resident import Resident
from homeserver.rooms.restricted_join import RestrictedJoins
from homeserver.rooms.send import NewEvent
from homeserver.rooms.server_access import ServerAccess
from homeserver.users.invite_permission import InvitePermissions
from storage.events import get_events
from storage.history_gaps import has_gaps
from storage.nids import Nids
from storage.room_state import get_state
from storage.timeline import HIGHEST, LOWEST, Moment, Span, events_near_time
from tests.conftest import fresh_database
from tests.homeserver.rooms.world import ALICE, SERVER, World, build_policies, open_world

FAR = ServerName("far.example")
ZOE = UserId("@zoe:far.example")
KEYS: dict[ServerName, SigningKey] = {
    SERVER: signing_key_from_seed("1", b"1" * 32),
    FAR: signing_key_from_seed("1", b"2" * 32),
}


class RealSignatures:
    """Checks signatures by the two servers' keys."""

    async def check_events(
        self, events: Sequence[Fields], room_version: RoomVersion
    ) -> list[str | None]:
        keys = {name: {key.key_id: key.verify_key} for name, key in KEYS.items()}
        problems: list[str | None] = []
        for fields in events:
            try:
                verify_event(fields, room_version, keys)
            except MatrixError as error:
                problems.append(error.message)
            else:
                problems.append(None)
        return problems


@dataclass
class Peer:
    """A server as the other one asks it; `asked` notes what for."""

    world: World
    room_id: str = ""
    is_reachable: bool = True
    most_missing: int = 50
    most_backfilled: int = 100

    async def _pdus(self, event_ids: Sequence[str]) -> list[Fields]:
        room = await self.world.live.get(self.room_id)
        found = await find_known(self.world.db, room, map(EventId, event_ids))
        return [decode(known.pdu.encoded) for known in found.values()]

    async def missing_events(
        self, origin: str, room_id: str, earliest: Sequence[str], latest: Sequence[str], **_: Any
    ) -> list[Fields]:
        if not self.is_reachable:
            raise Forbidden("no")
        starts = [i for fields in await self._pdus(latest) for i in fields["prev_events"]]
        return await self._walk([i for i in starts if i not in earliest], self.most_missing)

    async def _walk(self, event_ids: Sequence[str], limit: int) -> list[Fields]:
        """Events and what precedes them."""
        found: dict[str, Fields] = {}
        wanted = list(event_ids)
        while wanted and len(found) < limit:
            event_id = wanted.pop(0)
            for fields in await self._pdus([event_id]):
                found[event_id] = fields
                wanted += [i for i in fields["prev_events"] if i not in found]
        return list(found.values())

    async def state_ids(
        self, origin: str, room_id: str, event_id: str
    ) -> tuple[list[str], list[str]]:
        if not self.is_reachable:
            raise Forbidden("no")
        event = await self.world.event(event_id)
        state = await get_state(self.world.db, event.snapshot_nid or 0)
        if event.place_nid is not None:
            state.pop(event.place_nid)
        events = await get_events(self.world.db, state.values())
        ids = [e.event_id for e in events.values()]
        chain = {i for e in events.values() for i in e.fields["auth_events"]}
        return ids, sorted(chain)

    async def state(
        self, origin: str, room_id: str, event_id: str
    ) -> tuple[list[Fields], list[Fields]]:
        state, chain = await self.state_ids(origin, room_id, event_id)
        return await self._pdus(state), await self._pdus(chain)

    async def event(self, origin: str, event_id: str) -> Fields:
        (fields,) = await self._pdus([event_id])
        return fields

    async def event_auth(self, origin: str, room_id: str, event_id: str) -> list[Fields]:
        (fields,) = await self._pdus([event_id])
        return await self._pdus(fields["auth_events"])

    async def backfill(
        self, origin: str, room_id: str, event_ids: Sequence[str], limit: int
    ) -> list[Fields]:
        if not self.is_reachable:
            raise Forbidden("no")
        return await self._walk(event_ids, min(limit, self.most_backfilled))

    async def event_near(
        self, origin: str, room_id: str, ts: int, *, backwards: bool
    ) -> tuple[str, int]:
        room = await self.world.live.get(room_id)
        moment = Moment(ts, HIGHEST if backwards else LOWEST)
        (event,) = await events_near_time(
            self.world.db, room.room_nid, moment, HIGHEST[1], 1, backwards=backwards
        )
        return event.event_id, event.fields["origin_server_ts"]


@dataclass
class Server:
    """One of the two."""

    world: World
    resident: Resident
    entering: Entering
    intake: Intake
    backfill: Backfill
    elsewhere: Elsewhere


def build_server(world: World, name: ServerName, peer: Peer) -> Server:
    """The services over a world."""
    nids = Nids(world.db)
    signatures = RealSignatures()
    arrivals = Arrivals(world.door)
    policies = build_policies(world.db, world.names, world.live)
    outliers = Outliers(world.db, world.names, nids, world.committer)
    restricted = RestrictedJoins(world.db, world.names, world.live, name)
    resident = Resident(
        world.db,
        world.names,
        world.live,
        arrivals,
        policies,
        restricted,
        ServerAccess(world.db, world.names, 100_000),
        signatures,
        lambda: 5_000_000,
        name,
        KEYS[name],
    )
    entering = Entering(
        world.db, world.names, nids, world.live, world.committer, world.append, signatures
    )
    gaps = GapStates(world.db, world.names, outliers, signatures, peer)
    elsewhere = Elsewhere(
        world.db,
        world.names,
        nids,
        world.committer,
        signatures,
        InvitePermissions(world.db, world.names, 10_000),
        name,
        KEYS[name],
    )
    held = HeldEvents(world.db, world.committer, lambda: 5_000_000)
    intake = Intake(
        world.db, world.live, arrivals, policies, gaps, held, elsewhere, signatures, peer
    )
    backfill = Backfill(
        world.db,
        world.names,
        world.live,
        world.committer,
        arrivals,
        signatures,
        peer,
        gaps,
        lambda: 5_000_000,
        name,
    )
    return Server(world, resident, entering, intake, backfill, elsewhere)


@dataclass
class Pair:
    """The hub, which has the room, and the far server with its view of the hub."""

    hub: Server
    far: Server
    hub_peer: Peer


@pytest.fixture
async def pair(cluster: Any) -> AsyncIterator[Pair]:
    async with AsyncExitStack() as stack:
        worlds = []
        for name in (SERVER, FAR):
            databases = fresh_database(cluster, "migrated")
            url = await anext(databases)
            stack.push_async_callback(anext, databases, None)
            seed = KEYS[name].seed
            worlds.append(await stack.enter_async_context(open_world(url, name, seed)))
        hub_peer = Peer(worlds[0])
        hub = build_server(worlds[0], SERVER, Peer(worlds[1]))
        yield Pair(hub, build_server(worlds[1], FAR, hub_peer), hub_peer)


async def join_far(pair: Pair, room_id: str, version_id: str, user_id: UserId = ZOE) -> Pdu:
    """Have a user of the far server join a room of the hub."""
    version = get_room_version(version_id)
    template = await pair.hub.resident.template(FAR, room_id, user_id, "join", [version_id])
    assert template.room_version == version_id
    opaque = "join" if version_id in "12" else None
    join = complete_event(template.event, version, FAR, KEYS[FAR], opaque_id=opaque)
    admission = await pair.hub.resident.admit(
        FAR, room_id, join.event_id, decode(join.encoded), "join"
    )
    welcome = Welcome(
        join, [decode(e) for e in admission.state], [decode(e) for e in admission.auth_chain]
    )
    await pair.far.entering.enter(RoomId(room_id), version, welcome)
    pair.hub_peer.room_id = room_id
    return join


async def current_state(world: World, room_id: str) -> dict[tuple[str, str], str]:
    """The current state by place, as event IDs."""
    rows = await world.db.fetch(
        "SELECT t.type, p.state_key, e.event_id FROM current_state AS s"
        " JOIN rooms AS r USING (room_nid) JOIN state_places AS p USING (place_nid)"
        " JOIN event_types AS t USING (type_nid) JOIN events AS e ON e.event_nid = s.event_nid"
        " WHERE r.room_id = $1",
        room_id,
    )
    return {(kind, key): event_id for kind, key, event_id in rows}


async def fill_gaps(server: Server, room_nid: int) -> None:
    """Fetch all history that can be had."""
    passed: set[int] = set()
    while gap := await server.backfill.find_gap(Span(room_nid), LOWEST, passed):
        await server.backfill.fill(room_nid, gap)
        passed.add(gap.event_nid)


async def fields_of(world: World, event_id: str) -> Fields:
    """An event as it is sent to other servers."""
    fields: Fields = decode((await world.event(event_id)).json)
    return fields


@pytest.mark.parametrize("version_id", ["1", "2", "3", "6", "9", "11"])
async def test_a_server_enters_a_room_and_both_have_its_state(pair: Pair, version_id: str) -> None:
    room_id = await pair.hub.world.create(version=version_id)
    await pair.hub.world.state(room_id, ALICE, "m.room.topic", {"topic": "before"})
    join = await join_far(pair, room_id, version_id)
    here = await current_state(pair.hub.world, room_id)
    assert here["m.room.member", ZOE] == join.event_id
    assert await current_state(pair.far.world, room_id) == here


async def test_messages_go_to_and_fro(pair: Pair) -> None:
    hub, far = pair.hub, pair.far
    room_id = await hub.world.create(version="11")
    await join_far(pair, room_id, "11")
    for n in range(5):
        event_id = await far.world.send(room_id, ZOE, "m.room.message", {"body": f"far {n}"})
        events = [await fields_of(far.world, event_id)]
        assert await hub.intake.receive(FAR, room_id, events) == {event_id: None}
        event_id = await hub.world.send(room_id, ALICE, "m.room.message", {"body": f"hub {n}"})
        events = [await fields_of(hub.world, event_id)]
        assert await far.intake.receive(SERVER, room_id, events) == {event_id: None}
    last = await far.world.event(event_id)
    assert last.position is not None
    assert await current_state(far.world, room_id) == await current_state(hub.world, room_id)


async def test_a_gap_is_closed_by_the_events_between(pair: Pair) -> None:
    hub, far = pair.hub, pair.far
    room_id = await hub.world.create(version="11")
    await join_far(pair, room_id, "11")
    sent = [
        await hub.world.send(room_id, ALICE, "m.room.message", {"body": str(n)}) for n in range(4)
    ]
    last = await fields_of(hub.world, sent[-1])
    assert await far.intake.receive(SERVER, room_id, [last]) == {sent[-1]: None}
    positions = [(await far.world.event(event_id)).position for event_id in sent]
    assert positions == sorted(p for p in positions if p is not None)


async def test_a_gap_that_stays_is_bridged_by_the_state_behind_it(pair: Pair) -> None:
    hub, far = pair.hub, pair.far
    room_id = await hub.world.create(version="11")
    await join_far(pair, room_id, "11")
    pair.hub_peer.most_missing = 1
    await hub.world.state(room_id, ALICE, "m.room.topic", {"topic": "in the gap"})
    for n in range(3):
        last_id = await hub.world.send(room_id, ALICE, "m.room.message", {"body": str(n)})
    last = await fields_of(hub.world, last_id)
    assert await far.intake.receive(SERVER, room_id, [last]) == {last_id: None}
    here = await current_state(hub.world, room_id)
    assert await current_state(far.world, room_id) == here


async def test_what_cannot_be_had_refuses_one_event_and_leaves_the_room_alone(pair: Pair) -> None:
    hub, far = pair.hub, pair.far
    room_id = await hub.world.create(version="11")
    await join_far(pair, room_id, "11")
    pair.hub_peer.is_reachable = False
    await hub.world.send(room_id, ALICE, "m.room.message", {"body": "unseen"})
    orphan_id = EventId(await hub.world.send(room_id, ALICE, "m.room.message", {"body": "orphan"}))
    results = await far.intake.receive(SERVER, room_id, [await fields_of(hub.world, orphan_id)])
    assert "cannot be had" in str(results[orphan_id])
    event_id = await far.world.send(room_id, ZOE, "m.room.message", {"body": "still here"})
    assert (await far.world.event(event_id)).position is not None


async def test_a_forged_event_is_refused_and_a_changed_one_is_redacted(pair: Pair) -> None:
    hub, far = pair.hub, pair.far
    room_id = await hub.world.create(version="11")
    await join_far(pair, room_id, "11")
    event_id = await hub.world.send(room_id, ALICE, "m.room.message", {"body": "true"})
    genuine = dict(await fields_of(hub.world, event_id))
    changed = {**genuine, "content": {"body": "false"}}
    assert await far.intake.receive(SERVER, room_id, [changed]) == {event_id: None}
    assert (await far.world.event(event_id)).content == {}
    forged = {**genuine, "origin_server_ts": 1}
    ((_, problem),) = (await far.intake.receive(SERVER, room_id, [forged])).items()
    assert problem is not None


async def test_an_event_that_the_rules_forbid_is_kept_as_rejected(pair: Pair) -> None:
    hub, far = pair.hub, pair.far
    room_id = await hub.world.create(version="11")
    await join_far(pair, room_id, "11")
    version = get_room_version("11")
    room = await far.world.live.get(room_id)
    template: dict[str, Any] = {
        "room_id": room_id,
        "type": "m.room.topic",
        "state_key": "",
        "sender": ZOE,
        "content": {"topic": "mine"},
        "depth": 50,
        "origin_server_ts": 1,
        "prev_events": list(room.extremities.values()),
        "auth_events": [
            entry.pdu.event_id
            for place in (("m.room.create", ""), ("m.room.power_levels", ""))
            if (entry := room.state.get(place)) is not None
        ],
    }
    state = await current_state(far.world, room_id)
    template["auth_events"].append(state["m.room.member", ZOE])
    evil = complete_event(template, version, FAR, KEYS[FAR])
    results = await hub.intake.receive(FAR, room_id, [decode(evil.encoded)])
    assert results[evil.event_id] is not None
    stored = await hub.world.event(evil.event_id)
    assert stored.position is None
    assert ("m.room.topic", "") not in await current_state(hub.world, room_id)
    event_id = await hub.world.send(room_id, ALICE, "m.room.message", {"body": "on we go"})
    assert evil.event_id not in (await hub.world.event(event_id)).fields["prev_events"]


async def test_servers_may_ask_for_their_own_users_and_known_versions_only(pair: Pair) -> None:
    room_id = await pair.hub.world.create(version="11")
    with pytest.raises(Forbidden):
        await pair.hub.resident.template(FAR, room_id, "@x:other.example", "join", ["11"])
    with pytest.raises(IncompatibleRoomVersion):
        await pair.hub.resident.template(FAR, room_id, ZOE, "join", ["9"])
    closed = await pair.hub.world.create(version="11", join_rule="invite")
    with pytest.raises(Forbidden):
        await pair.hub.resident.template(FAR, closed, ZOE, "join", ["11"])


async def test_only_a_join_of_the_senders_own_user_is_admitted(pair: Pair) -> None:
    room_id = await pair.hub.world.create(version="11")
    template = await pair.hub.resident.template(FAR, room_id, ZOE, "join", ["11"])
    join = complete_event(template.event, get_room_version("11"), FAR, KEYS[FAR])
    fields = decode(join.encoded)
    for wrong in (
        {**fields, "type": "m.room.topic"},
        {**fields, "content": {"membership": "leave"}},
        {**fields, "signatures": {}},
        {**fields, "sender": ALICE, "state_key": ALICE},
    ):
        with pytest.raises(InvalidParam):
            await pair.hub.resident.admit(FAR, room_id, join.event_id, wrong, "join")


async def test_history_before_the_join_is_fetched_with_the_states_it_had(pair: Pair) -> None:
    hub, far = pair.hub, pair.far
    room_id = await hub.world.create(version="11")
    sent = []
    for n in range(12):
        await hub.world.state(room_id, ALICE, "m.room.topic", {"topic": str(n)})
        sent.append(await hub.world.send(room_id, ALICE, "m.room.message", {"body": str(n)}))
    await join_far(pair, room_id, "11")
    room = await far.world.live.get(room_id)
    await fill_gaps(far, room.room_nid)
    here = [await far.world.event(event_id) for event_id in sent]
    positions = [event.position for event in here]
    assert all(position is not None and position < 0 for position in positions)
    assert positions == sorted(p for p in positions if p is not None)
    for event in here:
        original = await hub.world.event(event.event_id)
        states = []
        for world, row in ((far.world, event), (hub.world, original)):
            state = await get_state(world.db, row.snapshot_nid or 0)
            events = await get_events(world.db, state.values())
            states.append({e.event_id for e in events.values()})
        assert states[0] == states[1]
    assert not await has_gaps(far.world.db, room.room_nid)
    assert await current_state(far.world, room_id) == await current_state(hub.world, room_id)


async def test_an_invite_is_signed_kept_and_taken_back(pair: Pair) -> None:
    hub, far = pair.hub, pair.far
    room_id = await hub.world.create(version="11", join_rule="invite")
    zoe_nid = await far.world.names.users.get_nid(ZOE)
    version = get_room_version("11")
    room = await hub.world.live.get(room_id)
    content = {"membership": "invite"}
    pdu, auth_nids = await hub.world.sending.make(
        room, NewEvent(ALICE, "m.room.member", content, ZOE)
    )
    signed = await far.elsewhere.take_invite(
        SERVER, room_id, pdu.event_id, "11", decode(pdu.encoded), []
    )
    assert set(decode(signed.encoded)["signatures"]) == {SERVER, FAR}
    keys = {name: {key.key_id: key.verify_key} for name, key in KEYS.items()}
    verify_event(decode(signed.encoded), version, keys)
    membership = "SELECT membership FROM memberships WHERE user_nid = $1"
    assert await far.world.db.fetchval(membership, zoe_nid) == 2
    writes = await hub.world.append.stage(room, signed, auth_nids)
    await hub.world.append.submit(room, writes)
    kick_id = await hub.world.member(room_id, ZOE, "leave", by=ALICE)
    kick = await fields_of(hub.world, kick_id)
    assert await far.intake.receive(SERVER, room_id, [kick]) == {kick_id: None}
    assert await far.world.db.fetchval(membership, zoe_nid) == 4


async def test_an_invite_in_another_servers_name_is_refused(pair: Pair) -> None:
    hub, far = pair.hub, pair.far
    room_id = await hub.world.create(version="11", join_rule="invite")
    await far.world.names.users.get_nid(ZOE)
    room = await hub.world.live.get(room_id)
    invite = NewEvent(ALICE, "m.room.member", {"membership": "invite"}, ZOE)
    pdu, _ = await hub.world.sending.make(room, invite)
    fields = decode(pdu.encoded)
    with pytest.raises(InvalidParam):
        await far.elsewhere.take_invite(FAR, room_id, pdu.event_id, "11", fields, [])
    unsigned = {**fields, "signatures": {}}
    with pytest.raises(InvalidParam):
        await far.elsewhere.take_invite(SERVER, room_id, pdu.event_id, "11", unsigned, [])
