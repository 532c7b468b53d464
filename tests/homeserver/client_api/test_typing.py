from typing import Any
from urllib.parse import quote

import pytest

from tests.homeserver.conftest import Client, Homes
from tests.patience import LONG_POLL_MS


def typing(client: Client, room_id: str) -> str:
    return f"v3/rooms/{quote(room_id)}/typing/{quote(client.user_id)}"


def typists(body: Any, room_id: str) -> Any:
    events = body["rooms"]["join"][room_id]["ephemeral"]["events"]
    return [event["content"]["user_ids"] for event in events if event["type"] == "m.typing"]


async def test_others_in_the_room_see_who_types(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    since = (await bob.sync())["next_batch"]
    (await alice.put(typing(alice, room), {"typing": True, "timeout": LONG_POLL_MS})).ok()
    body = await bob.sync(since, LONG_POLL_MS)
    assert typists(body, room) == [[alice.user_id]]
    (await alice.put(typing(alice, room), {"typing": False})).ok()
    assert typists(await bob.sync(body["next_batch"], LONG_POLL_MS), room) == [[]]


async def test_who_leaves_does_not_type(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    (await bob.put(typing(bob, room), {"typing": True})).ok()
    since = (await alice.sync())["next_batch"]
    (await bob.post(f"v3/rooms/{quote(room)}/leave")).ok()
    assert typists(await alice.sync(since, LONG_POLL_MS), room) == [[]]


async def test_typing_is_for_members_and_for_themselves(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room = await alice.create_room()
    (await bob.put(typing(bob, room), {"typing": True})).refused(403, "M_FORBIDDEN")
    (await alice.put(typing(bob, room), {"typing": True})).refused(403, "M_FORBIDDEN")


@pytest.mark.parametrize(
    ("body", "errcode"),
    [
        ({}, "M_MISSING_PARAM"),
        ({"typing": "yes"}, "M_BAD_JSON"),
        ({"typing": True, "timeout": "long"}, "M_BAD_JSON"),
        ({"typing": True, "timeout": -1}, "M_INVALID_PARAM"),
    ],
)
async def test_broken_typing_is_refused(homes: Homes, body: Any, errcode: str) -> None:
    alice = await homes.user()
    room = await alice.create_room()
    (await alice.put(typing(alice, room), body)).refused(400, errcode)
