import asyncio

from tests.homeserver.conftest import Homes

VERSIONS = [str(number) for number in range(1, 13)]


async def test_rooms_of_all_versions_can_be_created_joined_and_written_in(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    for version in VERSIONS:
        room = await alice.create_room(preset="public_chat", room_version=version, name="Pub")
        assert await bob.join(room) == room
        await bob.send(room, "hello")


async def test_rooms_created_at_once_by_one_user_are_different_rooms(homes: Homes) -> None:
    alice = await homes.user()
    rooms = await asyncio.gather(*(alice.create_room(room_version="12") for _ in range(20)))
    assert len(set(rooms)) == 20
