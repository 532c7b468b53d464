"""Messages from device to device on one server."""

import asyncio
from typing import Any

import aiohttp

from homeserver.app import running
from homeserver.encryption.to_device import MAX_AT_ONCE
from tests.homeserver.conftest import Answer, Client, Homes
from tests.patience import LONG_POLL_MS, PATIENCE_S

BLOCKED = """
    SELECT count(*)
      FROM pg_locks
     WHERE relation = 'to_device_messages'::regclass AND NOT granted
       AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


async def send(client: Client, txn_id: str, messages: Any, kind: str = "m.test") -> Answer:
    return await client.put(f"v3/sendToDevice/{kind}/{txn_id}", {"messages": messages})


def contents(answer: Any) -> list[Any]:
    return [one["content"] for one in answer.get("to_device", {}).get("events", ())]


async def stored(homes: Homes) -> int:
    count: int = await homes.services.db.fetchval("SELECT count(*) FROM to_device_messages")
    return count


async def test_a_message_reaches_its_device_and_no_other(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    phone = await homes.second_device(bob)
    (await send(alice, "1", {bob.user_id: {bob.device_id: {"n": 1}}})).ok()
    assert (await bob.sync())["to_device"]["events"] == [
        {"type": "m.test", "sender": alice.user_id, "content": {"n": 1}}
    ]
    assert "to_device" not in await phone.sync()
    assert "to_device" not in await alice.sync()


async def test_a_star_stands_for_all_devices_that_have_no_message_of_their_own(
    homes: Homes,
) -> None:
    alice, bob = await homes.user(), await homes.user()
    phone = await homes.second_device(bob)
    (await send(alice, "1", {bob.user_id: {"*": {"n": 1}, phone.device_id: {"n": 2}}})).ok()
    assert contents(await bob.sync()) == [{"n": 1}]
    assert contents(await phone.sync()) == [{"n": 2}]


async def test_messages_are_told_until_the_next_token_says_that_they_have_come(
    homes: Homes,
) -> None:
    alice, bob = await homes.user(), await homes.user()
    since = (await bob.sync())["next_batch"]
    for n in range(3):
        (await send(alice, f"t{n}", {bob.user_id: {"*": {"n": n}}})).ok()
    expected = [{"n": n} for n in range(3)]
    assert contents(await bob.sync(since)) == expected
    answer = await bob.sync(since)
    assert contents(answer) == expected
    assert await stored(homes) == 3
    since = answer["next_batch"]
    assert contents(await bob.sync(since)) == []
    assert await stored(homes) == 0
    (await send(alice, "later", {bob.user_id: {"*": {"n": 3}}})).ok()
    assert contents(await bob.sync(since)) == [{"n": 3}]


async def test_many_messages_come_in_order_in_several_responses(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    since = (await bob.sync())["next_batch"]
    count = 2 * MAX_AT_ONCE + 5
    for n in range(count):
        (await send(alice, f"t{n}", {bob.user_id: {bob.device_id: {"n": n}}})).ok()
    room_id = await bob.create_room()
    told: list[int] = []
    sizes, rooms = [], []
    while len(told) < count:
        # A response that is lost is made again.
        lost, answer = await bob.sync(since), await bob.sync(since)
        assert contents(lost) == contents(answer)
        sizes.append(len(contents(answer)))
        told += [content["n"] for content in contents(answer)]
        rooms += answer.get("rooms", {}).get("join", ())
        since = answer["next_batch"]
    assert told == list(range(count))
    assert sizes == [MAX_AT_ONCE, MAX_AT_ONCE, 5]
    assert rooms == [room_id]
    assert "to_device" not in await bob.sync(since)
    assert await stored(homes) == 0


async def test_a_waiting_sync_is_woken(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    since = (await bob.sync())["next_batch"]
    waiting = asyncio.create_task(bob.sync(since, timeout_ms=LONG_POLL_MS))
    (await send(alice, "1", {bob.user_id: {bob.device_id: {"n": 1}}})).ok()
    async with asyncio.timeout(PATIENCE_S):
        assert contents(await waiting) == [{"n": 1}]


async def test_what_happens_while_messages_are_looked_for_is_not_waited_for(
    homes: Homes,
) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id)
    (await send(alice, "1", {bob.user_id: {"*": {}}})).ok()
    since = (await bob.sync())["next_batch"]
    async with homes.services.db.transaction() as db:
        await db.execute("LOCK TABLE to_device_messages IN ACCESS EXCLUSIVE MODE")
        waiting = asyncio.create_task(bob.sync(since, timeout_ms=LONG_POLL_MS))
        async with asyncio.timeout(PATIENCE_S):
            while await homes.services.db.fetchval(BLOCKED) == 0:
                await asyncio.sleep(0)
        await alice.send(room_id, "meanwhile")
    async with asyncio.timeout(PATIENCE_S):
        assert room_id in (await waiting)["rooms"]["join"]


async def test_a_request_that_is_repeated_counts_once(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    phone = await homes.second_device(alice)
    for client in (alice, alice, phone):
        (await send(client, "same", {bob.user_id: {"*": {}}})).ok()
    together = [send(alice, "at once", {bob.user_id: {"*": {}}}) for _ in range(5)]
    for answer in await asyncio.gather(*together):
        answer.ok()
    (await send(alice, "same", {bob.user_id: {"*": {}}}, kind="m.other")).ok()
    assert len(contents(await bob.sync())) == 4


async def test_messages_outlast_a_restart_and_are_not_told_again(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    (await send(alice, "1", {bob.user_id: {"*": {"n": 1}}})).ok()
    since = (await bob.sync())["next_batch"]
    (await send(alice, "2", {bob.user_id: {"*": {"n": 2}}})).ok()
    async with (
        running(homes.services.settings) as server,
        aiohttp.ClientSession() as session,
    ):
        there = Client(session, f"http://127.0.0.1:{server.port}")
        there.token, there.user_id = bob.token, bob.user_id
        answer = await there.sync(since)
        assert contents(answer) == [{"n": 2}]
        assert contents(await there.sync(answer["next_batch"])) == []
    assert await stored(homes) == 0


async def test_messages_go_with_their_device(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    phone = await homes.second_device(bob)
    (await send(alice, "1", {bob.user_id: {"*": {}}})).ok()
    (await phone.post("v3/logout")).ok()
    assert await stored(homes) == 1


async def test_who_does_not_exist_gets_nothing(homes: Homes) -> None:
    alice = await homes.user()
    (await send(alice, "1", {"@nobody:test": {"*": {}}, alice.user_id: {"GONE": {}}})).ok()
    (await send(alice, "2", {"@bob:elsewhere.test": {"*": {}}})).ok()
    assert await stored(homes) == 0
    edus = await homes.services.db.fetchval("SELECT count(*) FROM outgoing_edus")
    assert edus == 0, "federation is off"


async def test_a_bridge_sends_a_key_to_all_devices_of_a_large_room_at_once(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    key = {"algorithm": "m.olm.v1.curve25519-aes-sha2", "ciphertext": "k" * 1_000}
    absent = {f"@u{n}:elsewhere.test": {f"D{m}": key for m in range(5)} for n in range(800)}
    (await send(alice, "1", {**absent, bob.user_id: {bob.device_id: key}})).ok()
    assert contents(await bob.sync()) == [key]


async def test_what_is_no_message_is_refused(homes: Homes) -> None:
    alice = await homes.user()
    bad = [[], {alice.user_id: []}, {alice.user_id: {"*": 1}}, {alice.user_id: {"*": None}}]
    for messages in bad:
        (await send(alice, "1", messages)).refused(400, "M_BAD_JSON")
    (await send(alice, "1", {"nobody": {"*": {}}})).refused(400, "M_INVALID_PARAM")
    (await send(alice, "1", {}, kind="x" * 256)).refused(400, "M_INVALID_PARAM")
    (await alice.put("v3/sendToDevice/m.test/1", {})).refused(400, "M_MISSING_PARAM")
    too_many: dict[str, Any] = {alice.user_id: {f"D{n}": {} for n in range(10_001)}}
    (await send(alice, "1", too_many)).refused(400, "M_BAD_JSON")
