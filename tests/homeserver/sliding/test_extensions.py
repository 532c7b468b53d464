"""What sliding sync tells beside rooms."""

import asyncio
from typing import Any
from urllib.parse import quote

from tests.homeserver.conftest import Client, Homes
from tests.homeserver.sliding.slider import Slider, rooms_in, subscription
from tests.patience import LONG_POLL_MS

ON = {"enabled": True}


async def send_to(sender: Client, receiver: Client, number: int) -> None:
    """Send a message to a device."""
    messages = {receiver.user_id: {receiver.device_id: {"number": number}}}
    path = f"v3/sendToDevice/org.example.numbered/{number}"
    (await sender.put(path, {"messages": messages})).ok()


def numbers(events: list[Any]) -> list[int]:
    """The numbers of such messages."""
    return [event["content"]["number"] for event in events]


async def test_messages_to_the_device_come_until_they_are_acknowledged(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    slider = Slider(bob, "encryption")
    slider.extensions = {"to_device": ON, "e2ee": ON}
    first = (await slider.next())["extensions"]["to_device"]
    assert first["events"] == []
    for number in range(3):
        await send_to(alice, bob, number)
    slider.extensions["to_device"] = {**ON, "limit": 2, "since": first["next_batch"]}
    told = (await slider.next(timeout_ms=LONG_POLL_MS))["extensions"]["to_device"]
    assert numbers(told["events"]) == [0, 1]
    again = (await slider.next())["extensions"]["to_device"]
    assert numbers(again["events"]) == [0, 1], "the client has not said that it has them"
    slider.extensions["to_device"] = {**ON, "since": told["next_batch"]}
    rest = (await slider.next())["extensions"]["to_device"]
    assert numbers(rest["events"]) == [2]


async def test_what_is_acknowledged_is_gone_from_plain_sync_too(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    since = (await bob.sync())["next_batch"]
    await send_to(alice, bob, 1)
    slider = Slider(bob, "encryption")
    slider.extensions = {"to_device": ON}
    told = (await slider.next())["extensions"]["to_device"]
    assert numbers(told["events"]) == [1]
    assert numbers((await bob.sync(since))["to_device"]["events"]) == [1]
    slider.extensions = {"to_device": {**ON, "since": told["next_batch"]}}
    assert (await slider.next())["extensions"]["to_device"]["events"] == []
    assert "to_device" not in await bob.sync(since)


async def test_encryption_hears_of_devices_and_counts_keys(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id)
    slider = Slider(bob, "encryption")
    slider.extensions = {"e2ee": ON}
    told = (await slider.next())["extensions"]["e2ee"]
    assert told["device_one_time_keys_count"] == {"signed_curve25519": 0}
    assert told["device_unused_fallback_key_types"] == []
    assert "device_lists" not in told
    keys = {
        "user_id": alice.user_id,
        "device_id": alice.device_id,
        "algorithms": [],
        "keys": {},
        "signatures": {},
    }
    (await alice.post("v3/keys/upload", {"device_keys": keys})).ok()
    answer = await slider.next(timeout_ms=LONG_POLL_MS)
    assert answer["extensions"]["e2ee"]["device_lists"] == {"changed": [alice.user_id], "left": []}
    assert "device_lists" not in (await slider.next())["extensions"]["e2ee"]
    (await bob.post(f"v3/rooms/{quote(room_id)}/leave")).ok()
    answer = await slider.next()
    assert answer["extensions"]["e2ee"]["device_lists"]["left"] == [alice.user_id]


async def test_messages_in_rooms_do_not_answer_a_connection_without_rooms(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id)
    slider = Slider(bob, "encryption")
    slider.extensions = {"to_device": ON, "e2ee": ON}
    await slider.next()
    waiting = asyncio.create_task(slider.next(timeout_ms=LONG_POLL_MS))
    await alice.send(room_id, "hello")
    await send_to(alice, bob, 1)
    answer = await waiting
    assert numbers(answer["extensions"]["to_device"]["events"]) == [1]


def contents(events: list[Any]) -> dict[str, Any]:
    """Account data by type."""
    return {event["type"]: event["content"] for event in events}


async def test_account_data_of_the_account_and_of_rooms(homes: Homes) -> None:
    alice = await homes.user()
    rooms = [await alice.create_room() for _ in range(2)]
    base = f"v3/user/{alice.user_id}"
    (await alice.put(f"{base}/account_data/org.example.a", {"n": 1})).ok()
    for room_id in rooms:
        (
            await alice.put(f"{base}/rooms/{quote(room_id)}/account_data/org.example.r", {"n": 1})
        ).ok()
    slider = Slider(alice)
    slider.lists = {"all": rooms_in(0, 0)}
    slider.extensions = {"account_data": ON}
    told = (await slider.next())["extensions"]["account_data"]
    assert contents(told["global"])["org.example.a"] == {"n": 1}
    assert "m.push_rules" in contents(told["global"])
    assert {nid: contents(part) for nid, part in told["rooms"].items()} == {
        rooms[1]: {"org.example.r": {"n": 1}}
    }
    assert "account_data" not in (await slider.next())["extensions"]
    (await alice.put(f"{base}/account_data/org.example.a", {"n": 2})).ok()
    (await alice.put(f"{base}/rooms/{quote(rooms[1])}/account_data/org.example.r", {"n": 2})).ok()
    told = (await slider.next(timeout_ms=LONG_POLL_MS))["extensions"]["account_data"]
    assert contents(told["global"]) == {"org.example.a": {"n": 2}}
    assert contents(told["rooms"][rooms[1]]) == {"org.example.r": {"n": 2}}
    slider.lists = {"all": rooms_in(0, 9)}
    told = (await slider.next())["extensions"]["account_data"]
    assert told["global"] == []
    assert contents(told["rooms"][rooms[0]]) == {"org.example.r": {"n": 1}}


async def test_an_extension_that_is_enabled_later_tells_all_there_is(homes: Homes) -> None:
    alice = await homes.user()
    room_id = await alice.create_room()
    base = f"v3/user/{alice.user_id}"
    (await alice.put(f"{base}/rooms/{quote(room_id)}/account_data/org.example.r", {"n": 1})).ok()
    slider = Slider(alice)
    slider.lists = {"all": rooms_in()}
    await slider.next()
    slider.extensions = {"account_data": ON}
    told = (await slider.next())["extensions"]["account_data"]
    assert "m.push_rules" in contents(told["global"])
    assert contents(told["rooms"][room_id]) == {"org.example.r": {"n": 1}}
    slider.extensions = {"account_data": {**ON, "lists": [], "rooms": []}}
    await slider.next()
    (await alice.put(f"{base}/rooms/{quote(room_id)}/account_data/org.example.r", {"n": 2})).ok()
    assert "account_data" not in (await slider.next())["extensions"]
    slider.extensions = {"account_data": ON}
    told = (await slider.next())["extensions"]["account_data"]
    assert contents(told["rooms"][room_id]) == {"org.example.r": {"n": 2}}


async def read_to(client: Client, room_id: str, event_id: str, kind: str = "m.read") -> None:
    """Move a receipt."""
    (await client.post(f"v3/rooms/{quote(room_id)}/receipt/{kind}/{quote(event_id)}")).ok()


async def test_receipts_of_new_rooms_are_those_at_what_is_shown_and_ones_own(
    homes: Homes,
) -> None:
    alice, bob, carol = [await homes.user() for _ in range(3)]
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id)
    await carol.join(room_id)
    old, new = await alice.send(room_id, "old"), await alice.send(room_id, "new")
    await read_to(carol, room_id, old)
    await read_to(bob, room_id, old, "m.read.private")
    await read_to(alice, room_id, new)
    slider = Slider(bob)
    slider.lists = {"all": rooms_in()}
    slider.extensions = {"receipts": ON}
    event = (await slider.next())["extensions"]["receipts"]["rooms"][room_id]
    assert event["type"] == "m.receipt"
    told = {event_id: set(kinds) for event_id, kinds in event["content"].items()}
    assert told == {old: {"m.read.private"}, new: {"m.read"}}
    assert set(event["content"][new]["m.read"]) == {alice.user_id}
    await read_to(carol, room_id, new)
    event = (await slider.next(timeout_ms=LONG_POLL_MS))["extensions"]["receipts"]["rooms"][room_id]
    assert set(event["content"][new]["m.read"]) == {carol.user_id}
    await read_to(carol, room_id, new, "m.read.private")
    assert "receipts" not in (await slider.next())["extensions"]


async def test_receipts_out_of_range_come_when_the_room_is_back(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    rooms = [await alice.create_room(preset="public_chat") for _ in range(2)]
    for room_id in rooms:
        await bob.join(room_id)
    sent = {room_id: await alice.send(room_id, "hello") for room_id in rooms}
    slider = Slider(bob)
    slider.lists = {"all": rooms_in(0, 9)}
    slider.extensions = {"receipts": ON}
    await slider.next()
    slider.lists = {"all": rooms_in(0, 0)}
    await read_to(alice, rooms[0], sent[rooms[0]])
    assert "receipts" not in (await slider.next())["extensions"]
    await alice.send(rooms[1], "so that the token moves")
    await slider.next()
    slider.lists = {"all": rooms_in(0, 9)}
    told = (await slider.next())["extensions"]["receipts"]["rooms"]
    assert set(told) == {rooms[0]}
    assert set(told[rooms[0]]["content"]) == {sent[rooms[0]]}


async def test_reading_on_brings_the_counts(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id)
    slider = Slider(bob)
    slider.lists = {"all": rooms_in()}
    event_id = await alice.send(room_id, f"hello {bob.user_id}")
    assert (await slider.next())["rooms"][room_id]["notification_count"] == 1
    await read_to(bob, room_id, event_id)
    room = (await slider.next(timeout_ms=LONG_POLL_MS))["rooms"][room_id]
    assert (room["notification_count"], room["highlight_count"]) == (0, 0)
    assert "timeline" not in room


async def test_typing(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    rooms = [await alice.create_room(preset="public_chat") for _ in range(2)]
    for room_id in rooms:
        await bob.join(room_id)

    async def types(room_id: str, *, is_typing: bool) -> None:
        path = f"v3/rooms/{quote(room_id)}/typing/{alice.user_id}"
        (await alice.put(path, {"typing": is_typing, "timeout": LONG_POLL_MS})).ok()

    await types(rooms[1], is_typing=True)
    slider = Slider(bob)
    slider.lists = {"all": rooms_in(0, 0)}
    slider.extensions = {"typing": ON}
    told = (await slider.next())["extensions"]["typing"]["rooms"]
    assert told == {rooms[1]: {"type": "m.typing", "content": {"user_ids": [alice.user_id]}}}
    assert "typing" not in (await slider.next())["extensions"]
    await types(rooms[0], is_typing=True)
    assert "typing" not in (await slider.next())["extensions"], "that room is out of range"
    await types(rooms[1], is_typing=False)
    told = (await slider.next(timeout_ms=LONG_POLL_MS))["extensions"]["typing"]["rooms"]
    assert told == {rooms[1]: {"type": "m.typing", "content": {"user_ids": []}}}


async def test_extensions_are_told_of_the_lists_and_rooms_that_they_name(homes: Homes) -> None:
    alice = await homes.user()
    rooms = [await alice.create_room() for _ in range(3)]
    base = f"v3/user/{alice.user_id}"
    for room_id in rooms:
        (
            await alice.put(f"{base}/rooms/{quote(room_id)}/account_data/org.example.r", {"n": 1})
        ).ok()

    async def told(**scope: Any) -> set[str]:
        slider = Slider(alice)
        slider.lists = {"one": rooms_in(0, 0), "two": rooms_in(1, 1)}
        slider.subscriptions = {rooms[0]: subscription()}
        slider.extensions = {"account_data": {**ON, **scope}}
        return set((await slider.next())["extensions"]["account_data"]["rooms"])

    assert await told() == set(rooms)
    assert await told(lists=["*"], rooms=["*"]) == set(rooms)
    assert await told(lists=["one"], rooms=[]) == {rooms[2]}
    assert await told(lists=[], rooms=[rooms[0], rooms[1]]) == {rooms[0]}
    assert await told(lists=[], rooms=[]) == set()
