from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from federation.protocol.errors import Forbidden, InvalidParam, NotFound
from homeserver.rooms.spaces import HierarchyPage, HierarchyRequest, Spaces, order_children
from homeserver.rooms.summary import Summaries
from tests.homeserver.rooms.world import ALICE, BOB, CAROL, World, open_world


async def link(world: World, space: str, child: str, **content: Any) -> None:
    await world.state(space, ALICE, "m.space.child", {"via": ["hub.example"], **content}, child)


async def space(world: World, **options: Any) -> str:
    return await world.create(room_type="m.space", **options)


def ids(page: HierarchyPage) -> list[str]:
    return [room["room_id"] for room in page.rooms]


def links(page: HierarchyPage) -> dict[str, list[str]]:
    return {
        room["room_id"]: [event["state_key"] for event in room["children_state"]]
        for room in page.rooms
    }


async def test_a_tree_is_walked_depth_first_without_loops(database_url: str) -> None:
    async with open_world(database_url) as world:
        root, inner, deep = [await space(world) for _ in range(3)]
        first, last, leaf = [await world.create() for _ in range(3)]
        await link(world, root, first, suggested=True)
        await link(world, root, inner)
        await link(world, root, last, suggested=True)
        await link(world, inner, deep)
        await link(world, deep, leaf)
        await link(world, deep, root)
        await link(world, first, leaf)
        spaces, alice = Spaces(world.db, world.names), await world.viewer(ALICE)
        page = await spaces.page(alice, HierarchyRequest(root))
        assert ids(page) == [root, first, inner, deep, leaf, last]
        assert links(page)[root] == [first, inner, last]
        assert links(page)[deep] == [leaf, root]
        assert links(page)[first] == []
        assert page.rooms[0]["room_type"] == "m.space"
        shallow = await spaces.page(alice, HierarchyRequest(root, max_depth=1))
        assert ids(shallow) == [root, first, inner, last]
        assert links(shallow)[inner] == [deep]
        suggested = await spaces.page(alice, HierarchyRequest(root, suggested_only=True))
        assert (ids(suggested), links(suggested)[root]) == ([root, first, last], [first, last])
        await world.state(root, ALICE, "m.space.child", {}, inner)
        assert ids(await spaces.page(alice, HierarchyRequest(root))) == [root, first, last]


async def test_pages_of_a_walk_follow_each_other(database_url: str) -> None:
    async with open_world(database_url) as world:
        root = await space(world)
        rooms = [await world.create() for _ in range(3)]
        for room in rooms:
            await link(world, root, room)
        spaces, alice = Spaces(world.db, world.names), await world.viewer(ALICE)
        first = await spaces.page(alice, HierarchyRequest(root, limit=2))
        second = await spaces.page(alice, HierarchyRequest(root, start=first.next_batch))
        assert (ids(first), ids(second)) == ([root, rooms[0]], rooms[1:])
        assert second.next_batch is None
        for changed in (
            HierarchyRequest(root, start=first.next_batch, max_depth=1),
            HierarchyRequest(root, start=first.next_batch, suggested_only=True),
            HierarchyRequest(root, start="nonsense"),
        ):
            with pytest.raises(InvalidParam):
                await spaces.page(alice, changed)


async def test_rooms_behind_closed_doors_are_not_shown(database_url: str) -> None:
    async with open_world(database_url) as world:
        root = await space(world)
        private = await world.create(join_rule="invite")
        knockable = await world.create(join_rule="knock")
        readable = await world.create(join_rule="invite", visibility="world_readable")
        restricted = await world.create()
        condition = {"type": "m.room_membership", "room_id": root}
        rule = {"join_rule": "restricted", "allow": [condition]}
        await world.state(restricted, ALICE, "m.room.join_rules", rule)
        for room in (private, knockable, readable, restricted):
            await link(world, root, room)
        spaces, bob = Spaces(world.db, world.names), await world.viewer(BOB)
        page = await spaces.page(bob, HierarchyRequest(root))
        assert ids(page) == [root, knockable, readable]
        assert links(page)[root] == [private, knockable, readable, restricted]
        await world.member(root, BOB, "join")
        await world.member(private, BOB, "invite", by=ALICE)
        page = await spaces.page(bob, HierarchyRequest(root))
        assert ids(page) == [root, private, knockable, readable, restricted]
        assert page.rooms[4]["allowed_room_ids"] == [root]
        for hidden in (restricted, "!nowhere"):
            with pytest.raises(Forbidden):
                await spaces.page(await world.viewer(CAROL), HierarchyRequest(hidden))


class OtherServer:
    """Tells of rooms that are not here."""

    def __init__(self, rooms: Mapping[str, Mapping[str, Any]]) -> None:
        self.rooms = rooms
        self.asked: list[dict[str, Sequence[str]]] = []

    async def fetch(
        self, wanted: Mapping[str, Sequence[str]], *, suggested_only: bool
    ) -> Mapping[str, Mapping[str, Any]]:
        self.asked.append(dict(wanted))
        return {room_id: self.rooms[room_id] for room_id in wanted if room_id in self.rooms}


async def test_other_servers_fill_in_what_is_not_here(database_url: str) -> None:
    async with open_world(database_url) as world:
        root, leaf = await space(world), await world.create()
        event = {
            "type": "m.space.child",
            "state_key": leaf,
            "sender": "@eve:far.example",
            "content": {"via": ["hub.example"]},
            "origin_server_ts": 5,
        }
        far: dict[str, dict[str, Any]] = {
            "!far": {
                "room_id": "!far",
                "room_type": "m.space",
                "num_joined_members": 3,
                "children_state": [event, {"type": "m.space.child"}],
            },
            "!closed": {"room_id": "!closed", "join_rule": "invite"},
        }
        await link(world, root, "!far", via=["far.example"])
        await link(world, root, "!closed", via=["far.example"])
        other, bob = OtherServer(far), await world.viewer(BOB)
        page = await Spaces(world.db, world.names, other).page(bob, HierarchyRequest(root))
        assert ids(page) == [root, "!far", leaf]
        assert page.rooms[1]["children_state"] == [event]
        assert other.asked == [{"!far": ("far.example",), "!closed": ("far.example",)}]
        summary = await Summaries(world.db, world.names, other).get(bob, "!far", ["far.example"])
        assert (summary["num_joined_members"], summary["membership"]) == (3, "leave")


def test_children_are_ordered_by_order_then_time_then_room() -> None:
    def child(room_id: str, ts: int, order: object = None) -> dict[str, Any]:
        return {
            "type": "m.space.child",
            "sender": ALICE,
            "state_key": room_id,
            "origin_server_ts": ts,
            "content": {"via": ["hub.example"], "order": order},
        }

    events = [
        child("!d", 2),
        child("!c", 1),
        child("!b", 9, "b"),
        child("!a", 9, "a"),
        child("!f", 1, "\x00"),
        child("!e", 0, "x" * 51),
        child("!aa", 9, "a"),
    ]
    ordered = [c.room_id for c in order_children(events, suggested_only=False)]
    assert ordered == ["!a", "!aa", "!b", "!e", "!c", "!f", "!d"]


async def test_a_summary_is_told_to_those_who_may_see_the_room(database_url: str) -> None:
    async with open_world(database_url) as world:
        public, private = await world.create(), await world.create(join_rule="invite")
        await world.state(public, ALICE, "m.room.name", {"name": "Kitchen"})
        summaries, bob = Summaries(world.db, world.names), await world.viewer(BOB)
        open_to_all = await summaries.get(None, public)
        assert open_to_all == {
            "room_id": public,
            "name": "Kitchen",
            "num_joined_members": 1,
            "join_rule": "public",
            "guest_can_join": False,
            "world_readable": False,
            "room_version": "11",
        }
        assert (await summaries.get(bob, public)) == open_to_all | {"membership": "leave"}
        assert (await summaries.get(await world.viewer(ALICE), private))["membership"] == "join"
        await world.member(public, BOB, "ban", by=ALICE)
        for viewer, room in ((None, private), (bob, private), (bob, public), (None, "!nowhere")):
            with pytest.raises(NotFound):
                await summaries.get(viewer, room)
