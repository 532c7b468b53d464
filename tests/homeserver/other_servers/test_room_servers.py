"""Which servers are in a room: always those that its state says."""

import random

import pytest

from federation.protocol.errors import Forbidden
from federation.protocol.identifiers import ServerName, UserId, server_of
from storage.changes import StoredEvent
from storage.events import get_events
from storage.room_state import get_state
from tests.homeserver.other_servers.sending_world import FAR, ODD, OTTO, ZOE, SendingWorld
from tests.homeserver.rooms.world import ALICE, BOB, SERVER

PEOPLE = [BOB, ZOE, OTTO, UserId("@yan:far.example"), UserId("@rob:third.example")]


async def room_nid_of(us: SendingWorld, room_id: str) -> int:
    room = await us.world.names.rooms.find(room_id)
    assert room is not None
    return room.room_nid


async def servers_by_state(us: SendingWorld, event: StoredEvent) -> set[ServerName]:
    """The other servers whose users are joined in the state after an event."""
    assert event.snapshot_nid is not None
    state = await get_state(us.world.db, event.snapshot_nid)
    events = (await get_events(us.world.db, state.values())).values()
    return {
        server_of(str(one.state_key))
        for one in events
        if one.type == "m.room.member" and one.content["membership"] == "join"
    } - {SERVER}


@pytest.mark.parametrize("seed", range(6))
async def test_servers_at_any_event_are_those_of_its_state(us: SendingWorld, seed: int) -> None:
    choose = random.Random(seed)
    room_id = await us.room()
    told: list[str] = []
    for _ in range(40):
        user_id = choose.choice(PEOPLE)
        membership = choose.choice(["join", "join", "leave", "kick", "ban", "unban", "talk"])
        by = ALICE if membership in ("kick", "ban", "unban") else user_id
        word = {"kick": "leave", "unban": "leave"}.get(membership, membership)
        try:
            if membership == "talk":
                told.append(await us.world.say(room_id, ALICE, "hello"))
            else:
                told.append(await us.world.member(room_id, user_id, word, by=by))
        except Forbidden:
            continue
        if choose.random() < 0.3:
            await us.servers.now([await room_nid_of(us, room_id)])
    events = [await us.world.event(event_id) for event_id in told]
    for chosen in (events, choose.sample(events, 5), events[-1:]):
        found = await us.servers.destinations(chosen)
        for event, names in zip(chosen, found, strict=True):
            expected = await servers_by_state(us, event)
            if event.content.get("membership") in ("leave", "ban"):
                expected.add(server_of(str(event.state_key)))
            assert names == expected - {SERVER, server_of(event.sender)}


async def test_a_room_of_ours_alone_costs_no_reading_until_a_stranger_comes(
    us: SendingWorld,
) -> None:
    room_id = await us.room(BOB)
    room_nid = await room_nid_of(us, room_id)
    assert await us.servers.now([room_nid]) == {room_nid: frozenset()}
    await us.world.member(room_id, ZOE, "invite", by=ALICE)
    assert await us.servers.now([room_nid]) == {room_nid: frozenset()}
    await us.world.member(room_id, ZOE, "join")
    assert await us.servers.now([room_nid]) == {room_nid: frozenset({FAR})}
    await us.world.member(room_id, OTTO, "join")
    assert await us.servers.now([room_nid]) == {room_nid: frozenset({FAR, ODD})}
    await us.world.member(room_id, ZOE, "leave")
    assert await us.servers.now([room_nid]) == {room_nid: frozenset({ODD})}


async def test_rooms_that_are_not_here_have_no_servers(us: SendingWorld) -> None:
    assert await us.servers.now([999_999]) == {}
    assert await us.servers.destinations([]) == []


async def test_a_server_with_a_port_is_not_the_one_without(us: SendingWorld) -> None:
    room_id = await us.room(UserId("@a:odd.example"), OTTO)
    room_nid = await room_nid_of(us, room_id)
    names = (await us.servers.now([room_nid]))[room_nid]
    assert names == {ServerName("odd.example"), ODD}
