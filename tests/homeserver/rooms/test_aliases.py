from typing import Any

import pytest

from tests.homeserver.conftest import Client, Homes
from tests.homeserver.rooms.asking import state_content

PUB = "v3/directory/room/%23pub:test"


async def put_alias(client: Client, room: str, path: str = PUB) -> Any:
    return await client.put(path, {"room_id": room})


async def test_an_alias_leads_to_its_room_until_it_is_removed(homes: Homes) -> None:
    alice = await homes.user()
    room = await alice.create_room()
    (await homes.nobody().get(PUB)).refused(404, "M_NOT_FOUND")
    (await put_alias(alice, room)).ok()
    assert (await homes.nobody().get(PUB)).ok() == {"room_id": room, "servers": ["test"]}
    assert (await alice.get(f"v3/rooms/{room}/aliases")).ok() == {"aliases": ["#pub:test"]}
    (await put_alias(alice, room)).refused(409, "M_UNKNOWN")
    (await alice.delete(PUB)).ok()
    (await alice.get(PUB)).refused(404, "M_NOT_FOUND")
    (await alice.delete(PUB)).refused(404, "M_NOT_FOUND")


async def test_aliases_may_be_written_in_any_script(homes: Homes) -> None:
    alice = await homes.user()
    room = await alice.create_room()
    path = "v3/directory/room/%23老虎Â£я🤨👉ඞ:test"
    (await put_alias(alice, room, path)).ok()
    assert (await alice.get(path)).ok()["room_id"] == room


@pytest.mark.parametrize(
    "name", ["pub:test", "%25pub:test", "%23:test", "%23pub", "%23pub:a:b", "%23pub:elsewhere"]
)
async def test_what_is_no_alias_of_this_server_is_refused(homes: Homes, name: str) -> None:
    alice = await homes.user()
    room = await alice.create_room()
    answer = await put_alias(alice, room, f"v3/directory/room/{name}")
    answer.refused(400, "M_INVALID_PARAM")


async def test_an_alias_is_made_by_members_of_a_room_that_exists(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room = await alice.create_room()
    (await put_alias(bob, room)).refused(403, "M_FORBIDDEN")
    (await put_alias(alice, "!none:test")).refused(404, "M_NOT_FOUND")
    (await alice.put(PUB)).refused(400, "M_MISSING_PARAM")


async def test_aliases_are_listed_for_members_or_of_world_readable_rooms(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room = await alice.create_room()
    (await bob.get(f"v3/rooms/{room}/aliases")).refused(403, "M_FORBIDDEN")
    visibility = {"history_visibility": "world_readable"}
    await alice.set_state(room, "m.room.history_visibility", visibility)
    assert (await bob.get(f"v3/rooms/{room}/aliases")).ok() == {"aliases": []}


async def test_aliases_are_removed_by_their_maker_or_by_the_powerful(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    (await put_alias(alice, room)).ok()
    (await bob.delete(PUB)).refused(403, "M_FORBIDDEN")
    (await alice.delete(PUB)).ok()
    (await put_alias(bob, room)).ok()
    (await bob.delete(PUB)).ok()
    (await put_alias(bob, room)).ok()
    (await alice.delete(PUB)).ok()


async def test_a_removed_alias_is_no_longer_announced_if_its_remover_may(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    (await put_alias(bob, room)).ok()
    (await put_alias(bob, room, "v3/directory/room/%23bar:test")).ok()
    announced = {"alias": "#pub:test", "alt_aliases": ["#pub:test", "#bar:test"], "x": 1}
    await alice.set_state(room, "m.room.canonical_alias", announced)
    (await alice.delete(PUB)).ok()
    assert await state_content(alice, room, "m.room.canonical_alias") == {
        "alt_aliases": ["#bar:test"],
        "x": 1,
    }
    (await bob.delete("v3/directory/room/%23bar:test")).ok()
    assert (await state_content(alice, room, "m.room.canonical_alias"))["alt_aliases"]


async def test_announced_aliases_must_lead_to_the_room(homes: Homes) -> None:
    alice = await homes.user()
    room, other = await alice.create_room(), await alice.create_room()
    (await put_alias(alice, room)).ok()
    (await put_alias(alice, other, "v3/directory/room/%23other:test")).ok()
    path = f"v3/rooms/{room}/state/m.room.canonical_alias"
    good = {"alias": "#pub:test", "alt_aliases": ["#pub:test"]}
    (await alice.put(path, good)).ok()
    for alias in ("#none:test", "#other:test", "#x:elsewhere"):
        (await alice.put(path, {"alias": alias})).refused(400, "M_BAD_ALIAS")
        (await alice.put(path, {"alt_aliases": [alias]})).refused(400, "M_BAD_ALIAS")
    for malformed in ({"alias": "%pub:test"}, {"alias": 1}, {"alt_aliases": "x"}):
        (await alice.put(path, malformed)).refused(400, "M_INVALID_PARAM")
    (await alice.delete(PUB)).ok()
    (await alice.put(path, good)).refused(400, "M_BAD_ALIAS")


async def test_aliases_that_are_announced_already_are_not_checked_again(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    (await put_alias(bob, room)).ok()
    await alice.set_state(room, "m.room.canonical_alias", {"alias": "#pub:test"})
    (await bob.delete(PUB)).ok()
    await alice.set_state(room, "m.room.canonical_alias", {"alias": "#pub:test", "x": 1})
    await alice.set_state(room, "m.room.canonical_alias", {})
