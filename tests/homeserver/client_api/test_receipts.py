from typing import Any
from urllib.parse import quote

import pytest

from tests.homeserver.conftest import Client, Homes


def receipt(room_id: str, kind: str, event_id: str) -> str:
    return f"v3/rooms/{quote(room_id)}/receipt/{kind}/{quote(event_id)}"


async def receipts_in(client: Client, room_id: str) -> Any:
    joined = (await client.sync())["rooms"]["join"][room_id]
    events = [e for e in joined["ephemeral"]["events"] if e["type"] == "m.receipt"]
    return events[0]["content"] if events else {}


async def fully_read(client: Client, room_id: str) -> Any:
    user = quote(client.user_id)
    return await client.get(f"v3/user/{user}/rooms/{quote(room_id)}/account_data/m.fully_read")


async def test_receipts_come_down_sync(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    first, second = await alice.send(room, "1"), await alice.send(room, "2")
    (await alice.post(receipt(room, "m.read", first))).ok()
    (await alice.post(receipt(room, "m.read.private", second), {"thread_id": "main"})).ok()
    (await alice.request("POST", receipt(room, "m.read", first))).ok()
    of_alice, of_bob = await receipts_in(alice, room), await receipts_in(bob, room)
    assert of_alice[second]["m.read.private"][alice.user_id]["thread_id"] == "main"
    assert list(of_bob) == [first]
    assert "thread_id" not in of_bob[first]["m.read"][alice.user_id]


async def test_the_fully_read_marker_moves_by_both_endpoints(homes: Homes) -> None:
    alice = await homes.user()
    room = await alice.create_room()
    first, second = await alice.send(room, "1"), await alice.send(room, "2")
    markers = f"v3/rooms/{quote(room)}/read_markers"
    (await alice.post(markers, {"m.fully_read": first, "m.read": second})).ok()
    assert (await fully_read(alice, room)).ok() == {"event_id": first}
    assert list(await receipts_in(alice, room)) == [second]
    (await alice.post(receipt(room, "m.fully_read", second))).ok()
    (await alice.post(markers, {"m.fully_read": first})).ok()
    assert (await fully_read(alice, room)).ok() == {"event_id": second}
    (await alice.post(markers)).ok()
    (await alice.post(markers, {"m.read": 1})).refused(400, "M_BAD_JSON")


@pytest.mark.parametrize("thread_id", [1, "", "thread"])
async def test_a_broken_thread_is_refused(homes: Homes, thread_id: Any) -> None:
    alice = await homes.user()
    room = await alice.create_room()
    event = await alice.send(room, "1")
    answer = await alice.post(receipt(room, "m.read", event), {"thread_id": thread_id})
    answer.refused(400, "M_INVALID_PARAM")


async def test_receipts_for_threads_name_events_of_the_thread(homes: Homes) -> None:
    alice = await homes.user()
    room = await alice.create_room()
    root, other = await alice.send(room, "root"), await alice.send(room, "other")
    relation = {"rel_type": "m.thread", "event_id": root}
    reply = await alice.send(room, "reply", **{"m.relates_to": relation})
    (await alice.post(receipt(room, "m.read", reply), {"thread_id": root})).ok()
    answer = await alice.post(receipt(room, "m.read", other), {"thread_id": root})
    answer.refused(400, "M_INVALID_PARAM")
    answer = await alice.post(receipt(room, "m.read", reply), {"thread_id": "main"})
    answer.refused(400, "M_INVALID_PARAM")
    answer = await alice.post(receipt(room, "m.fully_read", reply), {"thread_id": root})
    answer.refused(400, "M_INVALID_PARAM")


async def test_receipts_are_for_members(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room = await alice.create_room()
    event = await alice.send(room, "1")
    (await bob.post(receipt(room, "m.read", event))).refused(403, "M_FORBIDDEN")
    (await alice.post(receipt(room, "m.read", "$nothing"))).refused(404, "M_NOT_FOUND")
    (await alice.post(receipt(room, "m.seen", event))).refused(400, "M_INVALID_PARAM")
