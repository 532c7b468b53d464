"""Pushes as a gateway gets them from a whole server."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import pytest_asyncio

from homeserver.config.sections.push import Push
from homeserver.config.settings import Settings
from homeserver.push.gateway import AT_ONCE, AT_ONCE_OF_USER, read_retry_after_ms
from tests.homeserver.conftest import Client, Homes
from tests.homeserver.push.gateway import (
    PushGateway,
    push_gateway,
    pushing_homes,
    settings_with_gateway,
)
from tests.patience import PATIENCE_S


@pytest_asyncio.fixture
async def gateway() -> AsyncIterator[PushGateway]:
    async with push_gateway() as one:
        yield one


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    return settings_with_gateway(database_url, tmp_path)


@pytest_asyncio.fixture
async def homes(settings: Settings) -> AsyncIterator[Homes]:
    async with pushing_homes(settings) as one:
        yield one


async def room_of_two(alice: Client, bob: Client, **options: Any) -> str:
    room_id = await alice.create_room(invite=[bob.user_id], **options)
    await bob.join(room_id)
    return room_id


async def call_oneself(client: Client, name: str) -> None:
    path = f"v3/profile/{quote(client.user_id)}/displayname"
    (await client.put(path, {"displayname": name})).ok()


async def read(client: Client, room_id: str, event_id: str, **body: Any) -> None:
    path = f"v3/rooms/{quote(room_id)}/receipt/m.read/{quote(event_id)}"
    (await client.post(path, body)).ok()


async def test_a_message_is_pushed_with_all_that_the_format_has(
    homes: Homes, gateway: PushGateway
) -> None:
    alice, bob = await homes.user("alice"), await homes.user("bob")
    await call_oneself(alice, "Major Tom")
    room_id = await room_of_two(alice, bob, name="Mission Control", room_alias_name="mission")
    await alice.set_state(room_id, "m.room.canonical_alias", {"alias": "#mission:test"})
    await gateway.follow(bob, data={"default_payload": {"aps": {}}, "x": 1})
    event_id = await alice.send(room_id, "I'm floating")
    notification = await gateway.next()
    pushkey_ts = notification["devices"][0].pop("pushkey_ts")
    assert pushkey_ts > 1_700_000_000
    assert notification == {
        "event_id": event_id,
        "room_id": room_id,
        "type": "m.room.message",
        "sender": alice.user_id,
        "sender_display_name": "Major Tom",
        "room_name": "Mission Control",
        "room_alias": "#mission:test",
        "user_is_target": False,
        "prio": "high",
        "content": {"msgtype": "m.text", "body": "I'm floating"},
        "counts": {"unread": 1},
        "devices": [
            {
                "app_id": "org.example.app",
                "pushkey": "key",
                "data": {"default_payload": {"aps": {}}, "x": 1},
                "tweaks": {"sound": "default"},
            }
        ],
    }


async def test_of_an_event_no_more_is_told_than_its_id_if_the_pusher_wants_so(
    homes: Homes, gateway: PushGateway
) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await room_of_two(alice, bob)
    await gateway.follow(bob, data={"format": "event_id_only"})
    event_id = await alice.send(room_id, "secret")
    notification = await gateway.next()
    assert notification.pop("devices")[0]["data"] == {"format": "event_id_only"}
    assert notification == {
        "event_id": event_id,
        "room_id": room_id,
        "prio": "high",
        "counts": {"unread": 1},
    }


async def test_content_is_left_out_where_the_operator_wants_so(
    settings: Settings, gateway: PushGateway
) -> None:
    async with pushing_homes(replace(settings, push=Push(include_content=False))) as homes:
        alice, bob = await homes.user(), await homes.user()
        room_id = await room_of_two(alice, bob)
        await gateway.follow(bob)
        await alice.send(room_id, "secret")
        notification = await gateway.next()
        assert notification["type"] == "m.room.message"
        assert "content" not in notification


async def test_own_events_and_what_no_rule_notifies_of_are_not_pushed(
    homes: Homes, gateway: PushGateway
) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await room_of_two(alice, bob)
    await gateway.follow(bob)
    await bob.send(room_id, "mine")
    await alice.set_state(room_id, "m.room.topic", {"topic": "quiet"})
    await alice.send(room_id, "quiet too", msgtype="m.notice")
    loud = await alice.send(room_id, "loud")
    assert (await gateway.next())["event_id"] == loud


async def test_priority_and_tweaks_follow_the_rule(homes: Homes, gateway: PushGateway) -> None:
    alice, bob, carol = await homes.user(), await homes.user("bob"), await homes.user()
    room_id = await room_of_two(alice, bob)
    await alice.invite(room_id, carol.user_id)
    await carol.join(room_id)
    await gateway.follow(bob)
    await alice.send(room_id, "to everybody")
    plain = await gateway.next()
    assert plain["prio"] == "low"
    assert "tweaks" not in plain["devices"][0]
    await alice.send(room_id, "bob!", **{"m.mentions": {"user_ids": [bob.user_id]}})
    mention = await gateway.next()
    assert mention["prio"] == "high"
    assert mention["devices"][0]["tweaks"] == {"sound": "default", "highlight": True}
    assert mention["counts"] == {"unread": 2}


async def test_an_encrypted_event_is_urgent(homes: Homes, gateway: PushGateway) -> None:
    alice, bob, carol = await homes.user(), await homes.user(), await homes.user()
    room_id = await room_of_two(alice, bob)
    await alice.invite(room_id, carol.user_id)
    await carol.join(room_id)
    await gateway.follow(bob)
    path = f"v3/rooms/{quote(room_id)}/send/m.room.encrypted/1"
    (await alice.put(path, {"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "x"})).ok()
    notification = await gateway.next()
    assert (notification["type"], notification["prio"]) == ("m.room.encrypted", "high")


async def test_a_missed_call_is_counted(homes: Homes, gateway: PushGateway) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await room_of_two(alice, bob)
    await gateway.follow(bob)
    (await alice.put(f"v3/rooms/{quote(room_id)}/send/m.call.invite/1", {"call_id": "1"})).ok()
    notification = await gateway.next()
    assert notification["counts"] == {"unread": 1, "missed_calls": 1}
    assert notification["devices"][0]["tweaks"] == {"sound": "ring"}


async def test_an_invite_is_pushed_to_who_is_invited(homes: Homes, gateway: PushGateway) -> None:
    alice, bob = await homes.user(), await homes.user()
    await call_oneself(alice, "Alice")
    await gateway.follow(bob)
    room_id = await alice.create_room(name="Party", invite=[bob.user_id])
    notification = await gateway.next()
    assert notification["room_id"] == room_id
    assert notification["user_is_target"] is True
    assert notification["membership"] == "invite"
    assert notification["room_name"] == "Party"
    assert notification["sender_display_name"] == "Alice"


async def test_an_invite_that_is_not_shown_is_not_pushed(
    homes: Homes, gateway: PushGateway
) -> None:
    alice, bob, carol = await homes.user(), await homes.user(), await homes.user()
    await gateway.follow(bob)
    path = f"v3/user/{quote(bob.user_id)}/account_data/org.matrix.msc4155.invite_permission_config"
    (await bob.put(path, {"ignored_users": [alice.user_id]})).ok()
    await alice.create_room(invite=[bob.user_id])
    room_id = await carol.create_room(invite=[bob.user_id])
    assert (await gateway.next())["room_id"] == room_id


async def test_reading_updates_the_badge(homes: Homes, gateway: PushGateway) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await room_of_two(alice, bob)
    await gateway.follow(bob)
    first = await alice.send(room_id, "one")
    assert (await gateway.next())["counts"] == {"unread": 1}
    second = await alice.send(room_id, "two")
    assert (await gateway.next())["counts"] == {"unread": 2}
    await read(bob, room_id, first)
    assert (await gateway.next())["counts"] == {"unread": 1}
    await read(bob, room_id, second)
    badge = await gateway.next()
    assert badge["counts"] == {"unread": 0}
    assert "event_id" not in badge
    assert badge["devices"][0]["pushkey"] == "key"


async def test_a_client_that_counts_by_itself_is_told_no_counts(
    homes: Homes, gateway: PushGateway
) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await room_of_two(alice, bob)
    await gateway.follow(bob, data={"org.matrix.msc4076.disable_badge_count": True})
    first = await alice.send(room_id, "one")
    assert "counts" not in await gateway.next()
    await read(bob, room_id, first)
    second = await alice.send(room_id, "two")
    assert (await gateway.next())["event_id"] == second


async def test_threads_are_counted_and_read_by_themselves(
    homes: Homes, gateway: PushGateway
) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await room_of_two(alice, bob)
    root = await alice.send(room_id, "root")
    await read(bob, room_id, root)
    await gateway.follow(bob)
    relation = {"m.relates_to": {"rel_type": "m.thread", "event_id": root}}
    in_thread = await alice.send(room_id, "in the thread", **relation)
    assert (await gateway.next())["counts"] == {"unread": 1}
    await alice.send(room_id, "in the room")
    assert (await gateway.next())["counts"] == {"unread": 2}
    await read(bob, room_id, in_thread, thread_id=root)
    assert (await gateway.next())["counts"] == {"unread": 1}


async def test_counts_may_be_of_rooms(settings: Settings, gateway: PushGateway) -> None:
    async with pushing_homes(replace(settings, push=Push(badge_counts="rooms"))) as homes:
        alice, bob = await homes.user(), await homes.user()
        room_id, other_id = await room_of_two(alice, bob), await room_of_two(alice, bob)
        await gateway.follow(bob)
        counts = []
        for room in (room_id, room_id, other_id):
            await alice.send(room, "x")
            counts.append((await gateway.next())["counts"]["unread"])
        assert counts == [1, 1, 2]


async def test_a_rejected_pusher_is_removed(homes: Homes, gateway: PushGateway) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await room_of_two(alice, bob)
    await gateway.follow(bob, "old")
    gateway.rejected = ["old", "somebody else's"]
    await alice.send(room_id, "one")
    await gateway.next()
    await gateway.follow(bob, "new")
    gateway.rejected = []
    await alice.send(room_id, "two")
    assert (await gateway.next())["devices"][0]["pushkey"] == "new"
    shown = (await bob.get("v3/pushers")).ok()["pushers"]
    assert [one["pushkey"] for one in shown] == ["new"]


async def test_an_answer_may_come_in_pieces(homes: Homes, gateway: PushGateway) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await room_of_two(alice, bob)
    await gateway.follow(bob)
    gateway.rejected, gateway.pieces = ["key"], 3
    await alice.send(room_id, "one")
    await gateway.next()
    async with asyncio.timeout(PATIENCE_S):
        while (await bob.get("v3/pushers")).ok()["pushers"]:
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    "broken",
    [b"{}", b'{"data": {"url": "https://push.example.org:99999/_matrix/push/v1/notify"}}'],
)
async def test_a_pusher_that_cannot_work_is_left_alone_ever_longer(
    homes: Homes, gateway: PushGateway, broken: bytes
) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await room_of_two(alice, bob)
    await gateway.follow(bob)
    await homes.services.db.execute("UPDATE pushers SET json = $1", broken)
    await alice.send(room_id, "one")
    async with asyncio.timeout(PATIENCE_S):
        while not await homes.services.db.fetchval("SELECT max(failures) FROM pushers"):
            await asyncio.sleep(0.02)
    assert await homes.services.db.fetchval("SELECT min(due_ts) FROM pushers") is not None


@pytest.mark.parametrize(
    ("header", "wait_ms"), [("", 0), ("3", 3_000), ("9" * 5_000, 86_400_000), ("٣", 0), ("-1", 0)]
)
def test_a_gateway_may_ask_to_be_left_alone_for_a_day_at_most(header: str, wait_ms: int) -> None:
    assert read_retry_after_ms(header) == wait_ms


async def test_one_user_takes_not_all_places_at_a_gateway(
    homes: Homes, gateway: PushGateway
) -> None:
    alice, bob, carol = await homes.user(), await homes.user(), await homes.user()
    room_id, other_id = await room_of_two(alice, bob), await room_of_two(alice, carol)
    for number in range(2 * AT_ONCE):
        await gateway.follow(bob, f"bob{number}")
    await gateway.follow(carol, "carol")
    gateway.hold = asyncio.Event()
    await alice.send(room_id, "one")
    for _ in range(AT_ONCE_OF_USER):
        await gateway.next()
    await alice.send(other_id, "two")
    assert (await gateway.next())["devices"][0]["pushkey"] == "carol"
    gateway.hold.set()
    for _ in range(2 * AT_ONCE - AT_ONCE_OF_USER):
        assert (await gateway.next())["devices"][0]["pushkey"].startswith("bob")


async def test_what_a_gateway_refuses_does_not_hold_up_the_rest(
    homes: Homes, gateway: PushGateway
) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await room_of_two(alice, bob)
    await gateway.follow(bob)
    gateway.status = 400
    await alice.send(room_id, "one")
    await gateway.next()
    gateway.status = 200
    second = await alice.send(room_id, "two")
    assert (await gateway.next())["event_id"] == second


async def test_a_push_is_tried_again_after_a_failure(homes: Homes, gateway: PushGateway) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await room_of_two(alice, bob)
    await gateway.follow(bob)
    gateway.status = 502
    event_id = await alice.send(room_id, "one")
    assert (await gateway.next())["event_id"] == event_id
    later = await alice.send(room_id, "two")
    gateway.status = 200
    arrived = [(await gateway.next_with_event())["event_id"]]
    while arrived[-1] != later:
        arrived.append((await gateway.next_with_event())["event_id"])
    assert event_id in arrived


async def test_what_was_read_meanwhile_is_not_pushed_after_a_failure(
    homes: Homes, gateway: PushGateway
) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id, other_id = await room_of_two(alice, bob), await room_of_two(alice, bob)
    await gateway.follow(bob)
    gateway.hold = asyncio.Event()
    gateway.status = 500
    first = await alice.send(room_id, "one")
    assert (await gateway.next())["event_id"] == first
    await read(bob, room_id, first)
    second = await alice.send(other_id, "two")
    gateway.status = 200
    gateway.hold.set()
    assert (await gateway.next_with_event())["event_id"] == second


async def test_after_an_outage_only_the_latest_of_each_room_is_pushed_and_what_stands_out(
    homes: Homes, gateway: PushGateway
) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id, other_id = await room_of_two(alice, bob), await room_of_two(alice, bob)
    await gateway.follow(bob)
    gateway.hold = asyncio.Event()
    gateway.status = 500
    await alice.send(room_id, "the first")
    await gateway.next()
    mention = await alice.send(room_id, "!", **{"m.mentions": {"user_ids": [bob.user_id]}})
    for number in range(10):
        latest = await alice.send(room_id, f"{number}")
    elsewhere = await alice.send(other_id, "elsewhere")
    gateway.status = 200
    gateway.hold.set()
    arrived = [(await gateway.next_with_event())["event_id"] for _ in range(3)]
    assert arrived == [mention, latest, elsewhere]


async def test_pushes_survive_a_restart(settings: Settings, gateway: PushGateway) -> None:
    async with pushing_homes(settings) as homes:
        alice, bob = await homes.user("alice"), await homes.user("bob")
        room_id = await room_of_two(alice, bob)
        await gateway.follow(bob)
        gateway.hold = asyncio.Event()
        event_id = await alice.send(room_id, "one")
        assert (await gateway.next())["event_id"] == event_id
        second = await alice.send(room_id, "two")
    gateway.hold.set()
    async with pushing_homes(settings):
        assert [(await gateway.next())["event_id"] for _ in range(2)] == [event_id, second]


async def test_a_failing_pusher_goes_on_after_a_restart(
    settings: Settings, gateway: PushGateway
) -> None:
    gateway.status = 503
    async with pushing_homes(settings) as homes:
        alice, bob = await homes.user("alice"), await homes.user("bob")
        room_id = await room_of_two(alice, bob)
        await gateway.follow(bob)
        event_id = await alice.send(room_id, "one")
        assert (await gateway.next())["event_id"] == event_id
    gateway.status = 200
    async with pushing_homes(settings):
        assert (await gateway.next_with_event())["event_id"] == event_id


async def test_nothing_is_pushed_twice_after_a_restart(
    settings: Settings, gateway: PushGateway
) -> None:
    async with pushing_homes(settings) as homes:
        alice, bob = await homes.user("alice"), await homes.user("bob")
        room_id = await room_of_two(alice, bob)
        await gateway.follow(bob)
        await alice.send(room_id, "one")
        await gateway.next()
        # What the gateway has taken, but the server does not know of yet, comes again.
        async with asyncio.timeout(PATIENCE_S):
            while not homes.services.pushing.delivery.tally.sent:
                await asyncio.sleep(0.01)
    async with pushing_homes(settings) as homes:
        carol = await homes.user("carol")
        await let_in(homes, room_id, carol)
        second = await carol.send(room_id, "two")
        assert (await gateway.next_with_event())["event_id"] == second


async def let_in(homes: Homes, room_id: str, carol: Client) -> None:
    """Let Carol into the room by Alice, who logs in again."""
    alice = homes.nobody()
    body = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": "alice"},
        "password": "a password that is long",
    }
    homes.log_in(alice, (await alice.post("v3/login", body)).ok())
    await alice.invite(room_id, carol.user_id)
    await carol.join(room_id)


async def test_a_pusher_that_is_switched_off_is_silent(homes: Homes, gateway: PushGateway) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await room_of_two(alice, bob)
    enabled = "org.matrix.msc3881.enabled"
    await gateway.follow(bob, "phone")
    laptop = await homes.second_device(bob)
    await gateway.follow(laptop, "phone", **{enabled: False})
    shown = (await bob.get("v3/pushers")).ok()["pushers"][0]
    assert shown[enabled] is False
    assert shown["org.matrix.msc3881.device_id"] == bob.device_id
    await alice.send(room_id, "one")
    await gateway.follow(laptop, "phone", **{enabled: True})
    second = await alice.send(room_id, "two")
    assert (await gateway.next())["event_id"] == second
    answer = await bob.post("v3/pushers/set", gateway.pusher("phone", **{enabled: 1}))
    answer.refused(400, "M_INVALID_PARAM")


async def test_a_device_that_logs_out_is_pushed_to_no_more(
    homes: Homes, gateway: PushGateway
) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await room_of_two(alice, bob)
    phone = await homes.second_device(bob)
    await gateway.follow(phone, "phone")
    await alice.send(room_id, "one")
    await gateway.next()
    (await phone.post("v3/logout")).ok()
    await gateway.follow(bob, "tablet", append=True)
    await alice.send(room_id, "two")
    assert (await gateway.next_with_event())["devices"][0]["pushkey"] == "tablet"


async def test_messages_of_ignored_users_are_not_pushed(homes: Homes, gateway: PushGateway) -> None:
    alice, bob, carol = await homes.user(), await homes.user(), await homes.user()
    room_id, other_id = await room_of_two(alice, bob), await room_of_two(carol, bob)
    await gateway.follow(bob)
    path = f"v3/user/{quote(bob.user_id)}/account_data/m.ignored_user_list"
    (await bob.put(path, {"ignored_users": {alice.user_id: {}}})).ok()
    await alice.send(room_id, "spam")
    wanted = await carol.send(other_id, "hello")
    assert (await gateway.next())["event_id"] == wanted


async def test_a_rule_that_looks_for_ones_name_finds_it(homes: Homes, gateway: PushGateway) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await room_of_two(alice, bob)
    await call_oneself(bob, "Bob")
    rule = {"conditions": [{"kind": "contains_display_name"}], "actions": ["notify"]}
    (await bob.put("v3/pushrules/global/override/name", rule)).ok()
    mute: dict[str, Any] = {"conditions": [], "actions": []}
    (await bob.put("v3/pushrules/global/override/mute", mute, after="name")).ok()
    await gateway.follow(bob)
    await alice.send(room_id, "hello")
    named = await alice.send(room_id, "hello bob")
    assert (await gateway.next())["event_id"] == named


async def test_a_private_address_is_not_reached_unless_it_is_allowed(
    database_url: str, tmp_path: Path, gateway: PushGateway
) -> None:
    allowed = settings_with_gateway(database_url, tmp_path)
    guarded = replace(allowed, outgoing=replace(allowed.outgoing, allow_ip_ranges=()))
    async with pushing_homes(guarded) as homes:
        alice, bob = await homes.user("alice"), await homes.user("bob")
        room_id = await room_of_two(alice, bob)
        await gateway.follow(bob)
        event_id = await alice.send(room_id, "one")
    assert gateway.asked.empty()
    async with pushing_homes(allowed):
        assert (await gateway.next_with_event())["event_id"] == event_id
