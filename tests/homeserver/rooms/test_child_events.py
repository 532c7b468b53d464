import orjson
import pytest

from federation.protocol.errors import NotFound
from federation.protocol.identifiers import UserId
from homeserver.rooms.child_events import ChildEvents, ChildrenPage, ChildrenRequest
from homeserver.rooms.history_token import parse_point
from storage.feed import current_position
from tests.homeserver.rooms.world import ALICE, BOB, World, open_world


def children_of(world: World) -> ChildEvents:
    return ChildEvents(world.db, world.names, world.clients, world.ignored)


def ids(page: ChildrenPage) -> list[str]:
    return [orjson.loads(event)["event_id"] for event in page.chunk]


async def test_children_are_paged_in_both_directions(database_url: str) -> None:
    async with open_world(database_url) as world:
        room = await world.create()
        root = await world.say(room, ALICE, "root")
        replies = [await world.relate(room, ALICE, "m.thread", root) for _ in range(5)]
        children, alice = children_of(world), await world.viewer(ALICE)
        for backwards, expected in ((True, replies[::-1]), (False, replies)):
            collected: list[str] = []
            request = ChildrenRequest(room, root, backwards=backwards, limit=2)
            for _ in range(4):
                page = await children.page(alice, request)
                collected += ids(page)
                if page.next_batch is None:
                    break
                request = ChildrenRequest(
                    room, root, backwards=backwards, limit=2, start=parse_point(page.next_batch)
                )
            assert collected == expected
        since = parse_point(f"s{await current_position(world.db)}_0")
        later = await world.relate(room, ALICE, "m.thread", root)
        request = ChildrenRequest(room, root, backwards=False, start=since)
        assert ids(await children.page(alice, request)) == [later]


async def test_children_are_chosen_by_relation_and_type(database_url: str) -> None:
    async with open_world(database_url) as world:
        room = await world.create()
        root = await world.say(room, ALICE, "root")
        reply = await world.relate(room, ALICE, "m.thread", root)
        edit = await world.relate(room, ALICE, "m.replace", root)
        relation = {"rel_type": "m.thread", "event_id": root}
        dummy = await world.send(room, ALICE, "m.dummy", {"m.relates_to": relation})
        gone = await world.relate(room, ALICE, "m.thread", root)
        await world.redact(room, ALICE, gone)
        children, alice = children_of(world), await world.viewer(ALICE)
        cases = [
            (ChildrenRequest(room, root), [dummy, edit, reply]),
            (ChildrenRequest(room, root, rel_type="m.thread"), [dummy, reply]),
            (ChildrenRequest(room, root, "m.thread", "m.room.message"), [reply]),
            (ChildrenRequest(room, root, "m.thread", "org.example.unheard"), []),
        ]
        for request, expected in cases:
            assert ids(await children.page(alice, request)) == expected


async def test_indirect_children_are_found_to_a_depth(database_url: str) -> None:
    async with open_world(database_url) as world:
        room = await world.create()
        root = await world.say(room, ALICE, "root")
        chain = [root]
        for _ in range(4):
            chain.append(await world.relate(room, ALICE, "m.reference", chain[-1]))
        other = await world.relate(room, ALICE, "m.thread", chain[1])
        children, alice = children_of(world), await world.viewer(ALICE)
        deep = await children.page(alice, ChildrenRequest(room, root, recurse=True))
        assert (ids(deep), deep.recursion_depth) == ([other, *chain[3:0:-1]], 3)
        chosen = ChildrenRequest(room, root, rel_type="m.reference", recurse=True)
        assert ids(await children.page(alice, chosen)) == chain[3:0:-1]
        assert ids(await children.page(alice, ChildrenRequest(room, root))) == [chain[1]]


async def test_strangers_find_no_parent_and_ignored_children_are_left_out(
    database_url: str,
) -> None:
    async with open_world(database_url) as world:
        room = await world.create(members=[BOB])
        root = await world.say(room, ALICE, "root")
        await world.relate(room, BOB, "m.thread", root)
        await world.ignore(ALICE, BOB)
        children = children_of(world)
        assert (
            ids(await children.page(await world.viewer(ALICE), ChildrenRequest(room, root))) == []
        )
        stranger = await world.viewer(UserId("@eve:hub.example"))
        for request in (ChildrenRequest(room, root), ChildrenRequest("!nowhere", root)):
            with pytest.raises(NotFound):
                await children.page(stranger, request)
