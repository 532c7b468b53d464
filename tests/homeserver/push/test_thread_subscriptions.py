"""Threads notify those who are subscribed to them, where the configuration says so."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
import pytest_asyncio

from homeserver.app import running
from homeserver.config.sections.push import Push
from homeserver.config.settings import Settings
from tests.homeserver.conftest import Client, Homes
from tests.homeserver.push.gateway import (
    PushGateway,
    push_gateway,
    pushing_homes,
    settings_with_gateway,
)
from tests.homeserver.rooms.test_thread_subscriptions import reply, subscribe, unsubscribe
from tests.homeserver.test_query_counts import watching

MEMBERS = 6
APART = '{"room":{"timeline":{"unread_thread_notifications":true}}}'
RULES = ".io.element.msc4306.rule"


@pytest_asyncio.fixture
async def gateway() -> AsyncIterator[PushGateway]:
    async with push_gateway() as one:
        yield one


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    settings = settings_with_gateway(database_url, tmp_path)
    return replace(settings, push=Push(thread_subscriptions=True))


@pytest_asyncio.fixture
async def homes(settings: Settings) -> AsyncIterator[Homes]:
    async with pushing_homes(settings) as one:
        yield one


async def room_of(alice: Client, *others: Client) -> str:
    """A room of all of them."""
    room_id = await alice.create_room(preset="public_chat")
    for other in others:
        await other.join(room_id)
    return room_id


async def counts(client: Client, room_id: str, root_id: str) -> tuple[int, int]:
    """What is unread of the main timeline and of a thread."""
    room = (await client.sync(filter=APART))["rooms"]["join"][room_id]
    thread = room.get("unread_thread_notifications", {}).get(root_id, {})
    return room["unread_notifications"]["notification_count"], thread.get("notification_count", 0)


async def test_the_rules_are_shown_and_may_be_turned_off_but_not_added_to(homes: Homes) -> None:
    alice = await homes.user()
    features = (await alice.get("versions")).ok()["unstable_features"]
    assert features["org.matrix.msc4306"] is True
    rules = (await alice.get("v3/pushrules/")).ok()["global"]
    kind = "io.element.msc4306.thread_subscription"
    tweak = {"set_tweak": "sound", "value": "default"}
    base = {"default": True, "enabled": True}
    assert rules["postcontent"] == [
        {
            "rule_id": f"{RULES}.unsubscribed_thread",
            "conditions": [{"kind": kind, "subscribed": False}],
            "actions": [],
            **base,
        },
        {
            "rule_id": f"{RULES}.subscribed_thread",
            "conditions": [{"kind": kind, "subscribed": True}],
            "actions": ["notify", tweak],
            **base,
        },
    ]
    body: dict[str, Any] = {"actions": [], "conditions": []}
    added = await alice.put("v3/pushrules/global/postcontent/mine", body)
    added.refused(400, "M_INVALID_PARAM")
    path = f"v3/pushrules/global/postcontent/{RULES}.unsubscribed_thread"
    (await alice.put(f"{path}/enabled", {"enabled": False})).ok()
    assert (await alice.get(path)).ok()["enabled"] is False


async def test_without_the_setting_threads_notify_as_the_specification_has_it(
    settings: Settings, gateway: PushGateway
) -> None:
    async with pushing_homes(replace(settings, push=Push())) as homes:
        alice, bob = await homes.user("alice"), await homes.user("bob")
        features = (await alice.get("versions")).ok()["unstable_features"]
        assert features["org.matrix.msc4306"] is False
        assert "postcontent" not in (await bob.get("v3/pushrules/")).ok()["global"]
        (await bob.get(f"v3/pushrules/global/postcontent/{RULES}.subscribed_thread")).refused(
            404, "M_NOT_FOUND"
        )
        await gateway.follow(bob)
        room_id = await room_of(alice, bob)
        event_id = await reply(alice, room_id, await alice.send(room_id, "root"))
        await gateway.next_with_event()
        assert (await gateway.next_with_event())["event_id"] == event_id


async def test_a_thread_is_pushed_to_its_subscribers_only(
    homes: Homes, gateway: PushGateway
) -> None:
    alice, bob, carol = [await homes.user(name) for name in ("alice", "bob", "carol")]
    room_id = await room_of(alice, bob, carol)
    root_id = await alice.send(room_id, "root")
    for client in (bob, carol):
        await gateway.follow(client, client.user_id)
    (await subscribe(bob, room_id, root_id)).ok()
    muted: dict[str, Any] = {"actions": []}
    (await bob.put(f"v3/pushrules/global/room/{quote(room_id)}", muted)).ok()
    in_thread = await reply(alice, room_id, root_id)
    told = await gateway.next_with_event()
    assert (told["event_id"], told["devices"][0]["pushkey"]) == (in_thread, bob.user_id)
    assert told["devices"][0]["tweaks"] == {"sound": "default"}
    await unsubscribe(bob, room_id, root_id)
    await reply(alice, room_id, root_id, "nobody hears of it")
    mention = {"m.mentions": {"user_ids": [bob.user_id]}}
    relation = {"m.relates_to": {"rel_type": "m.thread", "event_id": root_id}}
    mentioned = await alice.send(room_id, "but of this", **mention, **relation)
    told = await gateway.next_with_event()
    assert (told["event_id"], told["devices"][0]["pushkey"]) == (mentioned, bob.user_id)
    aside = await alice.send(room_id, "outside of the thread")
    told = await gateway.next_with_event()
    assert (told["event_id"], told["devices"][0]["pushkey"]) == (aside, carol.user_id)
    assert told["counts"] == {"unread": 2}, "the root and what came last"


async def test_what_is_unread_follows_the_subscription(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await room_of(alice, bob)
    root_id = await alice.send(room_id, "root")
    await reply(alice, room_id, root_id)
    assert await counts(bob, room_id, root_id) == (1, 0)
    (await subscribe(bob, room_id, root_id)).ok()
    assert await counts(bob, room_id, root_id) == (1, 1)
    await reply(alice, room_id, root_id)
    assert await counts(bob, room_id, root_id) == (1, 2)
    listed = (await bob.get("v3/notifications")).ok()["notifications"]
    assert len(listed) == 3
    await unsubscribe(bob, room_id, root_id)
    await reply(alice, room_id, root_id)
    assert await counts(bob, room_id, root_id) == (1, 0)
    assert len((await bob.get("v3/notifications")).ok()["notifications"]) == 1


async def test_a_restart_keeps_whom_a_thread_notifies(
    settings: Settings, gateway: PushGateway
) -> None:
    async with aiohttp.ClientSession() as session:
        async with running(settings) as server:
            homes = Homes(server, session)
            alice, bob = await homes.user("alice"), await homes.user("bob")
            room_id = await room_of(alice, bob)
            root_id = await alice.send(room_id, "root")
            await gateway.follow(bob)
            (await subscribe(bob, room_id, root_id)).ok()
        async with running(settings) as server:
            again = Homes(server, session).nobody()
            again.token = alice.token
            path = f"v3/rooms/{quote(room_id)}/send/m.room.message/later"
            relation = {"rel_type": "m.thread", "event_id": root_id}
            content = {"msgtype": "m.text", "body": "still there?", "m.relates_to": relation}
            event_id = (await again.put(path, content)).ok()["event_id"]
            assert (await gateway.next_with_event())["event_id"] == event_id


async def test_subscribers_are_read_together_and_for_threads_only(
    homes: Homes, gateway: PushGateway
) -> None:
    alice = await homes.user()
    members = [await homes.user() for _ in range(MEMBERS)]
    room_id = await room_of(alice, *members)
    root_id = await alice.send(room_id, "root")
    for client in members:
        await gateway.follow(client, client.user_id)
        (await subscribe(client, room_id, root_id)).ok()
    with watching(homes.services.db) as queries:
        await alice.send(room_id, "outside of the thread")
        for _ in members:
            await gateway.next_with_event()
    assert not [text for text in queries.texts if "thread_subscriptions" in text]
    with watching(homes.services.db) as queries:
        for _ in range(2):
            await reply(alice, room_id, root_id)
            for _ in members:
                await gateway.next_with_event()
    assert len([text for text in queries.texts if "thread_subscriptions" in text]) == 1
