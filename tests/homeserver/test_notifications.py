"""Unread counts and the listing of notifications."""

from typing import Any
from urllib.parse import quote

import pytest

from tests.homeserver.conftest import Client, Homes
from tests.patience import LONG_POLL_MS


async def two_in_a_room(homes: Homes) -> tuple[Client, Client, str]:
    alice, bob = await homes.user(), await homes.user()
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id)
    return alice, bob, room_id


async def test_notifications_are_listed_newest_first_in_pages(homes: Homes) -> None:
    alice, bob, room_id = await two_in_a_room(homes)
    sent = [await alice.send(room_id, str(n)) for n in range(7)]
    listed: list[str] = []
    token: str | None = None
    while True:
        page = (
            await bob.get("v3/notifications", limit=3, **({"from": token} if token else {}))
        ).ok()
        listed += [item["event"]["event_id"] for item in page["notifications"]]
        assert all(item["room_id"] == room_id for item in page["notifications"])
        token = page.get("next_token")
        if token is None:
            break
    assert [event_id for event_id in listed if event_id in sent] == sent[::-1]
    assert len(set(listed)) == len(listed)
    own = (await alice.get("v3/notifications")).ok()["notifications"]
    assert not [item for item in own if item["event"]["sender"] == alice.user_id]


async def test_only_highlights_are_listed_on_request_and_receipts_mark_them_read(
    homes: Homes,
) -> None:
    alice, bob, room_id = await two_in_a_room(homes)
    await alice.send(room_id, "to nobody")
    mention = await alice.send(room_id, "to bob", **{"m.mentions": {"user_ids": [bob.user_id]}})
    (item,) = (await bob.get("v3/notifications", only="highlight")).ok()["notifications"]
    assert item["event"]["event_id"] == mention
    assert item["read"] is False
    (await bob.post(f"v3/rooms/{room_id}/receipt/m.read/{mention}")).ok()
    (item,) = (await bob.get("v3/notifications", only="highlight")).ok()["notifications"]
    assert item["read"] is True


async def test_whoever_is_called_by_name_finds_it_among_the_highlights(homes: Homes) -> None:
    alice, bob, room_id = await two_in_a_room(homes)
    (await bob.put(f"v3/profile/{quote(bob.user_id)}/displayname", {"displayname": "Bobby"})).ok()
    rule = {
        "conditions": [{"kind": "contains_display_name"}],
        "actions": ["notify", {"set_tweak": "highlight"}],
    }
    (await bob.put("v3/pushrules/global/override/called", rule)).ok()
    await alice.send(room_id, "to nobody")
    called = await alice.send(room_id, "where is Bobby?")
    (item,) = (await bob.get("v3/notifications", only="highlight")).ok()["notifications"]
    assert item["event"]["event_id"] == called


async def test_what_ignored_users_say_is_neither_counted_nor_listed(homes: Homes) -> None:
    alice, bob, room_id = await two_in_a_room(homes)
    await alice.send(room_id, "before")
    sliding = {"lists": {"all": {"ranges": [[0, 9]], "timeline_limit": 0, "required_state": []}}}

    async def counts() -> tuple[int, int, int]:
        room = (await bob.sync())["rooms"]["join"][room_id]
        slid = (await bob.post("unstable/org.matrix.simplified_msc3575/sync", sliding)).ok()
        listed = (await bob.get("v3/notifications")).ok()["notifications"]
        senders = [item["event"]["sender"] for item in listed]
        return (
            room["unread_notifications"]["notification_count"],
            slid["rooms"][room_id].get("notification_count", 0),
            senders.count(alice.user_id),
        )

    assert await counts() == (1, 1, 1)
    path = f"v3/user/{quote(bob.user_id)}/account_data/m.ignored_user_list"
    (await bob.put(path, {"ignored_users": {alice.user_id: {}}})).ok()
    assert await counts() == (0, 0, 0)
    await alice.send(room_id, "unseen")
    assert await counts() == (0, 0, 0)
    (await bob.put(path, {"ignored_users": {}})).ok()
    assert await counts() == (2, 2, 2)


async def test_a_broken_token_is_refused(homes: Homes) -> None:
    alice = await homes.user()
    for token in ("nonsense", "9" * 19, "٣", "-1"):
        (await alice.get("v3/notifications", **{"from": token})).refused(400, "M_INVALID_PARAM")


async def test_threads_are_counted_apart_when_the_filter_says_so(homes: Homes) -> None:
    alice, bob, room_id = await two_in_a_room(homes)
    root = await alice.send(room_id, "root")
    threaded = {"m.relates_to": {"rel_type": "m.thread", "event_id": root}}
    await alice.send(room_id, "in the thread", **threaded)
    last = await alice.send(room_id, "in the thread", **threaded)
    apart = '{"room":{"timeline":{"unread_thread_notifications":true}}}'
    room = (await bob.sync(filter=apart))["rooms"]["join"][room_id]
    assert room["unread_notifications"]["notification_count"] == 1
    assert room["unread_thread_notifications"][root]["notification_count"] == 2
    together = (await bob.sync())["rooms"]["join"][room_id]
    assert together["unread_notifications"]["notification_count"] == 3
    assert "unread_thread_notifications" not in together
    receipt = f"v3/rooms/{room_id}/receipt/m.read/{quote(last)}"
    (await bob.post(receipt, {"thread_id": root})).ok()
    room = (await bob.sync(filter=apart))["rooms"]["join"][room_id]
    assert room["unread_notifications"]["notification_count"] == 1
    assert "unread_thread_notifications" not in room


@pytest.mark.parametrize("fields", ["", '"event_fields":["content"],'])
async def test_what_is_unread_is_told_with_whatever_is_told_of_a_room(
    homes: Homes, fields: str
) -> None:
    alice, bob, room_id = await two_in_a_room(homes)
    root = await alice.send(room_id, "root")
    threaded = {"m.relates_to": {"rel_type": "m.thread", "event_id": root}}
    await alice.send(room_id, "in the thread", **threaded)
    apart = f'{{{fields}"room":{{"timeline":{{"unread_thread_notifications":true}}}}}}'

    def check(room: Any) -> None:
        assert room["timeline"]["events"] == []
        assert room["unread_notifications"]["notification_count"] == 1
        assert room["unread_thread_notifications"][root]["notification_count"] == 1

    since = (await bob.sync(filter=apart))["next_batch"]
    typing = f"v3/rooms/{quote(room_id)}/typing/{quote(alice.user_id)}"
    (await alice.put(typing, {"typing": True, "timeout": LONG_POLL_MS})).ok()
    news = await bob.sync(since, filter=apart)
    check(news["rooms"]["join"][room_id])
    data = f"v3/user/{quote(bob.user_id)}/rooms/{quote(room_id)}/account_data/org.example"
    (await bob.put(data, {"a": 1})).ok()
    news = await bob.sync(news["next_batch"], filter=apart)
    check(news["rooms"]["join"][room_id])


async def test_a_muted_room_counts_nothing(homes: Homes) -> None:
    alice, bob, room_id = await two_in_a_room(homes)
    rule = f"v3/pushrules/global/room/{quote(room_id)}"
    (await bob.put(rule, {"actions": []})).ok()
    await alice.send(room_id, "unheard")
    counts = (await bob.sync())["rooms"]["join"][room_id]["unread_notifications"]
    assert counts == {"notification_count": 0, "highlight_count": 0}


async def test_counts_survive_a_window_that_has_forgotten(homes: Homes) -> None:
    alice, bob, room_id = await two_in_a_room(homes)
    since = (await bob.sync())["next_batch"]
    await alice.send(room_id, "one")
    window = homes.services.sync._stream.window
    window.start = window.position
    await alice.send(room_id, "two")
    news = await bob.sync(since)
    counts = news["rooms"]["join"][room_id]["unread_notifications"]
    assert counts["notification_count"] == 2
