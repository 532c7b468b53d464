import orjson
import pytest

from federation.protocol.errors import Forbidden
from homeserver.rooms.history import History
from homeserver.rooms.history_token import Gap, parse_point
from homeserver.rooms.members import Members
from storage.changes import Membership
from storage.feed import current_position
from tests.homeserver.rooms.world import ALICE, BOB, CAROL, World, open_world


def members_of(world: World) -> Members:
    history = History(world.db, world.names, world.clients, world.ignored)
    return Members(world.db, world.names, world.clients, history)


def told(events: list[bytes]) -> dict[str, str]:
    parsed = map(orjson.loads, events)
    return {event["state_key"]: event["content"]["membership"] for event in parsed}


async def test_members_are_chosen_by_membership(database_url: str) -> None:
    async with open_world(database_url) as world:
        room = await world.create(members=[BOB])
        await world.member(room, BOB, "leave")
        await world.member(room, CAROL, "invite", by=ALICE)
        members, alice = members_of(world), await world.viewer(ALICE)
        everybody = {ALICE: "join", BOB: "leave", CAROL: "invite"}
        assert told(await members.members(alice, room)) == everybody
        joined = await members.members(alice, room, membership=Membership.JOIN)
        assert told(joined) == {ALICE: "join"}
        staying = await members.members(alice, room, not_membership=Membership.LEAVE)
        assert told(staying) == {ALICE: "join", CAROL: "invite"}
        either = await members.members(
            alice, room, membership=Membership.LEAVE, not_membership=Membership.LEAVE
        )
        assert told(either) == everybody


async def test_members_are_told_as_they_were_at_a_point(database_url: str) -> None:
    async with open_world(database_url) as world:
        room = await world.create()
        token = f"s{await current_position(world.db)}_0"
        hello = await world.event(await world.say(room, ALICE, "hello"))
        await world.member(room, BOB, "join")
        members, alice = members_of(world), await world.viewer(ALICE)
        beginning = Gap(0, 0)
        for point in (parse_point(token), Gap(hello.depth, hello.position or 0), beginning):
            assert told(await members.members(alice, room, at=point)) == {ALICE: "join"}


async def test_who_left_sees_the_members_as_they_were_then(database_url: str) -> None:
    async with open_world(database_url) as world:
        room = await world.create(members=[BOB])
        await world.member(room, BOB, "leave")
        await world.member(room, CAROL, "join")
        members, bob = members_of(world), await world.viewer(BOB)
        expected = {ALICE: "join", BOB: "leave"}
        assert told(await members.members(bob, room)) == expected
        now = parse_point(f"s{await current_position(world.db)}")
        assert told(await members.members(bob, room, at=now)) == expected


async def test_joined_members_are_told_to_members_only(database_url: str) -> None:
    async with open_world(database_url) as world:
        room = await world.create()
        await world.member(room, BOB, "join", displayname="Bob", avatar_url="mxc://hub.example/b")
        await world.member(room, CAROL, "join", displayname=None)
        members = members_of(world)
        nameless = {"display_name": None, "avatar_url": None}
        assert await members.joined(await world.viewer(ALICE), room) == {
            ALICE: nameless,
            BOB: {"display_name": "Bob", "avatar_url": "mxc://hub.example/b"},
            CAROL: nameless,
        }
        await world.member(room, CAROL, "leave")
        with pytest.raises(Forbidden):
            await members.joined(await world.viewer(CAROL), room)
