"""A server that was restored knows less than its clients: they go on nevertheless."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import nio
import pytest_asyncio

from homeserver.app import running
from homeserver.config.settings import Settings
from homeserver.jobs.transaction_ids import purge_events
from storage.database import open_pool
from storage.feed import current_position
from tests.homeserver.backup.saving import back_up, elsewhere, restore
from tests.homeserver.backup.test_round_trip import again
from tests.homeserver.conftest import Homes, settings_for_tests
from tests.homeserver.encryption.device import claim, device_of, one_time_keys
from tests.homeserver.sliding.slider import Slider, rooms_in
from tests.homeserver.test_matrix_nio import PASSWORD, say, synced
from tests.homeserver.test_matrix_nio_encryption import encrypted_room, housekeeping
from tests.patience import LONG_POLL_MS


@dataclass
class Lives:
    """A server before and after it is restored; one at a time runs."""

    first: Settings
    second: Settings
    session: aiohttp.ClientSession
    path: Path

    @asynccontextmanager
    async def before(self) -> AsyncIterator[Homes]:
        async with running(self.first) as server:
            yield Homes(server, self.session)

    async def back_up(self) -> None:
        await back_up(self.first, self.path)

    @asynccontextmanager
    async def after(self, *, nothing_lost: bool = False) -> AsyncIterator[Homes]:
        await restore(self.path, self.second, nothing_lost=nothing_lost)
        async with running(self.second) as server:
            yield Homes(server, self.session)


@pytest_asyncio.fixture
async def lives(
    database_url: str, unmigrated_database_url: str, tmp_path: Path
) -> AsyncIterator[Lives]:
    first = settings_for_tests(database_url, tmp_path)
    second = elsewhere(first, tmp_path / "second", unmigrated_database_url)
    async with aiohttp.ClientSession() as session:
        yield Lives(first, second, session, tmp_path / "backup.tar")


def texts(answer: Any, room_id: str) -> list[str]:
    events = answer["rooms"]["join"][room_id]["timeline"]["events"]
    return [one["content"]["body"] for one in events if one["type"] == "m.room.message"]


def position(answer: Any) -> int:
    return int(answer["next_batch"].removeprefix("s").split("_")[0])


async def test_a_token_of_what_is_lost_is_answered_with_everything(lives: Lives) -> None:
    async with lives.before() as homes:
        alice = await homes.user("alice")
        room_id = await alice.create_room()
        await alice.send(room_id, "kept")
        await lives.back_up()
        for number in range(30):
            await alice.send(room_id, f"lost {number}")
        ahead = (await alice.sync())["next_batch"]
    async with lives.after() as homes:
        alice = again(homes, alice)
        answer = await alice.sync(ahead, timeout_ms=LONG_POLL_MS)
        assert texts(answer, room_id) == ["kept"]
        room = answer["rooms"]["join"][room_id]
        whole = [*room["state"]["events"], *room["timeline"]["events"]]
        assert "m.room.create" in {event["type"] for event in whole}
        assert answer["device_lists"]["changed"] == [alice.user_id]
        assert position(answer) > position({"next_batch": ahead})
        await alice.send(room_id, "and on")
        assert texts(await alice.sync(answer["next_batch"]), room_id) == ["and on"]


async def test_a_token_from_before_the_backup_is_as_good_as_ever(lives: Lives) -> None:
    async with lives.before() as homes:
        alice = await homes.user("alice")
        room_id = await alice.create_room()
        await alice.send(room_id, "told")
        behind = (await alice.sync())["next_batch"]
        await alice.send(room_id, "not told")
        await lives.back_up()
        at_the_backup = (await alice.sync())["next_batch"]
        await alice.send(room_id, "lost")
    async with lives.after() as homes:
        alice = again(homes, alice)
        assert texts(await alice.sync(behind), room_id) == ["not told"]
        answer = await alice.sync(at_the_backup, timeout_ms=0)
        assert "join" not in answer.get("rooms", {})


async def test_the_same_backup_may_be_restored_twice(lives: Lives) -> None:
    """Tokens of the life after the first restore are as lost as those of the one before."""
    async with lives.before() as homes:
        alice = await homes.user("alice")
        room_id = await alice.create_room()
        await alice.send(room_id, "kept")
        await lives.back_up()
    async with lives.after() as homes:
        alice = again(homes, alice)
        await alice.send(room_id, "lost")
        lost = (await alice.sync())["next_batch"]
    await restore(lives.path, lives.second, overwrite=True)
    async with running(lives.second) as server:
        alice = again(Homes(server, lives.session), alice)
        await alice.send(room_id, "third life")
        assert texts(await alice.sync(lost), room_id) == ["kept", "third life"]


async def test_a_move_without_a_loss_costs_clients_nothing(lives: Lives) -> None:
    async with lives.before() as homes:
        alice, bob = await homes.user("alice"), await homes.user("bob")
        await (await device_of(bob)).upload(one_time_keys=one_time_keys(1))
        room_id = await alice.create_room()
        since = (await alice.sync())["next_batch"]
    await lives.back_up()
    async with lives.after(nothing_lost=True) as homes:
        alice, bob = again(homes, alice), again(homes, bob)
        await alice.send(room_id, "and on")
        answer = await alice.sync(since)
        assert texts(answer, room_id) == ["and on"]
        assert answer["rooms"]["join"][room_id].get("state", {}).get("events", []) == []
        assert position(answer) == position({"next_batch": since}) + 1
        assert await claim(alice, bob)


async def test_one_time_keys_are_not_given_away_twice(lives: Lives) -> None:
    async with lives.before() as homes:
        alice, bob = await homes.user("alice"), await homes.user("bob")
        device = await device_of(bob)
        await device.upload(one_time_keys=one_time_keys(1, 2, 3))
        fallback = {"signed_curve25519:f": {"key": "fallback", "fallback": True}}
        (await device.upload(fallback_keys=fallback)).ok()
        await lives.back_up()
        assert await claim(alice, bob)
    async with lives.after() as homes:
        alice, bob = again(homes, alice), again(homes, bob)
        answer = await bob.sync()
        assert answer["device_one_time_keys_count"] == {"signed_curve25519": 1}
        assert answer["device_unused_fallback_key_types"] == []
        device.client = bob
        await device.upload(one_time_keys=one_time_keys(4, 5))
        given = [list((await claim(alice, bob))[bob.device_id]) for _ in range(4)]
        # The last one that was there is the last one to go, although it was there first.
        assert given == [[f"signed_curve25519:{key}"] for key in ("4", "5", "3", "f")]


async def test_messages_to_a_device_are_told_to_those_who_have_not_got_them(lives: Lives) -> None:
    async with lives.before() as homes:
        alice, bob = await homes.user("alice"), await homes.user("bob")
        phone = await homes.second_device(bob)
        behind = (await phone.sync())["next_batch"]
        body = {"messages": {bob.user_id: {"*": {"n": 1}}}}
        (await alice.put("v3/sendToDevice/m.test/1", body)).ok()
        await lives.back_up()
        room_id = await alice.create_room(invite=[bob.user_id])
        await bob.join(room_id)
        answer = await bob.sync()
        assert len(answer["to_device"]["events"]) == 1
        ahead = answer["next_batch"]
    async with lives.after() as homes:
        bob, phone = again(homes, bob), again(homes, phone)
        answer = await bob.sync(ahead)
        assert answer.get("to_device", {}).get("events", []) == []
        assert room_id not in answer.get("rooms", {}).get("join", {})
        (event,) = (await phone.sync(behind))["to_device"]["events"]
        assert event["content"] == {"n": 1}


async def test_sliding_sync_begins_anew(lives: Lives) -> None:
    async with lives.before() as homes:
        alice = await homes.user("alice")
        room_id = await alice.create_room()
        await alice.send(room_id, "kept")
        slider = Slider(alice)
        slider.lists = {"all": rooms_in()}
        await slider.next()
        await lives.back_up()
        await alice.send(room_id, "lost")
        await slider.next()
    async with lives.after() as homes:
        slider.client = again(homes, alice)
        (await slider.ask()).refused(400, "M_UNKNOWN_POS")
        slider.pos = None
        assert room_id in (await slider.next())["rooms"]


async def test_old_transactions_are_forgotten_across_the_gap(lives: Lives) -> None:
    """There are more positions in it than could be looked through."""
    async with lives.before() as homes:
        alice = await homes.user("alice")
        room_id = await alice.create_room()
        await alice.send(room_id, "kept")
        await lives.back_up()
    async with lives.after() as homes:
        alice = again(homes, alice)
        await alice.send(room_id, "and on")
    pool = await open_pool(lives.second.database.url, 2)
    try:
        upto = await current_position(pool)
        assert await purge_events(pool, 0, upto) == upto
        assert await pool.fetchval("SELECT count(*) FROM event_transactions") == 0
    finally:
        await pool.close()


async def nio_client(homes: Homes, name: str, directory: Path) -> nio.AsyncClient:
    config = nio.AsyncClientConfig(encryption_enabled=True, store_sync_tokens=False)
    store = directory / f"nio-{name}"
    store.mkdir()
    client = nio.AsyncClient(homes.base_url, name, store_path=str(store), config=config)
    answer = await client.register(name, PASSWORD, device_name="test")
    assert isinstance(answer, nio.RegisterResponse), answer
    await housekeeping(client)
    return client


async def test_matrix_nio_goes_on_to_talk_in_secret(lives: Lives, tmp_path: Path) -> None:
    async with lives.before() as homes:
        alice = await nio_client(homes, "alice", tmp_path)
        bob = await nio_client(homes, "bob", tmp_path)
        room_id = await encrypted_room(alice, bob)
        await lives.back_up()
        for client, other in ((alice, bob), (bob, alice)):
            client.verify_device(client.device_store[other.user_id][other.device_id])
        await say(alice, room_id, "lost")
        assert (await housekeeping(bob)).rooms.join[room_id].timeline.events[-1].body == "lost"
        await housekeeping(alice)
    async with lives.after() as homes:
        for client in (alice, bob):
            client.homeserver = homes.base_url
        answers = [await housekeeping(client) for client in (alice, bob)]
        assert all(room_id in answer.rooms.join for answer in answers)
        count = await homes.services.db.fetchval("SELECT count(*) FROM one_time_keys")
        assert count >= 50, "they have made new keys"
        for client in (alice, bob):
            await housekeeping(client)
        await say(alice, room_id, "for your eyes only")
        (event,) = (await synced(bob)).rooms.join[room_id].timeline.events
        assert (event.body, event.decrypted) == ("for your eyes only", True)
        await say(bob, room_id, "seen")
        events = (await synced(alice)).rooms.join[room_id].timeline.events
        assert [event.body for event in events] == ["for your eyes only", "seen"]
        await alice.close()
        await bob.close()
