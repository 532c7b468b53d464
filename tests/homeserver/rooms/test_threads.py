import orjson
import pytest

from federation.protocol.errors import Forbidden
from homeserver.rooms import threads as threads_module
from homeserver.rooms.history_token import parse_point
from homeserver.rooms.threads import Threads, ThreadsPage
from tests.homeserver.rooms.world import ALICE, BOB, CAROL, World, open_world


def threads_of(world: World) -> Threads:
    return Threads(world.db, world.names, world.clients, world.ignored)


def latest_replies(page: ThreadsPage) -> list[tuple[str, str]]:
    events = [orjson.loads(event) for event in page.chunk]
    return [
        (e["event_id"], e["unsigned"]["m.relations"]["m.thread"]["latest_event"]["event_id"])
        for e in events
    ]


async def test_the_thread_that_was_replied_to_last_comes_first(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_world(database_url) as world:
        room = await world.create()
        first = await world.say(room, ALICE, "first root")
        second = await world.say(room, ALICE, "second root")
        to_first = await world.relate(room, ALICE, "m.thread", first)
        to_second = await world.relate(room, ALICE, "m.thread", second)
        threads, alice = threads_of(world), await world.viewer(ALICE)
        expected = [(second, to_second), (first, to_first)]
        assert latest_replies(await threads.page(alice, room)) == expected
        again = await world.relate(room, ALICE, "m.thread", first)
        expected = [(first, again), (second, to_second)]
        for replies_at_once in (1, 2, 1000):
            monkeypatch.setattr(threads_module, "REPLIES_AT_ONCE", replies_at_once)
            assert latest_replies(await threads.page(alice, room)) == expected
            page = await threads.page(alice, room, limit=1)
            assert latest_replies(page) == expected[:1]
            assert page.next_batch is not None
            rest = await threads.page(alice, room, start=parse_point(page.next_batch))
            assert latest_replies(rest) == expected[1:]


async def test_threads_are_told_apart_by_who_has_a_part_in_them(database_url: str) -> None:
    async with open_world(database_url) as world:
        room = await world.create(members=[BOB, CAROL])
        started = await world.say(room, BOB, "bob starts")
        await world.relate(room, ALICE, "m.thread", started)
        joined_in = await world.say(room, ALICE, "bob replies")
        await world.relate(room, BOB, "m.thread", joined_in)
        other = await world.say(room, ALICE, "others")
        await world.relate(room, CAROL, "m.thread", other)
        threads, bob = threads_of(world), await world.viewer(BOB)
        mine = await threads.page(bob, room, participated=True)
        assert [root for root, _ in latest_replies(mine)] == [joined_in, started]
        everything = await threads.page(bob, room)
        assert [root for root, _ in latest_replies(everything)] == [other, joined_in, started]


async def test_a_root_of_somebody_ignored_is_shown_redacted(database_url: str) -> None:
    async with open_world(database_url) as world:
        room = await world.create(members=[BOB])
        root = await world.say(room, BOB, "root")
        await world.relate(room, ALICE, "m.thread", root)
        await world.ignore(ALICE, BOB)
        page = await threads_of(world).page(await world.viewer(ALICE), room)
        assert orjson.loads(page.chunk[0])["content"] == {}
        with pytest.raises(Forbidden):
            await threads_of(world).page(await world.viewer(CAROL), room)
