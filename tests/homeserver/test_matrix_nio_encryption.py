"""matrix-nio with its encryption, which knows nothing of us, gets along with a running server."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import nio
import pytest_asyncio

from tests.homeserver.conftest import Homes
from tests.homeserver.test_matrix_nio import PASSWORD, say, synced

ENCRYPTION = nio.EnableEncryptionBuilder().as_dict()
TURNS = 12
"""Syncs within which a verification must have come to its end."""


async def registered(homes: Homes, name: str, directory: Path) -> AsyncIterator[nio.AsyncClient]:
    config = nio.AsyncClientConfig(encryption_enabled=True, store_sync_tokens=False)
    store = directory / name
    store.mkdir()
    client = nio.AsyncClient(homes.base_url, name, store_path=str(store), config=config)
    answer = await client.register(name, PASSWORD, device_name="test")
    assert isinstance(answer, nio.RegisterResponse), answer
    await housekeeping(client)
    yield client
    await client.close()


@pytest_asyncio.fixture
async def alice(homes: Homes, tmp_path: Path) -> AsyncIterator[nio.AsyncClient]:
    async for client in registered(homes, "alice", tmp_path):
        yield client


@pytest_asyncio.fixture
async def bob(homes: Homes, tmp_path: Path) -> AsyncIterator[nio.AsyncClient]:
    async for client in registered(homes, "bob", tmp_path):
        yield client


async def housekeeping(client: nio.AsyncClient) -> nio.SyncResponse:
    """A sync, and what nio does after one when it syncs for ever."""
    answer = await synced(client)
    await client.send_to_device_messages()
    if client.should_upload_keys:
        await client.keys_upload()
    if client.should_query_keys:
        await client.keys_query()
    if client.should_claim_keys:
        await client.keys_claim(client.get_users_for_key_claiming())
    return answer


async def encrypted_room(alice: nio.AsyncClient, bob: nio.AsyncClient) -> str:
    created = await alice.room_create(name="Tea", invite=[bob.user_id], initial_state=[ENCRYPTION])
    assert isinstance(created, nio.RoomCreateResponse), created
    await bob.join(created.room_id)
    for client in (alice, bob, alice):
        await housekeeping(client)
    return str(created.room_id)


async def verify(alice: nio.AsyncClient, bob: nio.AsyncClient) -> None:
    """Compare short strings, until both count each other as verified."""
    device = alice.device_store[bob.user_id][bob.device_id]
    started = await alice.start_key_verification(device)
    assert isinstance(started, nio.ToDeviceResponse), started
    await housekeeping(bob)
    (transaction_id,) = bob.key_verifications
    await bob.accept_key_verification(transaction_id)
    both = [client.key_verifications[transaction_id] for client in (alice, bob)]
    await take_turns(alice, bob, lambda: all(one.established_sas for one in both))
    assert both[0].get_emoji() == both[1].get_emoji()
    for client in (alice, bob):
        await client.confirm_short_auth_string(transaction_id)
    await take_turns(alice, bob, lambda: all(one.verified for one in both))


async def take_turns(
    alice: nio.AsyncClient, bob: nio.AsyncClient, is_so: Callable[[], bool]
) -> None:
    """Have both sync until something is so."""
    for _ in range(TURNS):
        if is_so():
            return
        for client in (alice, bob):
            await housekeeping(client)
    assert is_so()


async def test_two_people_verify_each_other_and_talk(
    alice: nio.AsyncClient, bob: nio.AsyncClient
) -> None:
    room_id = await encrypted_room(alice, bob)
    await verify(alice, bob)
    await say(alice, room_id, "for your eyes only")
    (event,) = (await housekeeping(bob)).rooms.join[room_id].timeline.events
    assert isinstance(event, nio.RoomMessageText)
    assert (event.body, event.decrypted, event.verified) == ("for your eyes only", True, True)
    await say(bob, room_id, "seen")
    events = (await housekeeping(alice)).rooms.join[room_id].timeline.events
    assert [event.body for event in events] == ["for your eyes only", "seen"]
