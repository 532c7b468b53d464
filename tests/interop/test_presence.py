"""What passes and is not kept: typing, receipts, presence; and profiles."""

from typing import Any

import pytest

from tests.interop.conftest import Cast
from tests.interop.inbox import Inbox
from tests.interop.rooms import room_path, share_a_room

pytestmark = pytest.mark.interop


async def test_typing_is_seen_and_ends(cast: Cast) -> None:
    room_id = await share_a_room(cast.alice, cast.bob, cast.host.name)
    for typist, reader in ((cast.alice, cast.bobs), (cast.bob, cast.alices)):
        await reader.look()
        path = room_path(room_id, f"typing/{typist.user_id}")
        (await typist.put(path, {"typing": True, "timeout": 30_000})).ok()
        await until_typists(reader, room_id, [typist.user_id])
        (await typist.put(path, {"typing": False})).ok()
        await until_typists(reader, room_id, [])


def typists(inbox: Inbox, room_id: str) -> Any:
    return inbox.ephemeral[room_id].get("m.typing", {}).get("user_ids")


async def until_typists(inbox: Inbox, room_id: str, wanted: list[str]) -> None:
    """Sync until exactly these type in the room."""
    await inbox.until(lambda: typists(inbox, room_id) == wanted)


async def test_receipts_are_seen(cast: Cast) -> None:
    room_id = await share_a_room(cast.alice, cast.bob, cast.host.name)
    event_id = await cast.alice.send(room_id, "read me")
    await cast.bobs.until_event(room_id, event_id)
    (await cast.bob.post(room_path(room_id, f"receipt/m.read/{event_id}"))).ok()
    await cast.alices.until(lambda: has_read(cast.alices, room_id, event_id, cast.bob.user_id))


async def test_private_receipts_stay_at_home_and_threads_are_told_apart(cast: Cast) -> None:
    room_id = await share_a_room(cast.alice, cast.bob, cast.host.name)
    first = await cast.alice.send(room_id, "first")
    second = await cast.alice.send(room_id, "second")
    await cast.bobs.until_event(room_id, second)
    (await cast.bob.post(room_path(room_id, f"receipt/m.read.private/{second}"))).ok()
    thread = {"thread_id": "main"}
    (await cast.bob.post(room_path(room_id, f"receipt/m.read/{first}"), thread)).ok()
    receipt = await cast.alices.until(
        lambda: has_read(cast.alices, room_id, first, cast.bob.user_id)
    )
    assert receipt["thread_id"] == "main"
    assert second not in cast.alices.ephemeral[room_id]["m.receipt"]


def has_read(inbox: Inbox, room_id: str, event_id: str, user_id: str) -> Any:
    receipts = inbox.ephemeral[room_id].get("m.receipt", {})
    return receipts.get(event_id, {}).get("m.read", {}).get(user_id)


async def test_presence_is_seen(cast: Cast) -> None:
    room_id = await share_a_room(cast.alice, cast.bob, cast.host.name)
    await cast.bobs.until_membership(room_id, cast.bob.user_id, "join")
    for somebody, reader in ((cast.alice, cast.bobs), (cast.bob, cast.alices)):
        await reader.look()
        status = {"presence": "unavailable", "status_msg": f"{somebody.user_id} is at tea"}
        (await somebody.put(f"v3/presence/{somebody.user_id}/status", status)).ok()
        await until_presence(reader, somebody.user_id, status)


async def until_presence(inbox: Inbox, user_id: str, wanted: dict[str, str]) -> None:
    """Sync until a user's presence has these keys."""
    await inbox.until(lambda: wanted.items() <= inbox.presence.get(user_id, {}).items())


async def test_a_new_name_and_picture_are_seen(cast: Cast) -> None:
    room_id = await share_a_room(cast.alice, cast.bob, cast.host.name)
    profile = {"displayname": "Bobby", "avatar_url": "mxc://pictures.example/bobby"}
    for key, value in profile.items():
        (await cast.bob.put(f"v3/profile/{cast.bob.user_id}/{key}", {key: value})).ok()

    def find() -> bool:
        events = [e for e in cast.alices.timelines[room_id] if e["type"] == "m.room.member"]
        return bool(events and profile.items() <= events[-1]["content"].items())

    await cast.alices.until(find)
    asked = (await cast.alice.get(f"v3/profile/{cast.bob.user_id}")).ok()
    assert profile.items() <= asked.items()
