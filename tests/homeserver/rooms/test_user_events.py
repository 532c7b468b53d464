from typing import Any
from urllib.parse import quote

import pytest

from tests.homeserver.conftest import Answer, Client, Homes
from tests.homeserver.rooms.asking import state_content, whole_state


async def send(
    client: Client, room: str, txn_id: str, content: Any, event_type: str = "m.room.message"
) -> Answer:
    return await client.put(f"v3/rooms/{room}/send/{event_type}/{txn_id}", content)


async def redact(client: Client, room: str, event_id: str, txn_id: str, **body: Any) -> Answer:
    return await client.put(f"v3/rooms/{room}/redact/{quote(event_id)}/{txn_id}", body)


async def json_of(homes: Homes, event_id: str) -> Any:
    return await homes.services.db.fetchval(
        "SELECT convert_from(json, 'UTF8')::jsonb::text FROM events WHERE event_id = $1", event_id
    )


async def test_a_transaction_sends_once_for_a_device_room_and_endpoint(homes: Homes) -> None:
    alice = await homes.user()
    room, other = await alice.create_room(), await alice.create_room()
    first = (await send(alice, room, "t", {"body": "1"})).ok()
    assert (await send(alice, room, "t", {"body": "2"})).ok() == first
    assert (await send(alice, other, "t", {"body": "1"})).ok() != first
    assert (await send(alice, room, "t", {"body": "1"}, "m.other")).ok() != first
    assert (await redact(alice, room, first["event_id"], "t")).ok() != first
    again = await homes.second_device(alice)
    assert (await send(again, room, "t", {"body": "1"})).ok() != first


async def test_what_no_event_can_hold_is_refused(homes: Homes) -> None:
    alice = await homes.user()
    room = await alice.create_room()
    for number in (2**53, -(2**53), 1.1):
        (await send(alice, room, "t", {"body": number})).refused(400, "M_BAD_JSON")
    large = {"body": "x" * 66_000}
    (await send(alice, room, "t", large)).refused(413, "M_TOO_LARGE")
    (await alice.put(f"v3/rooms/{room}/state/x", large)).refused(413, "M_TOO_LARGE")
    (await send(alice, room, "t", {}, "x" * 256)).refused(413, "M_TOO_LARGE")
    (await send(alice, room, "t", {}, "m.room.create")).refused(400, "M_INVALID_PARAM")


async def test_only_members_send(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room = await alice.create_room()
    (await send(bob, room, "t", {})).refused(403, "M_FORBIDDEN")
    (await bob.put(f"v3/rooms/{room}/state/x", {})).refused(403, "M_FORBIDDEN")
    (await send(bob, "!none:test", "t", {})).refused(404, "M_NOT_FOUND")


async def test_the_same_annotation_is_taken_once_but_its_transaction_again(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    event_id = await alice.send(room, "hello")
    relation = {"rel_type": "m.annotation", "event_id": event_id, "key": "👍"}
    content = {"m.relates_to": relation}
    first = (await send(alice, room, "t", content, "m.reaction")).ok()
    assert (await send(alice, room, "t", content, "m.reaction")).ok() == first
    answer = await send(alice, room, "u", content, "m.reaction")
    answer.refused(400, "M_DUPLICATE_ANNOTATION")
    (await send(bob, room, "u", content, "m.reaction")).ok()
    (await send(alice, room, "u", content, "m.other")).ok()
    (await redact(alice, room, first["event_id"], "r")).ok()
    (await send(alice, room, "v", content, "m.reaction")).ok()


async def test_threads_do_not_start_in_threads(homes: Homes) -> None:
    alice = await homes.user()
    room = await alice.create_room()
    root = await alice.send(room, "root")
    relation = {"rel_type": "m.thread", "event_id": root}
    child = await alice.send(room, "child", **{"m.relates_to": relation})
    inner = {"body": "x", "m.relates_to": {"rel_type": "m.thread", "event_id": child}}
    (await send(alice, room, "x", inner)).refused(400, "M_UNKNOWN")


@pytest.mark.parametrize("version", ["1", "10", "11", "12"])
async def test_redactions_take_an_event_of_ones_own_or_power(homes: Homes, version: str) -> None:
    alice, bob = await homes.user(), await homes.user()
    room = await alice.create_room(preset="public_chat", room_version=version)
    await bob.join(room)
    of_alice, of_bob = await alice.send(room, "secret"), await bob.send(room, "secret")
    (await redact(bob, room, of_alice, "1")).refused(403, "M_FORBIDDEN")
    (await redact(bob, room, "$none", "2")).refused(404, "M_NOT_FOUND")
    first = (await redact(bob, room, of_bob, "3", reason="oops")).ok()
    assert (await redact(bob, room, of_bob, "3")).ok() == first
    body = {"redacts": of_alice, "reason": "mine"}
    redaction = (await send(alice, room, "4", body, "m.room.redaction")).ok()["event_id"]
    assert "secret" not in await json_of(homes, of_alice)
    assert "secret" not in await json_of(homes, of_bob)
    found = await homes.services.db.fetchval(
        "SELECT redacts FROM redactions JOIN events USING (event_nid) WHERE event_id = $1",
        redaction,
    )
    assert found == of_alice
    (await send(alice, room, "5", {}, "m.room.redaction")).refused(400, "M_BAD_JSON")
    await redact(alice, room, await bob.send(room, "secret"), "6")


async def test_suspended_users_redact_their_own_events_only(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    own, other = await alice.send(room, "hello"), await bob.send(room, "hello")
    await homes.services.db.execute("UPDATE accounts SET is_suspended = true")
    homes.services.users.sessions.forget_all()
    (await redact(alice, room, own, "1")).ok()
    (await redact(alice, room, other, "2")).refused(403, "M_USER_SUSPENDED")
    (await send(alice, room, "3", {})).refused(403, "M_USER_SUSPENDED")
    (await alice.post("v3/createRoom")).refused(403, "M_USER_SUSPENDED")
    (await alice.post(f"v3/rooms/{room}/leave")).ok()


async def test_events_of_another_room_are_not_redacted(homes: Homes) -> None:
    alice = await homes.user()
    room, other = await alice.create_room(), await alice.create_room()
    event_id = await alice.send(other, "hello")
    (await redact(alice, room, event_id, "t")).refused(404, "M_NOT_FOUND")


async def test_saying_the_same_twice_is_one_state_event(homes: Homes) -> None:
    alice = await homes.user()
    room = await alice.create_room()
    first = await alice.set_state(room, "org.example", {"a": 1})
    assert await alice.set_state(room, "org.example", {"a": 1}) == first
    assert await alice.set_state(room, "org.example", {"a": 2}) != first
    assert await alice.set_state(room, "org.example", {"a": 1}) != first


async def test_state_keys_may_be_anything(homes: Homes) -> None:
    alice = await homes.user()
    room = await alice.create_room()
    for state_key in ("", "a/b", "ü?#", alice.user_id):
        await alice.set_state(room, "org.example", {"key": state_key}, state_key)
        assert await state_content(alice, room, "org.example", state_key) == {"key": state_key}
    path = f"v3/rooms/{room}/state/org.example"
    assert (await alice.get(path)).ok() == (await alice.get(path + "/")).ok() == {"key": ""}
    answer = await alice.put(f"{path}/@other:test", {})
    answer.refused(403, "M_FORBIDDEN")
    (await alice.get(f"{path}/none")).refused(404, "M_NOT_FOUND")


@pytest.mark.parametrize("version", ["11", "12"])
async def test_a_room_is_created_once(homes: Homes, version: str) -> None:
    alice = await homes.user()
    room = await alice.create_room(room_version=version)
    path = f"v3/rooms/{room}/state/m.room.create"
    (await alice.put(path, {"room_version": version, "x": 1})).refused(400, "M_INVALID_PARAM")


async def test_malformed_power_levels_are_refused_as_such(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room = await alice.create_room(room_version="12", preset="public_chat")
    path = f"v3/rooms/{room}/state/m.room.power_levels"
    for content in ({"users": {alice.user_id: 100}}, {"ban": "50"}):
        (await alice.put(path, content)).refused(400, "M_INVALID_PARAM")
    answer = await alice.put(path, {"users": {bob.user_id: 2**53}})
    answer.refused(400, "M_BAD_JSON")
    await bob.join(room)
    (await bob.put(path, {"ban": 10})).refused(403, "M_FORBIDDEN")


async def test_an_event_of_the_state_is_shown_whole_when_asked_for(homes: Homes) -> None:
    alice = await homes.user()
    room = await alice.create_room(name="Pub")
    path = f"v3/rooms/{room}/state/m.room.name"
    assert (await alice.get(path, format="content")).ok() == {"name": "Pub"}
    event = (await alice.get(path, format="event")).ok()
    assert event in await whole_state(alice, room)
    assert event["room_id"] == room
    assert (event["type"], event["state_key"], event["sender"]) == (
        "m.room.name",
        "",
        alice.user_id,
    )
    (await alice.get(path, format="x")).refused(400, "M_INVALID_PARAM")


async def test_who_has_left_sees_the_state_of_then(homes: Homes) -> None:
    alice, bob, carol = await homes.user(), await homes.user(), await homes.user()
    room = await alice.create_room(preset="public_chat", name="Before")
    (await bob.get(f"v3/rooms/{room}/state")).refused(403, "M_FORBIDDEN")
    (await bob.get(f"v3/rooms/{room}/state/m.room.name")).refused(403, "M_FORBIDDEN")
    await bob.join(room)
    (await bob.post(f"v3/rooms/{room}/leave")).ok()
    await alice.set_state(room, "m.room.name", {"name": "After"})
    await alice.set_state(room, "org.example", {})
    await carol.join(room)
    assert await state_content(bob, room, "m.room.name") == {"name": "Before"}
    (await bob.get(f"v3/rooms/{room}/state/org.example")).refused(404, "M_NOT_FOUND")
    state = await whole_state(bob, room)
    members = {e["state_key"]: e["content"]["membership"] for e in state if "member" in e["type"]}
    assert members == {alice.user_id: "join", bob.user_id: "leave"}
    await alice.invite(room, bob.user_id)
    (await bob.post(f"v3/rooms/{room}/leave")).ok()
    assert await state_content(bob, room, "m.room.name") == {"name": "Before"}


async def test_everybody_reads_the_state_of_world_readable_rooms(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room = await alice.create_room(name="Pub")
    visibility = {"history_visibility": "world_readable"}
    await alice.set_state(room, "m.room.history_visibility", visibility)
    assert await whole_state(bob, room) == await whole_state(alice, room)
