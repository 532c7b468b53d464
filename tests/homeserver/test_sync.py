"""Syncing: what a client hears of, in which section, once."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import quote

import orjson

from storage.changes import Change
from storage.database import Pool
from tests.homeserver.conftest import Client, Homes
from tests.patience import LONG_POLL_MS, PATIENCE_S

EMPTY: dict[str, Any] = {"timeline": {"events": []}}


def bodies(room: Any) -> list[str]:
    """The texts of the messages in a room's timeline."""
    events = room["timeline"]["events"]
    return [e["content"]["body"] for e in events if e["type"] == "m.room.message"]


async def test_an_initial_sync_has_the_room_with_state_before_its_timeline(homes: Homes) -> None:
    alice = await homes.user()
    room_id = await alice.create_room(name="Kitchen", preset="public_chat")
    for n in range(15):
        await alice.send(room_id, f"message {n}")
    room = (await alice.sync())["rooms"]["join"][room_id]
    assert bodies(room) == [f"message {n}" for n in range(5, 15)]
    assert room["timeline"]["limited"] is True
    state = {(e["type"], e["state_key"]): e["content"] for e in room["state"]["events"]}
    assert state["m.room.name", ""] == {"name": "Kitchen"}
    assert state["m.room.member", alice.user_id]["membership"] == "join"
    assert room["summary"]["m.joined_member_count"] == 1


async def test_state_shown_in_the_timeline_is_not_in_the_state_before_it(homes: Homes) -> None:
    alice = await homes.user()
    room_id = await alice.create_room(name="old")
    first = await alice.sync()
    await alice.set_state(room_id, "m.room.name", {"name": "new"})
    room = (await alice.sync())["rooms"]["join"][room_id]
    names = [e["content"]["name"] for e in room["state"]["events"] if e["type"] == "m.room.name"]
    assert names in ([], ["old"])
    shown = [e for e in room["timeline"]["events"] if e["type"] == "m.room.name"]
    assert shown[-1]["content"] == {"name": "new"}
    assert shown[-1]["unsigned"]["prev_content"] == {"name": "old"}
    news = (await alice.sync(first["next_batch"]))["rooms"]["join"][room_id]
    assert news["state"]["events"] == []
    assert [e["type"] for e in news["timeline"]["events"]] == ["m.room.name"]


async def test_a_sync_while_a_message_is_being_told_does_not_skip_it(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id)
    since = (await bob.sync())["next_batch"]
    reached, gate = asyncio.Event(), asyncio.Event()

    async def slow_listener(changes: Sequence[Change], own: bool) -> None:
        reached.set()
        await gate.wait()

    listeners = homes.services.sync._stream._listeners
    listeners.insert(0, slow_listener)
    sending = asyncio.create_task(alice.send(room_id, "hello"))
    await reached.wait()
    syncing = asyncio.create_task(bob.sync(since))
    for _ in range(5):
        await homes.nobody().get("versions")
    gate.set()
    listeners.remove(slow_listener)
    event_id = await sending
    answer = await syncing
    later = await bob.sync(answer["next_batch"])
    shown = [
        event["event_id"]
        for news in (answer, later)
        for event in news.get("rooms", {}).get("join", {}).get(room_id, EMPTY)["timeline"]["events"]
    ]
    assert shown == [event_id]


class OvertakenDatabase:
    """A database where something has always happened by the time that a user's rooms are read."""

    def __init__(self, db: Pool, happens: Callable[[], Awaitable[object]]) -> None:
        self._db = db
        self._happens = happens
        self.readings = 0

    async def fetch(self, query: str, *args: Any) -> list[Any]:
        rows = await self._db.fetch(query, *args)
        self.readings += 1
        await self._happens()
        return rows

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)


async def test_a_first_sync_does_not_wait_until_nobody_writes_any_more(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id)
    db = OvertakenDatabase(homes.services.db, lambda: alice.send(room_id, "and"))
    homes.services.sync._followers._db = db
    async with asyncio.timeout(PATIENCE_S):
        since = (await bob.sync())["next_batch"]
        event_id = await alice.send(room_id, "at last")
        room = (await bob.sync(since))["rooms"]["join"][room_id]
    assert db.readings == 1
    assert room["timeline"]["events"][-1]["event_id"] == event_id


async def test_a_user_who_joins_while_their_rooms_are_read_is_in_the_room(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await alice.create_room(preset="public_chat")
    db = OvertakenDatabase(homes.services.db, lambda: bob.join(room_id))
    homes.services.sync._followers._db = db
    since = (await bob.sync())["next_batch"]
    assert db.readings == 2
    waiting = asyncio.create_task(bob.sync(since, timeout_ms=LONG_POLL_MS))
    event_id = await alice.send(room_id, "hello")
    async with asyncio.timeout(PATIENCE_S):
        room = (await waiting)["rooms"]["join"][room_id]
    assert room["timeline"]["events"][-1]["event_id"] == event_id


async def test_a_waiting_sync_hears_of_a_message_at_once(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id)
    since = (await bob.sync())["next_batch"]
    waiting = asyncio.create_task(bob.sync(since, timeout_ms=LONG_POLL_MS))
    event_id = await alice.send(room_id, "hello")
    async with asyncio.timeout(PATIENCE_S):
        news = await waiting
    events = news["rooms"]["join"][room_id]["timeline"]["events"]
    assert [e["event_id"] for e in events] == [event_id]
    assert "transaction_id" not in events[0]["unsigned"]
    assert events[0]["unsigned"]["membership"] == "join"


async def test_a_sender_is_answered_before_the_message_comes_by_sync(homes: Homes) -> None:
    alice = await homes.user("alice")
    room_id = await alice.create_room()
    since = (await alice.sync())["next_batch"]
    came: list[str] = []

    async def hear() -> str:
        news = await alice.sync(since, timeout_ms=LONG_POLL_MS)
        came.append("news")
        return str(news["next_batch"])

    for number in range(20):
        waiting = asyncio.create_task(hear())
        await alice.send(room_id, f"line {number}")
        came.append("answer")
        since = await waiting
    assert came == ["answer", "news"] * 20


async def test_only_the_sending_device_sees_its_transaction_id(homes: Homes) -> None:
    alice = await homes.user()
    other = await homes.second_device(alice)
    room_id = await alice.create_room()
    since = (await alice.sync())["next_batch"]
    await alice.send(room_id, "hello")
    for client, expected in ((alice, "t1"), (other, None)):
        for news in (await client.sync(since), await client.sync()):
            event = news["rooms"]["join"][room_id]["timeline"]["events"][-1]
            assert event["unsigned"].get("transaction_id") == expected


async def test_a_sync_without_news_waits_for_its_timeout_and_keeps_the_token(homes: Homes) -> None:
    alice = await homes.user()
    await alice.create_room()
    since = (await alice.sync())["next_batch"]
    assert (await alice.sync(since, timeout_ms=100))["next_batch"] == since


async def test_invites_come_with_stripped_state_and_a_join_brings_the_whole_room(
    homes: Homes,
) -> None:
    alice, bob = await homes.user(), await homes.user()
    since = (await bob.sync())["next_batch"]
    room_id = await alice.create_room(name="Kitchen")
    await alice.invite(room_id, bob.user_id)
    news = await bob.sync(since)
    stripped = {
        (e["type"], e["state_key"]): e["content"]
        for e in news["rooms"]["invite"][room_id]["invite_state"]["events"]
    }
    assert stripped["m.room.name", ""] == {"name": "Kitchen"}
    assert stripped["m.room.member", bob.user_id]["membership"] == "invite"
    assert ("m.room.member", alice.user_id) in stripped
    assert ("m.room.power_levels", "") not in stripped
    await bob.join(room_id)
    room = (await bob.sync(news["next_batch"]))["rooms"]["join"][room_id]
    everything = room["state"]["events"] + room["timeline"]["events"]
    assert {"m.room.create", "m.room.power_levels"} <= {e["type"] for e in everything}


async def test_leaving_shows_the_room_as_left_once_and_nothing_after(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id)
    since = (await bob.sync())["next_batch"]
    (await bob.post(f"v3/rooms/{room_id}/leave")).ok()
    await alice.send(room_id, "behind your back")
    news = await bob.sync(since)
    assert room_id not in news["rooms"].get("join", {})
    events = news["rooms"]["leave"][room_id]["timeline"]["events"]
    assert [e["content"].get("membership") for e in events] == ["leave"]
    assert "rooms" not in await bob.sync(news["next_batch"])
    filter_with_left = orjson.dumps({"room": {"include_leave": True}}).decode()
    everything = await bob.sync(filter=filter_with_left)
    assert "behind your back" not in bodies(everything["rooms"]["leave"][room_id])


async def test_who_was_put_out_of_a_room_hears_so_also_at_first(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    left, banned, kicked, forgotten = [
        await alice.create_room(preset="public_chat") for _ in "1234"
    ]
    for room_id in (left, banned, kicked, forgotten):
        await bob.join(room_id)
    (await bob.post(f"v3/rooms/{left}/leave")).ok()
    for room_id, way in ((banned, "ban"), (kicked, "kick"), (forgotten, "ban")):
        (await alice.post(f"v3/rooms/{room_id}/{way}", {"user_id": bob.user_id})).ok()
    (await bob.post(f"v3/rooms/{forgotten}/forget")).ok()
    shown = (await bob.sync())["rooms"]["leave"]
    assert shown.keys() == {banned, kicked}
    assert shown[banned]["timeline"]["events"][-1]["content"]["membership"] == "ban"


async def test_a_declined_invite_tells_nothing_of_the_room(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await alice.create_room(topic="secret plans")
    await alice.invite(room_id, bob.user_id)
    since = (await bob.sync())["next_batch"]
    await alice.send(room_id, "secret message")
    (await bob.post(f"v3/rooms/{room_id}/leave")).ok()
    room = (await bob.sync(since))["rooms"]["leave"][room_id]
    assert room["state"]["events"] == []
    assert [e["type"] for e in room["timeline"]["events"]] == ["m.room.member"]
    assert [e["state_key"] for e in room["timeline"]["events"]] == [bob.user_id]


async def test_a_gap_tells_the_state_that_changed_in_it(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await alice.create_room(preset="public_chat", name="one")
    await bob.join(room_id)
    since = (await alice.sync())["next_batch"]
    await alice.set_state(room_id, "m.room.name", {"name": "two"})
    await alice.set_state(room_id, "m.room.topic", {"topic": "in the gap"})
    for n in range(20):
        await bob.send(room_id, f"{n}")
    await alice.set_state(room_id, "m.room.name", {"name": "three"})
    room = (await alice.sync(since))["rooms"]["join"][room_id]
    assert room["timeline"]["limited"] is True
    assert len(room["timeline"]["events"]) == 10
    state = {e["type"]: e["content"] for e in room["state"]["events"]}
    assert state == {"m.room.name": {"name": "two"}, "m.room.topic": {"topic": "in the gap"}}
    after = (await alice.sync(since, use_state_after="true"))["rooms"]["join"][room_id]
    assert "state" not in after
    state = {e["type"]: e["content"] for e in after["state_after"]["events"]}
    assert state["m.room.name"] == {"name": "three"}
    page = (
        await alice.get(
            f"v3/rooms/{room_id}/messages",
            dir="b",
            limit=100,
            **{"from": room["timeline"]["prev_batch"]},
        )
    ).ok()["chunk"]
    texts = [e["content"]["body"] for e in page if e["type"] == "m.room.message"]
    assert texts == [f"{n}" for n in range(10, -1, -1)]


async def test_the_state_after_the_timeline_goes_by_the_name_that_was_asked_for(
    homes: Homes,
) -> None:
    alice = await homes.user()
    room_id = await alice.create_room()
    since = (await alice.sync())["next_batch"]
    await alice.set_state(room_id, "m.room.topic", {"topic": "new"})
    unstable, stable = "org.matrix.msc4222.use_state_after", "use_state_after"

    async def told(**query: Any) -> set[str]:
        room = (await alice.sync(since, **query))["rooms"]["join"][room_id]
        return {key for key in room if "state" in key}

    assert await told(**{unstable: "true"}) == {"org.matrix.msc4222.state_after"}
    assert await told(**{stable: "true"}) == {"state_after"}
    assert await told(**{stable: "true", unstable: "true"}) == {"state_after"}
    assert await told(**{stable: "false"}) == {"state"}


async def test_full_state_tells_all_state_of_all_rooms(homes: Homes) -> None:
    alice = await homes.user()
    room_id = await alice.create_room(name="Kitchen")
    since = (await alice.sync())["next_batch"]
    news = await alice.sync(since, full_state="true")
    types = {e["type"] for e in news["rooms"]["join"][room_id]["state"]["events"]}
    assert {"m.room.create", "m.room.name", "m.room.member"} <= types


async def test_lazy_loading_sends_the_members_of_the_timeline_once(homes: Homes) -> None:
    alice, bob, carol = [await homes.user() for _ in range(3)]
    room_id = await alice.create_room(preset="public_chat", name="Kitchen")
    await bob.join(room_id)
    await carol.join(room_id)
    for n in range(12):
        await alice.send(room_id, f"{n}")
    lazy = orjson.dumps(
        {"room": {"state": {"lazy_load_members": True}, "timeline": {"limit": 5}}}
    ).decode()

    def members(room: Any) -> set[str]:
        return {e["state_key"] for e in room["state"]["events"] if e["type"] == "m.room.member"}

    first = await carol.sync(filter=lazy)
    assert members(first["rooms"]["join"][room_id]) == {alice.user_id, carol.user_id}
    await bob.send(room_id, "hello")
    second = await carol.sync(first["next_batch"], filter=lazy)
    assert members(second["rooms"]["join"][room_id]) == {bob.user_id}
    await bob.send(room_id, "again")
    third = await carol.sync(second["next_batch"], filter=lazy)
    assert members(third["rooms"]["join"][room_id]) == set()


async def test_members_that_change_are_told_to_who_loads_the_others_lazily(homes: Homes) -> None:
    alice, bob, carol, dave = [await homes.user() for _ in range(4)]
    room_id = await alice.create_room(preset="public_chat", name="Kitchen")
    for user in (bob, carol):
        await user.join(room_id)
    lazy = orjson.dumps({"room": {"state": {"lazy_load_members": True}, "timeline": {"limit": 2}}})

    async def next_members(since: str, key: str, **options: Any) -> dict[str, str]:
        news = await carol.sync(since, filter=lazy.decode(), **options)
        events = news["rooms"]["join"][room_id][key]["events"]
        members = [e for e in events if e["type"] == "m.room.member"]
        return {e["state_key"]: e["content"]["membership"] for e in members}

    since = (await carol.sync(filter=lazy.decode()))["next_batch"]
    (await alice.post(f"v3/rooms/{quote(room_id)}/kick", {"user_id": bob.user_id})).ok()
    told = await next_members(since, "state_after", use_state_after="true")
    assert told == {alice.user_id: "join", bob.user_id: "leave"}
    await dave.join(room_id)
    for n in range(3):
        await alice.send(room_id, f"{n}")
    changes = {bob.user_id: "leave", dave.user_id: "join"}
    assert await next_members(since, "state") == changes | {alice.user_id: "join"}
    told = await next_members(since, "state_after", use_state_after="true")
    assert told == changes | {alice.user_id: "join"}


async def test_the_end_of_an_invite_is_told_in_the_state_after_it(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await alice.create_room()
    await alice.invite(room_id, bob.user_id)
    since = (await bob.sync(use_state_after="true"))["next_batch"]
    (await bob.post(f"v3/rooms/{quote(room_id)}/leave")).ok()
    room = (await bob.sync(since, use_state_after="true"))["rooms"]["leave"][room_id]
    (own,) = room["state_after"]["events"]
    assert (own["state_key"], own["content"]["membership"]) == (bob.user_id, "leave")
    assert [event["event_id"] for event in room["timeline"]["events"]] == [own["event_id"]]
    room = (await bob.sync(since))["rooms"]["leave"][room_id]
    assert room["state"]["events"] == []


async def test_lazily_loaded_members_are_told_again_if_an_answer_was_lost(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await alice.create_room(preset="public_chat", name="Kitchen")
    await bob.join(room_id)
    for n in range(3):
        await bob.send(room_id, f"{n}")
    lazy = orjson.dumps({"room": {"state": {"lazy_load_members": True}, "timeline": {"limit": 2}}})

    async def news(since: str) -> tuple[str, set[str]]:
        answer = await bob.sync(since, filter=lazy.decode())
        events = answer["rooms"]["join"][room_id]["state"]["events"]
        return answer["next_batch"], {e["state_key"] for e in events}

    since = (await bob.sync(filter=lazy.decode()))["next_batch"]
    await alice.send(room_id, "hello")
    _, told = await news(since)
    assert told == {alice.user_id}
    since, told = await news(since)
    assert alice.user_id in told
    await alice.send(room_id, "again")
    _, told = await news(since)
    assert told == set()


async def test_heroes_stand_for_a_room_without_a_name(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id)
    summary = (await alice.sync())["rooms"]["join"][room_id]["summary"]
    assert summary == {
        "m.heroes": [bob.user_id],
        "m.joined_member_count": 2,
        "m.invited_member_count": 0,
    }


async def test_a_room_that_loses_its_name_gets_heroes_with_their_members(homes: Homes) -> None:
    alice, bob, carol = [await homes.user() for _ in range(3)]
    room_id = await alice.create_room(preset="public_chat", name="Kitchen")
    for user in (bob, carol):
        await user.join(room_id)
    for n in range(3):
        await carol.send(room_id, f"{n}")
    lazy = orjson.dumps({"room": {"state": {"lazy_load_members": True}, "timeline": {"limit": 2}}})
    for content in ({}, {"name": ""}):
        for options in ({}, {"use_state_after": "true"}):
            await alice.set_state(room_id, "m.room.name", {"name": "Kitchen"})
            since = (await carol.sync(filter=lazy.decode()))["next_batch"]
            await alice.set_state(room_id, "m.room.name", content)
            news = await carol.sync(since, 0, filter=lazy.decode(), **options)
            room = news["rooms"]["join"][room_id]
            assert room["summary"]["m.heroes"] == [alice.user_id, bob.user_id]
            events = (room.get("state_after") or room["state"])["events"]
            members = {e["state_key"] for e in events if e["type"] == "m.room.member"}
            assert bob.user_id in members


async def test_a_filter_chooses_rooms_types_and_senders(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    one = await alice.create_room(preset="public_chat")
    other = await alice.create_room()
    await bob.join(one)
    await alice.send(one, "from alice")
    await bob.send(one, "from bob")
    wanted = {
        "room": {
            "rooms": [one],
            "timeline": {"types": ["m.room.message"], "senders": [bob.user_id]},
            "state": {"types": ["m.room.create"]},
        }
    }
    rooms = (await alice.sync(filter=orjson.dumps(wanted).decode()))["rooms"]["join"]
    assert other not in rooms
    assert bodies(rooms[one]) == ["from bob"]
    assert {e["type"] for e in rooms[one]["state"]["events"]} == {"m.room.create"}


async def test_redacted_events_of_the_window_come_redacted(homes: Homes) -> None:
    alice = await homes.user()
    room_id = await alice.create_room()
    since = (await alice.sync())["next_batch"]
    event_id = await alice.send(room_id, "regretted")
    (await alice.put(f"v3/rooms/{room_id}/redact/{event_id}/r1")).ok()
    events = (await alice.sync(since))["rooms"]["join"][room_id]["timeline"]["events"]
    assert events[0]["event_id"] == event_id
    assert events[0]["content"] == {}
    assert events[0]["unsigned"]["redacted_because"]["type"] == "m.room.redaction"


async def test_unread_counts_rise_with_messages_and_fall_with_receipts(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id)
    since = (await bob.sync())["next_batch"]
    for n in range(3):
        last = await alice.send(room_id, f"{n}")
    await alice.send(room_id, "you there?", **{"m.mentions": {"user_ids": [bob.user_id]}})
    news = await bob.sync(since)
    counts = news["rooms"]["join"][room_id]["unread_notifications"]
    assert counts == {"notification_count": 4, "highlight_count": 1}
    (await bob.post(f"v3/rooms/{room_id}/receipt/m.read/{last}")).ok()
    room = (await bob.sync(news["next_batch"]))["rooms"]["join"][room_id]
    assert room["unread_notifications"] == {"notification_count": 1, "highlight_count": 1}
    assert room["ephemeral"]["events"][0]["type"] == "m.receipt"
    again = (await bob.sync())["rooms"]["join"][room_id]
    assert again["unread_notifications"] == {"notification_count": 1, "highlight_count": 1}


async def test_typing_is_told_and_taken_back(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id)
    since = (await bob.sync())["next_batch"]
    path = f"v3/rooms/{room_id}/typing/{alice.user_id}"
    for typing, expected in ((True, [alice.user_id]), (False, [])):
        waiting = asyncio.create_task(bob.sync(since, timeout_ms=LONG_POLL_MS))
        (await alice.put(path, {"typing": typing, "timeout": LONG_POLL_MS})).ok()
        news = await waiting
        since = news["next_batch"]
        (event,) = news["rooms"]["join"][room_id]["ephemeral"]["events"]
        assert event == {"type": "m.typing", "content": {"user_ids": expected}}


async def test_account_data_of_user_and_room_is_told(homes: Homes) -> None:
    alice = await homes.user()
    room_id = await alice.create_room()
    since = (await alice.sync())["next_batch"]
    (await alice.put(f"v3/user/{alice.user_id}/account_data/org.example", {"a": 1})).ok()
    (
        await alice.put(f"v3/user/{alice.user_id}/rooms/{room_id}/account_data/org.room", {"b": 2})
    ).ok()
    for news in (await alice.sync(since), await alice.sync()):
        data = {e["type"]: e["content"] for e in news["account_data"]["events"]}
        assert data["org.example"] == {"a": 1}
        room = news["rooms"]["join"][room_id]
        assert room["account_data"]["events"] == [{"type": "org.room", "content": {"b": 2}}]


async def test_an_old_token_is_answered_like_a_new_one(homes: Homes) -> None:
    """The database tells what the window has forgotten."""
    alice, bob = await homes.user(), await homes.user()
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id)
    since = (await bob.sync())["next_batch"]
    await alice.send(room_id, "one")
    await alice.send(room_id, "two")
    from_window = await bob.sync(since)
    window = homes.services.sync._stream.window
    window.start = window.position
    from_database = await bob.sync(since)
    assert from_database == from_window


async def test_every_client_hears_every_message_once_and_in_order(homes: Homes) -> None:
    senders = [await homes.user() for _ in range(4)]
    reader = await homes.user()
    room_id = await senders[0].create_room(preset="public_chat")
    for client in (*senders[1:], reader):
        await client.join(room_id)
    since = (await reader.sync())["next_batch"]

    async def talk(client: Client) -> None:
        for n in range(25):
            await client.send(room_id, f"{client.user_id} {n}")

    talking = asyncio.gather(*(talk(client) for client in senders))
    heard: list[str] = []
    wide = orjson.dumps({"room": {"timeline": {"limit": 200}}}).decode()
    while len(heard) < 100:
        news = await reader.sync(since, timeout_ms=LONG_POLL_MS, filter=wide)
        since = news["next_batch"]
        if "rooms" in news:
            heard += bodies(news["rooms"]["join"][room_id])
    await talking
    assert len(set(heard)) == len(heard) == 100
    for client in senders:
        own = [int(text.split()[1]) for text in heard if text.startswith(client.user_id + " ")]
        assert own == sorted(own)


async def test_an_invite_that_the_user_does_not_take_is_not_shown(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    config = {"ignored_users": [alice.user_id]}
    path = f"v3/user/{bob.user_id}/account_data/org.matrix.msc4155.invite_permission_config"
    (await bob.put(path, config)).ok()
    since = (await bob.sync())["next_batch"]
    room_id = await alice.create_room()
    await alice.invite(room_id, bob.user_id)
    assert "invite" not in (await bob.sync(since)).get("rooms", {})
    assert "invite" not in (await bob.sync()).get("rooms", {})


async def test_the_presence_of_a_newcomer_is_told_with_the_join(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await alice.create_room(preset="public_chat")
    (await bob.put(f"v3/presence/{bob.user_id}/status", {"presence": "online"})).ok()
    since = (await alice.sync())["next_batch"]
    await bob.join(room_id)
    news = await alice.sync(since)
    assert [e["sender"] for e in news["presence"]["events"]] == [bob.user_id]
