import pytest

from federation.protocol.errors import InvalidParam
from homeserver.rooms import mutual_rooms
from homeserver.rooms.mutual_rooms import MutualRooms
from tests.homeserver.conftest import Homes
from tests.homeserver.rooms.world import ALICE, BOB, CAROL, open_world


async def test_shared_rooms_are_listed_in_batches(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_world(database_url) as world:
        monkeypatch.setattr(mutual_rooms, "AT_ONCE", 2)
        shared = [await world.create(members=[BOB]) for _ in range(3)]
        await world.create(members=[CAROL])
        left = await world.create(members=[BOB])
        await world.member(left, BOB, "leave")
        service, alice = MutualRooms(world.db, world.names), await world.viewer(ALICE)
        first = await service.page(alice, BOB, None)
        assert (first.joined, first.count) == (shared[:2], 3)
        second = await service.page(alice, BOB, first.next_batch)
        assert (second.joined, second.count, second.next_batch) == (shared[2:], 3, None)
        assert (await service.page(alice, "@nobody:hub.example", None)).joined == []


@pytest.mark.parametrize(
    ("user_id", "token"), [(ALICE, None), ("bob", None), (BOB, "x"), (BOB, "m"), (BOB, "m1x")]
)
async def test_what_makes_no_sense_is_refused(
    database_url: str, user_id: str, token: str | None
) -> None:
    async with open_world(database_url) as world:
        with pytest.raises(InvalidParam):
            await MutualRooms(world.db, world.names).page(await world.viewer(ALICE), user_id, token)


async def test_the_unstable_path_tells_the_same(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id)
    path = "unstable/uk.half-shot.msc2666/user/mutual_rooms"
    answer = (await alice.get(path, user_id=bob.user_id)).ok()
    assert answer == {"joined": [room_id], "count": 1}
    rest = (await alice.get(path, user_id=bob.user_id, batch_token="m0")).ok()
    assert rest["joined"] == [room_id]
