"""Which rooms lists let through."""

from typing import Any
from urllib.parse import quote

import pytest

from tests.homeserver.conftest import Client, Homes
from tests.homeserver.sliding.slider import Slider, rooms_in
from tests.patience import LONG_POLL_MS


async def listed(client: Client, **filters: Any) -> set[str]:
    """The rooms that a filter lets through; the count says the same."""
    slider = Slider(client, "filters")
    slider.lists = {"some": rooms_in(0, 99, filters=filters)}
    answer = await slider.next()
    assert answer["lists"]["some"]["count"] == len(answer["rooms"])
    return set(answer["rooms"])


async def test_direct_chats(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room, chat = await alice.create_room(), await alice.create_room()
    direct = {bob.user_id: [chat, 7], "malformed": chat}
    (await alice.put(f"v3/user/{alice.user_id}/account_data/m.direct", direct)).ok()
    assert await listed(alice, is_dm=True) == {chat}
    assert await listed(alice, is_dm=False) == {room}
    slider = Slider(alice)
    slider.lists = {"all": rooms_in()}
    rooms = (await slider.next())["rooms"]
    assert rooms[chat]["is_dm"] is True
    assert "is_dm" not in rooms[room]
    (await alice.put(f"v3/user/{alice.user_id}/account_data/m.direct", {})).ok()
    await alice.send(chat, "hello")
    assert (await slider.next())["rooms"][chat]["is_dm"] is False


async def test_encrypted_rooms_and_rooms_that_become_so(homes: Homes) -> None:
    alice = await homes.user()
    plain = await alice.create_room()
    secret = await alice.create_room()
    algorithm = {"algorithm": "m.megolm.v1.aes-sha2"}
    await alice.set_state(secret, "m.room.encryption", algorithm)
    assert await listed(alice, is_encrypted=True) == {secret}
    slider = Slider(alice)
    slider.lists = {"plain": rooms_in(filters={"is_encrypted": False})}
    answer = await slider.next()
    assert set(answer["rooms"]) == {plain}
    await alice.set_state(plain, "m.room.encryption", algorithm)
    assert (await slider.next())["lists"]["plain"]["count"] == 0


async def test_invites(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    joined = await bob.create_room()
    invited = await alice.create_room(name="come", creation_content={"type": "m.space"})
    await alice.invite(invited, bob.user_id)
    assert await listed(bob, is_invite=True) == {invited}
    assert await listed(bob, is_invite=False) == {joined}
    assert await listed(bob) == {joined, invited}
    assert await listed(bob, room_types=["m.space"]) == {invited}


async def test_types_of_rooms(homes: Homes) -> None:
    alice = await homes.user()
    room = await alice.create_room()
    space = await alice.create_room(creation_content={"type": "m.space"})
    other = await alice.create_room(creation_content={"type": "org.example.other"})
    assert await listed(alice, room_types=[None]) == {room}
    assert await listed(alice, room_types=["m.space", None]) == {room, space}
    assert await listed(alice, not_room_types=["m.space"]) == {room, other}
    assert await listed(alice, room_types=["m.space"], not_room_types=["m.space"]) == set()


async def test_tags(homes: Homes) -> None:
    alice = await homes.user()
    rooms = [await alice.create_room() for _ in range(3)]
    for room_id, tag in ((rooms[0], "u.a"), (rooms[1], "u.a"), (rooms[1], "u.b")):
        (await alice.put(f"v3/user/{alice.user_id}/rooms/{quote(room_id)}/tags/{tag}")).ok()
    assert await listed(alice, tags=["u.a"]) == {rooms[0], rooms[1]}
    assert await listed(alice, tags=["u.a", "u.b"], not_tags=["u.b"]) == {rooms[0]}
    assert await listed(alice, not_tags=["u.a"]) == {rooms[2]}


async def test_spaces_that_the_user_is_in(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    rooms = [await alice.create_room(preset="public_chat") for _ in range(3)]
    spaces = [
        await alice.create_room(preset="public_chat", creation_content={"type": "m.space"})
        for _ in range(2)
    ]
    for room_id in (*rooms, spaces[0]):
        await bob.join(room_id)
    await alice.set_state(spaces[0], "m.space.child", {"via": ["test"]}, rooms[0])
    await alice.set_state(spaces[0], "m.space.child", {}, rooms[1])
    await alice.set_state(spaces[1], "m.space.child", {"via": ["test"]}, rooms[2])
    assert await listed(bob, spaces=[spaces[0]]) == {rooms[0]}
    assert await listed(bob, spaces=[*spaces, "!unknown:test"]) == {rooms[0]}
    await alice.set_state(spaces[0], "m.space.child", {"via": ["test"]}, rooms[1])
    assert await listed(bob, spaces=[spaces[0]]) == {rooms[0], rooms[1]}


async def test_names(homes: Homes) -> None:
    alice = await homes.user()
    room = await alice.create_room(name="Kitchen talk")
    await alice.create_room(name="garden")
    assert await listed(alice, room_name_like="kitchen") == {room}


async def test_a_room_comes_into_a_list_when_the_filter_lets_it(homes: Homes) -> None:
    alice = await homes.user()
    room_id = await alice.create_room(name="one")
    slider = Slider(alice)
    slider.lists = {"tagged": rooms_in(filters={"tags": ["m.favourite"]})}
    assert (await slider.next())["lists"]["tagged"]["count"] == 0
    (await alice.put(f"v3/user/{alice.user_id}/rooms/{quote(room_id)}/tags/m.favourite")).ok()
    answer = await slider.next(timeout_ms=LONG_POLL_MS)
    assert answer["lists"]["tagged"]["count"] == 1
    assert answer["rooms"][room_id]["initial"] is True


@pytest.mark.parametrize(
    ("body", "errcode"),
    [
        ({"lists": []}, "M_BAD_JSON"),
        ({"lists": {"a": {"ranges": [[0, 1]]}}}, "M_MISSING_PARAM"),
        ({"lists": {"a": {"timeline_limit": 1, "ranges": [[1, 0]]}}}, "M_INVALID_PARAM"),
        ({"lists": {"a": {"timeline_limit": 1, "ranges": [[0, -1]]}}}, "M_BAD_JSON"),
        ({"lists": {"a": {"timeline_limit": True}}}, "M_BAD_JSON"),
        ({"lists": {"a": {"timeline_limit": 1, "required_state": [["a"]]}}}, "M_BAD_JSON"),
        ({"lists": {f"{n}": {"timeline_limit": 1} for n in range(101)}}, "M_INVALID_PARAM"),
        (
            {"room_subscriptions": {f"!{n}:a": {"timeline_limit": 1} for n in range(101)}},
            "M_INVALID_PARAM",
        ),
        ({"extensions": {"to_device": {"enabled": True, "since": "x"}}}, "M_INVALID_PARAM"),
        ({"extensions": {"e2ee": {"enabled": 1}}}, "M_BAD_JSON"),
        ({"conn_id": "x" * 65}, "M_INVALID_PARAM"),
        ({"txn_id": 5}, "M_BAD_JSON"),
        ({"set_presence": "asleep"}, "M_INVALID_PARAM"),
        ({"timeout": "soon"}, "M_BAD_JSON"),
    ],
)
async def test_malformed_requests_are_refused(homes: Homes, body: Any, errcode: str) -> None:
    alice = await homes.user()
    path = "unstable/org.matrix.simplified_msc3575/sync"
    (await alice.post(path, body)).refused(400, errcode)
