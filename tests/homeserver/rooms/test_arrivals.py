"""Events of another server arrive in random forks; the store agrees with a naive model.

The model keeps a whole state for each event and resolves in memory. After each arrival the event's
stored state, the room's current state, its members and its forward extremities must be the model's.
"""

import asyncio
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from federation.protocol.auth_events import auth_event_places
from federation.protocol.auth_rules.general import check_auth
from federation.protocol.auth_rules.state import AuthState
from federation.protocol.build_event import build_event
from federation.protocol.canonical_json import decode
from federation.protocol.errors import AuthRuleFailed
from federation.protocol.event_format import parse_stored_pdu
from federation.protocol.event_id import reference_hashes
from federation.protocol.identifiers import EventId, RoomId, ServerName, UserId
from federation.protocol.pdu import Pdu, StateKey
from federation.protocol.room_versions import EventFormat, StateResolution, get_room_version
from federation.protocol.signatures import signing_key_from_seed
from federation.protocol.state_resolution.conflicted import (
    find_auth_difference,
    find_conflicted_subgraph,
    split_conflicted,
)
from federation.protocol.state_resolution.resolve import resolve, resolve_among
from homeserver.rooms.arrivals import Arrivals
from homeserver.rooms.live import LiveRoom
from homeserver.rooms.send import NewEvent
from storage.changes import Standing
from storage.committer import Write
from storage.room_state import get_state
from tests.homeserver.rooms.world import ALICE, World, open_world

REMOTE = ServerName("far.example")
KEY = signing_key_from_seed("2", b"2" * 32)
USERS = [UserId(f"@user{n}:far.example") for n in range(4)]

State = dict[StateKey, EventId]


@dataclass
class Model:
    """A room in memory, every state whole."""

    version_id: str
    room_id: RoomId
    events: dict[EventId, Pdu] = field(default_factory=dict)
    after: dict[EventId, State] = field(default_factory=dict)
    rejected: set[EventId] = field(default_factory=set)
    extremities: set[EventId] = field(default_factory=set)
    current: State = field(default_factory=dict)
    clock: int = 10_000_000

    def resolve(self, states: Sequence[State]) -> State:
        """One state of several."""
        version = get_room_version(self.version_id)
        is_v1 = version.state_resolution is StateResolution.V1
        split = split_conflicted(states, absence_conflicts=not is_v1)
        if not split.conflicted:
            return dict(split.unconflicted)
        edges = {event_id: pdu.auth_events for event_id, pdu in self.events.items()}
        auth_difference = find_auth_difference([s.values() for s in states], edges)
        subgraph = find_conflicted_subgraph(split.conflicted_events, edges)
        resolution = resolve(version, states, auth_difference, subgraph)
        return resolve_among(self.events, resolution, self.rejected)

    def allows(self, pdu: Pdu, state: Mapping[StateKey, EventId]) -> bool:
        """Whether a state allows an event."""
        create = next(e for e in self.events.values() if e.type == "m.room.create")
        try:
            events = {place: self.events[event_id] for place, event_id in state.items()}
            check_auth(pdu, AuthState(events, create=create))
        except AuthRuleFailed:
            return False
        return True

    def build(
        self, prev: Iterable[EventId], sender: str, event_type: str, content: Any, state_key: Any
    ) -> Pdu:
        """An event of the other server after some others."""
        prev = sorted(prev)
        version = get_room_version(self.version_id)
        before = self.resolve([self.after[i] for i in prev])
        places = auth_event_places(event_type, state_key, sender, content, version)
        auth_events = [before[place] for place in places if place in before]
        pairs = version.event_format is EventFormat.V1
        self.clock += 1
        hashes = {
            i: reference_hashes(decode(self.events[i].encoded), version)
            for i in (*prev, *auth_events)
        }
        return build_event(
            room_version=version,
            room_id=self.room_id,
            sender=UserId(sender),
            event_type=event_type,
            content=content,
            depth=max(self.events[i].depth for i in prev) + 1,
            origin_server_ts=self.clock,
            prev_events=prev,
            auth_events=auth_events,
            server_name=REMOTE,
            key=KEY,
            state_key=state_key,
            opaque_id=f"e{self.clock}" if pairs else None,
            hashes_of=hashes if pairs else None,
        )

    def add(self, pdu: Pdu) -> Standing:
        """Let an event in; where it stands."""
        before = self.resolve([self.after[i] for i in pdu.prev_events])
        cited = {self.events[i].state_place: i for i in pdu.auth_events}
        self.events[pdu.event_id] = pdu
        self.after[pdu.event_id] = before
        if (
            any(i in self.rejected for i in pdu.auth_events)
            or not self.allows(pdu, cited)
            or not self.allows(pdu, before)
        ):
            self.rejected.add(pdu.event_id)
            return Standing.REJECTED
        if pdu.is_state:
            self.after[pdu.event_id] = {**before, pdu.state_place: pdu.event_id}
        if not self.allows(pdu, self.current):
            return Standing.SOFT_FAILED
        self.extremities = (self.extremities - set(pdu.prev_events)) | {pdu.event_id}
        self.current = self.resolve([self.after[i] for i in sorted(self.extremities)])
        return Standing.ACCEPTED


async def model_of(world: World, room_id: str, version_id: str) -> Model:
    """The model of a room of ours, whose events follow each other."""
    model = Model(version_id, RoomId(room_id))
    version = get_room_version(version_id)
    rows = await world.db.fetch(
        "SELECT event_id, json FROM events JOIN rooms USING (room_nid) WHERE room_id = $1"
        " ORDER BY stream_position",
        room_id,
    )
    for event_id, encoded in rows:
        pdu = parse_stored_pdu(encoded, version, EventId(event_id), RoomId(room_id))
        model.events[pdu.event_id] = pdu
        model.current = {
            **model.current,
            **({pdu.state_place: pdu.event_id} if pdu.is_state else {}),
        }
        model.after[pdu.event_id] = model.current
        model.extremities = {pdu.event_id}
    return model


async def check(world: World, model: Model, event_id: EventId) -> None:
    """The store has what the model has."""
    event = await world.event(event_id)
    named = dict(await world.db.fetch("SELECT event_nid, event_id FROM events"))
    assert event.snapshot_nid is not None
    state = await get_state(world.db, event.snapshot_nid)
    places = await world.names.places.get_places(state)
    assert {places[p]: named[e] for p, e in state.items()} == model.after[event_id]
    rows = await world.db.fetch(
        "SELECT place_nid, event_nid FROM current_state WHERE room_nid = $1", event.room_nid
    )
    places = await world.names.places.get_places(row[0] for row in rows)
    assert {places[p]: named[e] for p, e in rows} == model.current
    head = await world.db.fetchrow(
        "SELECT forward_extremities, snapshot_nid FROM room_heads WHERE room_nid = $1",
        event.room_nid,
    )
    assert {named[nid] for nid in head[0]} == model.extremities
    state = await get_state(world.db, head[1])
    assert {places[p]: named[e] for p, e in state.items()} == model.current
    members = dict(
        await world.db.fetch(
            "SELECT user_id, membership FROM memberships JOIN users USING (user_nid)"
            " WHERE room_nid = $1",
            event.room_nid,
        )
    )
    numbers = {"join": 1, "invite": 2, "knock": 3, "leave": 4, "ban": 5}
    for (event_type, user_id), member_id in model.current.items():
        if event_type == "m.room.member":
            word = model.events[member_id].content["membership"]
            assert members[user_id] == numbers[word]


def random_event(
    rng: random.Random, creators: Mapping[UserId, int]
) -> tuple[str, str, Any, str | None]:
    """Sender, type, content and state key of something that may be allowed or not."""
    sender, target = rng.choice(USERS), rng.choice(USERS)
    match rng.randrange(8):
        case 0 | 1:
            return sender, "m.room.message", {"body": str(rng.random())}, None
        case 2:
            return sender, "m.room.topic", {"topic": str(rng.random())}, ""
        case 3:
            levels = {"users": {**creators, sender: 50, target: rng.choice([0, 50])}}
            return sender, "m.room.power_levels", {**levels, "state_default": 0}, ""
        case 4:
            return sender, "m.room.member", {"membership": rng.choice(["leave", "ban"])}, target
        case 5 | 6:
            return sender, "m.room.member", {"membership": "join"}, sender
        case _:
            return sender, "org.example.free", {"n": rng.randrange(10**9)}, rng.choice(["a", "b"])


@pytest.mark.parametrize("version_id", ["1", "2", "6", "11", "12"])
@pytest.mark.parametrize("most_at_once", [1, 6])
@pytest.mark.parametrize("seed", range(2))
async def test_random_forks_leave_the_states_that_the_model_has(
    database_url: str, version_id: str, most_at_once: int, seed: int
) -> None:
    rng = random.Random(f"{version_id} {seed}")
    async with open_world(database_url) as world:
        room_id = await world.create(version=version_id)
        creators = {} if version_id == "12" else {ALICE: 100}
        levels = {"users": creators | dict.fromkeys(USERS, 50), "state_default": 0}
        await world.state(room_id, ALICE, "m.room.power_levels", levels)
        arrivals = Arrivals(world.door)
        model = await model_of(world, room_id, version_id)
        standings = set()
        for _ in range(45 // most_at_once):
            batch: dict[EventId, tuple[Pdu, Standing]] = {}
            for _ in range(rng.randint(1, most_at_once)):
                recent = sorted(i for i in model.events if i not in model.rejected)[-1:]
                tips = sorted(model.extremities) + recent
                older = [i for i in list(model.events)[-6:] if i not in model.rejected]
                choices = tips if rng.random() < 0.5 else older or tips
                prev = set(rng.sample(choices, min(len(choices), rng.choice([1, 1, 2]))))
                pdu = model.build(prev, *random_event(rng, creators))
                batch[pdu.event_id] = pdu, model.add(pdu)
            verdicts = await arrivals.enter(room_id, [pdu for pdu, _ in batch.values()])
            for event_id, (_, expected) in batch.items():
                assert verdicts[event_id].standing == expected, verdicts
                standings.add(expected)
                await check(world, model, event_id)
        assert Standing.ACCEPTED in standings
        assert Standing.REJECTED in standings


async def test_what_vouches_for_undisputed_state_is_not_in_dispute(database_url: str) -> None:
    """The auth difference leaves out what stands in the auth chains of all states."""
    async with open_world(database_url) as world:
        room_id = await world.create(version="11")
        levels = {"users": {ALICE: 100} | dict.fromkeys(USERS, 50)}
        await world.state(room_id, ALICE, "m.room.power_levels", levels)
        arrivals = Arrivals(world.door)
        model = await model_of(world, room_id, "11")

        async def take(prev: Iterable[EventId], *event: Any) -> EventId:
            pdu = model.build(prev, *event)
            expected = model.add(pdu)
            verdicts = await arrivals.enter(room_id, [pdu])
            assert verdicts[pdu.event_id].standing == expected == Standing.ACCEPTED
            await check(world, model, pdu.event_id)
            return pdu.event_id

        here, there = USERS[:2]
        for n, user in enumerate([here, there]):
            await take(model.extremities, user, "m.room.member", {"membership": "join"}, user)
            await take(model.extremities, user, "org.example.kept", {"n": n}, str(n))
        # The undisputed state rests on memberships that newer ones have replaced since.
        for user in (here, there):
            content = {"membership": "join", "displayname": "New"}
            await take(model.extremities, user, "m.room.member", content, user)
        start = set(model.extremities)
        for number, user in enumerate([here, there]):
            tip = await take(start, user, "m.room.topic", {"topic": "a"}, "")
            content = {"membership": "join", "displayname": f"Newest {number}"}
            tip = await take({tip}, user, "m.room.member", content, user)
            await take({tip}, user, "m.room.topic", {"topic": f"of {user}"}, "")
        assert len(model.extremities) == 2
        await take(model.extremities, here, "m.room.message", {"body": "together"}, None)


async def test_a_redaction_finds_an_event_of_its_own_batch(database_url: str) -> None:
    async with open_world(database_url) as world:
        room_id = await world.create(version="11")
        arrivals = Arrivals(world.door)
        model = await model_of(world, room_id, "11")
        batch = []
        for event in (
            ("m.room.member", {"membership": "join"}, USERS[0]),
            ("m.room.message", {"body": "not meant"}, None),
        ):
            batch.append(model.build(model.extremities, USERS[0], *event))
            model.add(batch[-1])
        content = {"redacts": batch[-1].event_id}
        built = model.build(model.extremities, USERS[0], "m.room.redaction", content, None)
        version = get_room_version("11")
        batch.append(parse_stored_pdu(built.encoded, version, built.event_id, built.room_id))
        await arrivals.enter(room_id, batch)
        redacted = await world.event(batch[1].event_id)
        assert redacted.content == {}
        assert redacted.redacted_by is not None


async def test_a_fork_is_taken_while_our_own_state_event_is_on_its_way(database_url: str) -> None:
    """What is staged counts at once, in the database or not."""
    async with open_world(database_url) as world:
        room_id = await world.create(version="11")
        arrivals = Arrivals(world.door)
        model = await model_of(world, room_id, "11")
        joined = model.build(
            model.extremities, USERS[0], "m.room.member", {"membership": "join"}, USERS[0]
        )
        model.add(joined)
        await arrivals.enter(room_id, [joined])
        said = model.build({joined.event_id}, USERS[0], "m.room.message", {"body": "far"}, None)
        topic = NewEvent(ALICE, "m.room.topic", {"topic": "ours"}, "", origin_server_ts=1)

        async def attempt(room: LiveRoom) -> tuple[asyncio.Task[Any], Sequence[Write]]:
            pdu, auth_nids = await world.sending.make(room, topic)
            writes = await world.append.stage(room, pdu, auth_nids)
            return asyncio.create_task(arrivals.enter(room_id, [said])), writes

        arriving = await world.sending.in_room(room_id, attempt)
        verdicts = await arriving
        assert verdicts[said.event_id].standing == Standing.ACCEPTED
        room = await world.live.get(room_id)
        assert len(room.extremities) == 2
        rows = await world.db.fetch(
            "SELECT json FROM current_state JOIN events USING (event_nid)"
            " JOIN event_types USING (type_nid) WHERE type = 'm.room.topic'"
        )
        assert [decode(row[0])["content"]["topic"] for row in rows] == ["ours"]


async def test_a_batch_in_line_shares_a_commit_and_our_own_events_follow(database_url: str) -> None:
    async with open_world(database_url) as world:
        room_id = await world.create(version="11")
        arrivals = Arrivals(world.door)
        model = await model_of(world, room_id, "11")
        pdus = []
        for n in range(30):
            content = {"membership": "join"} if n == 0 else {"body": str(n)}
            kind = (
                ("m.room.member", content, USERS[0])
                if n == 0
                else ("m.room.message", content, None)
            )
            pdu = model.build(model.extremities, USERS[0], *kind)
            model.add(pdu)
            pdus.append(pdu)
        verdicts = await arrivals.enter(room_id, pdus)
        assert {v.standing for v in verdicts.values()} == {Standing.ACCEPTED}
        assert await arrivals.enter(room_id, pdus) == {}
        event_id = await world.send(room_id, ALICE, "m.room.message", {"body": "ours"})
        event = await world.event(event_id)
        assert event.fields["prev_events"] == [pdus[-1].event_id]
