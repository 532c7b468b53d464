import pytest

from federation.protocol.errors import Forbidden, NotFound
from homeserver.rooms.timestamps import Timestamps
from tests.homeserver.rooms.world import ALICE, BOB, open_world


async def test_the_closest_event_is_found_in_either_direction(database_url: str) -> None:
    async with open_world(database_url) as world:
        room = await world.create()
        start = world.now
        first = await world.say(room, ALICE, "first", ts=start + 10)
        twin_one = await world.say(room, ALICE, "twin", ts=start + 20)
        twin_two = await world.say(room, ALICE, "twin", ts=start + 20)
        imported = await world.say(room, ALICE, "imported", ts=5)
        times, alice = Timestamps(world.db, world.names), await world.viewer(ALICE)
        cases = [
            (start + 10, "f", first),
            (start + 11, "b", first),
            (start + 11, "f", twin_one),
            (start + 20, "b", twin_two),
            (900_000, "b", imported),
        ]
        for ts, direction, expected in cases:
            found = await times.find(alice, room, ts, backwards=direction == "b")
            assert found.event_id == expected
        for ts, backwards in ((start + 21, False), (4, True)):
            with pytest.raises(NotFound):
                await times.find(alice, room, ts, backwards=backwards)


async def test_only_visible_events_are_found(database_url: str) -> None:
    async with open_world(database_url) as world:
        room = await world.create(visibility="joined")
        since = world.now + 1
        for n in range(60):
            await world.say(room, ALICE, str(n))
        hidden_until = world.now
        times, bob = Timestamps(world.db, world.names), await world.viewer(BOB)
        with pytest.raises(Forbidden):
            await times.find(bob, room, 0, backwards=False)
        join = await world.member(room, BOB, "join")
        assert (await times.find(bob, room, since, backwards=False)).event_id == join
        earlier = await times.find(bob, room, hidden_until, backwards=True)
        assert earlier.type == "m.room.history_visibility"
