"""What application services are told, and in which order, whatever happens meanwhile."""

import asyncio
from pathlib import Path
from urllib.parse import quote

from tests.homeserver.appservices.bridge import Bridge, BridgedHomes, bridged, path_of
from tests.patience import LONG_POLL_MS


async def test_a_service_is_told_of_rooms_with_its_users(
    homes: BridgedHomes, bridge: Bridge
) -> None:
    alice, ghost = await homes.user("alice"), await homes.ghost(bridge, "bob")
    shared, private = await alice.create_room(), await alice.create_room()
    await alice.send(private, "not for the bridge")
    await alice.invite(shared, ghost.user_id)
    await ghost.join(shared)
    event_id = await alice.send(shared, "hello")
    event = await bridge.wait_for_event(event_id)
    assert event["room_id"] == shared
    assert event["content"]["body"] == "hello"
    assert event["sender"] == alice.user_id
    assert "age" in event["unsigned"]
    memberships = [
        (e["state_key"], e["content"]["membership"])
        for e in bridge.events
        if e["type"] == "m.room.member"
    ]
    assert memberships == [(ghost.user_id, "invite"), (ghost.user_id, "join")]
    assert {e["room_id"] for e in bridge.events} == {shared}


async def test_an_invite_shows_the_room(homes: BridgedHomes, bridge: Bridge) -> None:
    alice = await homes.user("alice")
    room_id = await alice.create_room(name="Den", invite=[bridge.sender])
    await bridge.wait_for(lambda: bridge.events)
    (event,) = bridge.events
    assert event["state_key"] == bridge.sender
    shown = {(e["type"], e["state_key"]) for e in event["unsigned"]["invite_room_state"]}
    assert ("m.room.name", "") in shown
    assert event["room_id"] == room_id


async def test_state_events_tell_what_they_replaced(homes: BridgedHomes, bridge: Bridge) -> None:
    alice, ghost = await homes.user("alice"), await homes.ghost(bridge, "bob")
    room_id = await alice.create_room(preset="public_chat", topic="old")
    await ghost.join(room_id)
    event_id = await alice.set_state(room_id, "m.room.topic", {"topic": "new"})
    event = await bridge.wait_for_event(event_id)
    assert event["unsigned"]["prev_content"]["topic"] == "old"


async def test_interest_ends_with_the_last_user_and_the_leave_is_told(
    homes: BridgedHomes, bridge: Bridge
) -> None:
    alice, ghost = await homes.user("alice"), await homes.ghost(bridge, "bob")
    room_id = await alice.create_room(preset="public_chat")
    await ghost.join(room_id)
    told = await alice.send(room_id, "told")
    (await ghost.post(path_of(room_id, "leave"))).ok()
    untold = await alice.send(room_id, "untold")
    await ghost.join(room_id)
    again = await alice.send(room_id, "again")
    await bridge.wait_for_event(again)
    ids = [event["event_id"] for event in bridge.events]
    assert told in ids
    assert untold not in ids
    assert any(event["content"].get("membership") == "leave" for event in bridge.events)


async def test_rooms_and_aliases_are_of_interest_without_users(
    database_url: str, tmp_path: Path
) -> None:
    namespaces = {
        "users": [],
        "aliases": [{"regex": "#irc_.*:test", "exclusive": False}],
        "rooms": [{"regex": "!.*", "exclusive": False}],
    }
    by_room = Bridge("watcher", "a1", "h1", fields={"namespaces": namespaces})
    by_alias = Bridge("aliases", "a2", "h2", fields={"namespaces": {**namespaces, "rooms": []}})
    async with (
        by_room.running(),
        by_alias.running(),
        bridged(database_url, tmp_path, by_room, by_alias) as homes,
    ):
        alice = await homes.user("alice")
        plain, named = await alice.create_room(), await alice.create_room()
        (await alice.put(f"v3/directory/room/{quote('#irc_den:test')}", {"room_id": named})).ok()
        in_plain = await alice.send(plain, "one")
        in_named = await alice.send(named, "two")
        await by_room.wait_for_event(in_plain)
        await by_room.wait_for_event(in_named)
        await by_alias.wait_for_event(in_named)
        assert {event["room_id"] for event in by_alias.events} == {named}


async def test_a_bridge_that_was_away_is_told_everything_once_in_order(
    homes: BridgedHomes, bridge: Bridge
) -> None:
    alice, ghost = await homes.user("alice"), await homes.ghost(bridge, "bob")
    room_id = await alice.create_room(preset="public_chat")
    other = await alice.create_room()
    await ghost.join(room_id)
    await bridge.wait_for_event(await alice.send(room_id, "before"))
    await bridge.stop()
    sent = []
    for number in range(1_000):
        sent.append(await alice.send(room_id, f"message {number}"))
        if number % 10 == 0:
            await alice.send(other, "for nobody")
    await homes.come_back(bridge)
    await bridge.wait_for_event(sent[-1])
    ids = [e["event_id"] for e in bridge.events if e["event_id"] in set(sent)]
    assert ids == sent
    assert all(event["room_id"] == room_id for event in bridge.events)
    assert max(len(txn.body["events"]) for txn in bridge.transactions) <= 100


async def test_what_was_missed_is_told_although_the_user_has_gone_since(
    homes: BridgedHomes, bridge: Bridge
) -> None:
    alice, ghost = await homes.user("alice"), await homes.ghost(bridge, "bob")
    room_id = await alice.create_room(preset="public_chat")
    await ghost.join(room_id)
    await bridge.wait_for_event(await alice.send(room_id, "before"))
    await bridge.stop()
    missed = await alice.send(room_id, "while away")
    for number in range(1_050):
        last = await alice.send(room_id, f"message {number}")
    (await alice.post(path_of(room_id, "kick"), {"user_id": ghost.user_id})).ok()
    unseen = await alice.send(room_id, "after the kick")
    await homes.come_back(bridge)
    await bridge.wait_for(
        lambda: bridge.events and bridge.events[-1]["content"].get("membership") == "leave"
    )
    ids = [event["event_id"] for event in bridge.events]
    assert missed in ids
    assert last in ids
    assert unseen not in ids


async def test_a_failing_transaction_comes_again_as_it_was(
    homes: BridgedHomes, bridge: Bridge
) -> None:
    alice, ghost = await homes.user("alice"), await homes.ghost(bridge, "bob")
    room_id = await alice.create_room(preset="public_chat")
    await ghost.join(room_id)
    bridge.statuses = [500, 403]
    first = await alice.send(room_id, "one")
    await bridge.wait_for_event(first)
    tried = [path for method, path in bridge.requests if first and "/transactions/" in path]
    assert len(tried) > len(set(tried))


async def test_a_bridge_that_hangs_holds_nobody_up(database_url: str, tmp_path: Path) -> None:
    slow, quick = Bridge("slow", "a1", "h1"), Bridge("quick", "a2", "h2")
    async with (
        slow.running(),
        quick.running(),
        bridged(database_url, tmp_path, slow, quick) as homes,
    ):
        alice = await homes.user("alice")
        room_id = await alice.create_room(preset="public_chat")
        slow.hold = asyncio.Event()
        for bridge in (slow, quick):
            await (await homes.ghost(bridge, "bob")).join(room_id)
        sent = [await alice.send(room_id, f"message {number}") for number in range(150)]
        await quick.wait_for_event(sent[-1])
        assert not slow.transactions
        slow.hold.set()
        await slow.wait_for_event(sent[-1])
        assert [e["event_id"] for e in slow.events if e["event_id"] in set(sent)] == sent


async def test_a_restart_repeats_what_was_under_way_under_its_id(
    database_url: str, tmp_path: Path
) -> None:
    bridge = Bridge()
    async with bridge.running():
        async with bridged(database_url, tmp_path, bridge) as homes:
            alice, ghost = await homes.user("alice"), await homes.ghost(bridge, "bob")
            room_id = await alice.create_room(preset="public_chat")
            await ghost.join(room_id)
            await bridge.wait_for(lambda: bridge.events)
            bridge.statuses = [500] * 10_000
            under_way = await alice.send(room_id, "under way")
            await bridge.wait_for(lambda: "500" in bridge.headers)
            later = await alice.send(room_id, "later")
        tried = bridge.requests[-1][1]
        bridge.statuses = []
        async with bridged(database_url, tmp_path, bridge) as homes:
            await bridge.wait_for_event(later)
    (repeated,) = [txn for txn in bridge.transactions if txn.path == tried]
    assert [event["event_id"] for event in repeated.body["events"]][-1:] == [under_way]
    ids = [event["event_id"] for event in bridge.events]
    assert ids.index(under_way) < ids.index(later)
    assert len(ids) == len(set(ids))


async def test_a_bridge_that_was_given_up_is_not_told_of_the_past(
    database_url: str, tmp_path: Path
) -> None:
    async with Bridge().running() as bridge:
        async with bridged(database_url, tmp_path, bridge) as homes:
            alice, ghost = await homes.user("alice"), await homes.ghost(bridge, "bob")
            room_id = await alice.create_room(preset="public_chat")
            await ghost.join(room_id)
            await bridge.wait_for_event(await alice.send(room_id, "before"))
        async with bridged(database_url, tmp_path) as homes:
            alice = homes.again(alice)
            untold = await alice.send(room_id, "in between")
        async with bridged(database_url, tmp_path, bridge) as homes:
            await bridge.wait_for_event(await homes.again(alice).send(room_id, "after"))
    assert untold not in [event["event_id"] for event in bridge.events]


async def test_a_bridge_of_old_is_told_on_the_path_of_old(
    homes: BridgedHomes, bridge: Bridge
) -> None:
    bridge.legacy_only = True
    alice = await homes.user("alice")
    await alice.create_room(invite=[bridge.sender])
    await bridge.wait_for(lambda: bridge.events)
    assert bridge.transactions[0].path.startswith("/transactions/")


async def test_typing_receipts_and_presence_are_told(homes: BridgedHomes, bridge: Bridge) -> None:
    alice, ghost = await homes.user("alice"), await homes.ghost(bridge, "bob")
    room_id = await alice.create_room(preset="public_chat")
    await ghost.join(room_id)
    event_id = await alice.send(room_id, "one")
    await bridge.wait_for_event(event_id)
    typing = {"typing": True, "timeout": LONG_POLL_MS}
    (await alice.put(path_of(room_id, f"typing/{alice.user_id}"), typing)).ok()
    (await alice.post(path_of(room_id, f"receipt/m.read/{quote(event_id)}"))).ok()
    (await alice.post(path_of(room_id, f"receipt/m.read.private/{quote(event_id)}"))).ok()
    presence = {"presence": "online", "status_msg": "here"}
    (await alice.put(f"v3/presence/{alice.user_id}/status", presence)).ok()
    await bridge.wait_for(
        lambda: (
            {"m.typing", "m.receipt", "m.presence"} <= {e["type"] for e in bridge.told("ephemeral")}
        )
    )
    told = {event["type"]: event for event in bridge.told("ephemeral")}
    assert told["m.typing"]["room_id"] == room_id
    assert told["m.typing"]["content"] == {"user_ids": [alice.user_id]}
    receipts = told["m.receipt"]["content"][event_id]
    assert list(receipts) == ["m.read"]
    assert "ts" in receipts["m.read"][alice.user_id]
    assert told["m.presence"]["sender"] == alice.user_id
    assert told["m.presence"]["content"]["status_msg"] == "here"


async def test_a_service_that_did_not_ask_is_told_of_events_only(
    database_url: str, tmp_path: Path
) -> None:
    bridge = Bridge()
    async with bridge.running(), bridged(database_url, tmp_path, bridge) as homes:
        alice, ghost = await homes.user("alice"), await homes.ghost(bridge, "bob")
        room_id = await alice.create_room(preset="public_chat")
        await ghost.join(room_id)
        event_id = await alice.send(room_id, "one")
        (await alice.post(path_of(room_id, f"receipt/m.read/{quote(event_id)}"))).ok()
        await bridge.wait_for_event(await alice.send(room_id, "two"))
    assert all(set(txn.body) == {"events"} for txn in bridge.transactions)
