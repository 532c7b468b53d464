from federation.protocol.identifiers import UserId
from homeserver.rooms.history_visibility import see_events
from tests.homeserver.rooms.world import ALICE, BOB, CAROL, World, open_world


async def relations_of(world: World, event_id: str, who: UserId) -> dict[str, object]:
    viewer = await world.viewer(who)
    seen = await see_events(world.db, world.names, viewer, [await world.event(event_id)])
    (built,) = await world.clients.build(seen, viewer, with_room_id=True)
    relations: dict[str, object] = built["unsigned"].get("m.relations", {})
    return relations


async def test_a_thread_is_summed_up_without_what_ignored_users_said(database_url: str) -> None:
    async with open_world(database_url) as world:
        room = await world.create(members=[BOB, CAROL])
        root = await world.say(room, ALICE, "root")
        await world.relate(room, BOB, "m.thread", root, "first")
        second = await world.relate(room, CAROL, "m.thread", root, "second")
        await world.relate(room, BOB, "m.thread", root, "third")
        await world.ignore(CAROL, BOB)
        thread = (await relations_of(world, root, CAROL))["m.thread"]
        assert isinstance(thread, dict)
        assert thread["count"] == 1
        assert thread["latest_event"]["event_id"] == second
        assert thread["current_user_participated"] is True
        of_all = (await relations_of(world, root, ALICE))["m.thread"]
        assert isinstance(of_all, dict)
        assert (of_all["count"], of_all["latest_event"]["content"]["body"]) == (3, "third")


async def test_references_are_listed_in_order_without_redacted_ones(database_url: str) -> None:
    async with open_world(database_url) as world:
        room = await world.create(members=[BOB])
        parent = await world.say(room, ALICE, "parent")
        first = await world.relate(room, BOB, "m.reference", parent)
        gone = await world.relate(room, BOB, "m.reference", parent)
        last = await world.relate(room, ALICE, "m.reference", parent)
        await world.redact(room, BOB, gone)
        assert (await relations_of(world, parent, ALICE)) == {
            "m.reference": {"chunk": [{"event_id": first}, {"event_id": last}]}
        }
