"""Finding rooms of the other server, and following them to their successors."""

import pytest

from tests.interop.conftest import Cast
from tests.interop.rooms import agreed_state, content_of, room_path, share_a_room

pytestmark = pytest.mark.interop


def alias_of(cast: Cast) -> str:
    return f"#tea{cast.alice.user_id[1:].partition(':')[0]}:{cast.host.name}"


def quoted(alias: str) -> str:
    return alias.replace("#", "%23")


async def test_an_alias_of_the_other_server_leads_to_its_room(cast: Cast) -> None:
    room_id = await cast.alice.create_room(preset="public_chat")
    alias = alias_of(cast)
    directory = f"v3/directory/room/{quoted(alias)}"
    (await cast.alice.put(directory, {"room_id": room_id})).ok()
    found = (await cast.bob.get(directory)).ok()
    assert found["room_id"] == room_id
    assert cast.host.name in found["servers"]
    assert await cast.bob.join(alias) == room_id
    (await cast.alice.delete(directory)).ok()
    (await cast.bob.get(directory)).refused(404, "M_NOT_FOUND")


async def test_public_rooms_of_the_other_server_are_listed_and_searched(cast: Cast) -> None:
    name = f"Tea of {cast.alice.user_id}"
    room_id = await cast.alice.create_room(preset="public_chat", visibility="public", name=name)
    hidden = await cast.alice.create_room(preset="public_chat", name=f"hidden {name}")
    listed = (await cast.bob.get("v3/publicRooms", server=cast.host.name)).ok()
    ids = [room["room_id"] for room in listed["chunk"]]
    assert room_id in ids
    assert hidden not in ids
    search = {"filter": {"generic_search_term": name}}
    found = (await cast.bob.post("v3/publicRooms", search, server=cast.host.name)).ok()
    (room,) = found["chunk"]
    assert (room["room_id"], room["name"], room["num_joined_members"]) == (room_id, name, 1)


@pytest.mark.parametrize(("old_version", "new_version"), [("6", "11"), ("11", "12")])
async def test_users_of_the_other_server_follow_an_upgrade(
    cast: Cast, old_version: str, new_version: str
) -> None:
    alice, bob = cast.alice, cast.bob
    room_id = await share_a_room(alice, bob, cast.host.name, room_version=old_version, name="Tea")
    await cast.bobs.until_membership(room_id, bob.user_id, "join")
    tag = f"v3/user/{bob.user_id}/rooms/{room_id}/tags/u.hot"
    (await bob.put(tag, {"order": 0.5})).ok()
    upgrade = {"new_version": new_version}
    answer = (await alice.post(room_path(room_id, "upgrade"), upgrade)).ok()
    successor = answer["replacement_room"]

    def find_tombstone() -> object:
        shown = cast.bobs.timelines[room_id]
        return next((event for event in shown if event["type"] == "m.room.tombstone"), None)

    tombstone = await cast.bobs.until(find_tombstone)
    assert tombstone["content"]["replacement_room"] == successor
    (await bob.post(f"v3/join/{successor}", server_name=cast.host.name, via=cast.host.name)).ok()
    create = await content_of(bob, successor, "m.room.create")
    assert create["predecessor"]["room_id"] == room_id
    assert create["room_version"] == new_version
    assert (await content_of(bob, successor, "m.room.name")) == {"name": "Tea"}
    await agreed_state(alice, bob, successor)
    await agreed_state(alice, bob, room_id)
    # What Bob has set for the old room holds for the new one.
    tags = (await bob.get(f"v3/user/{bob.user_id}/rooms/{successor}/tags")).ok()
    assert tags["tags"] == {"u.hot": {"order": 0.5}}
    # Nobody talks in the old room any more.
    refusal = await bob.put(
        room_path(room_id, "send/m.room.message/late"), {"msgtype": "m.text", "body": "late"}
    )
    refusal.refused(403, "M_FORBIDDEN")
