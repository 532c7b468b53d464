"""Keys and messages take a number of queries that does not grow with how many there are."""

import asyncio
from collections import Counter
from typing import Any

from federation.protocol.identifiers import UserId
from homeserver.http.request_id import CURRENT_REQUEST_ID
from homeserver.rooms.send import NewEvent
from tests.homeserver.conftest import Client, Homes
from tests.homeserver.encryption.device import device_of, one_time_keys, query
from tests.homeserver.encryption.test_cross_signing import identity_of
from tests.homeserver.test_query_counts import LARGE, OURS, SMALL, until_waiting, watching
from tests.patience import LONG_POLL_MS, PATIENCE_S


async def people(homes: Homes, count: int) -> list[Client]:
    """Users with two devices each, and with cross-signing keys."""
    users = [await homes.user() for _ in range(count)]
    for user in users:
        await device_of(user)
        await device_of(await homes.second_device(user))
        await identity_of(user)
    return users


async def test_keys_of_many_users_are_read_at_once(homes: Homes) -> None:
    alice = await homes.user()
    asked, told = [], []
    for size in (SMALL, LARGE):
        users = await people(homes, size)
        with watching(homes.services.db) as queries:
            seen = await query(alice, *users)
        told.append(sum(map(len, seen["device_keys"].values())))
        asked.append(Counter(queries.texts))
    assert told == [2 * SMALL, 2 * LARGE]
    assert asked[1] - asked[0] == Counter()


async def test_messages_to_many_devices_are_sent_and_read_at_once(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    since = (await bob.sync())["next_batch"]
    asked, told = [], []
    for size in (SMALL, LARGE):
        users = [await homes.user() for _ in range(size)]
        for n in range(size):
            messages: dict[str, Any] = {user.user_id: {"*": {}} for user in (bob, *users)}
            with watching(homes.services.db) as sending:
                path = f"v3/sendToDevice/m.test/t{size}-{n}"
                (await alice.put(path, {"messages": messages})).ok()
        with watching(homes.services.db) as reading:
            answer = await bob.sync(since)
        since = answer["next_batch"]
        told.append(len(answer["to_device"]["events"]))
        asked.append(Counter(sending.texts + reading.texts))
    assert told == [SMALL, LARGE]
    assert asked[1] - asked[0] == Counter()


async def test_changes_of_many_users_are_told_at_once(homes: Homes) -> None:
    alice = await homes.user()
    asked, told = [], []
    for size in (SMALL, LARGE):
        since = (await alice.sync())["next_batch"]
        users = await people(homes, size)
        for user in users:
            room_id = await alice.create_room(preset="public_chat")
            await user.join(room_id)
        with watching(homes.services.db) as queries:
            path = "v3/keys/changes"
            changed = (await alice.get(path, **{"from": since, "to": since})).ok()["changed"]
        told.append(len(changed))
        asked.append(Counter(queries.texts))
    assert told == [SMALL + 1, LARGE + 1]
    assert asked[1] - asked[0] == Counter()


async def test_a_sync_of_a_device_with_keys_that_keeps_up_takes_no_query(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id)
    device = await device_of(bob)
    fallback = one_time_keys(9)
    (await device.upload(one_time_keys=one_time_keys(1, 2), fallback_keys=fallback)).ok()
    messages: dict[str, Any] = {bob.user_id: {bob.device_id: {}}}
    (await alice.put("v3/sendToDevice/m.test/t", {"messages": messages})).ok()
    since = (await bob.sync())["next_batch"]
    since = (await bob.sync(since))["next_batch"]
    await alice.send(room_id, "the first one")
    since = (await bob.sync(since))["next_batch"]
    CURRENT_REQUEST_ID.set(OURS)
    hello = NewEvent(UserId(alice.user_id), "m.room.message", {"msgtype": "m.text", "body": "hi"})
    with watching(homes.services.db) as queries:
        for _ in range(SMALL):
            waiting = asyncio.create_task(bob.sync(since, timeout_ms=LONG_POLL_MS))
            await until_waiting(homes, bob)
            await homes.services.send.send(room_id, hello)
            async with asyncio.timeout(PATIENCE_S):
                answer = await waiting
            since = answer["next_batch"]
            assert answer["device_one_time_keys_count"] == {"signed_curve25519": 2}
            assert answer["device_unused_fallback_key_types"] == ["signed_curve25519"]
    assert queries.texts == []
