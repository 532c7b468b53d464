"""matrix-nio, a client library that knows nothing of us, gets along with a running server."""

import asyncio
from collections.abc import AsyncIterator

import nio
import pytest_asyncio

from tests.homeserver.conftest import Homes
from tests.patience import LONG_POLL_MS, PATIENCE_S

PASSWORD = "a password that is long"


@pytest_asyncio.fixture
async def alice(homes: Homes) -> AsyncIterator[nio.AsyncClient]:
    async for client in registered(homes, "alice"):
        yield client


@pytest_asyncio.fixture
async def bob(homes: Homes) -> AsyncIterator[nio.AsyncClient]:
    async for client in registered(homes, "bob"):
        yield client


async def registered(homes: Homes, name: str) -> AsyncIterator[nio.AsyncClient]:
    client = nio.AsyncClient(homes.base_url, name)
    answer = await client.register(name, PASSWORD, device_name="test")
    assert isinstance(answer, nio.RegisterResponse), answer
    yield client
    await client.close()


async def synced(client: nio.AsyncClient) -> nio.SyncResponse:
    """What the next sync says; nio remembers the token."""
    answer = await client.sync(timeout=0)
    assert isinstance(answer, nio.SyncResponse), answer
    return answer


async def room_of_both(alice: nio.AsyncClient, bob: nio.AsyncClient) -> str:
    created = await alice.room_create(name="Tea", topic="Earl Grey", invite=[bob.user_id])
    assert isinstance(created, nio.RoomCreateResponse), created
    joined = await bob.join(created.room_id)
    assert isinstance(joined, nio.JoinResponse), joined
    return str(created.room_id)


async def say(client: nio.AsyncClient, room_id: str, text: str) -> str:
    content = {"msgtype": "m.text", "body": text}
    sent = await client.room_send(room_id, "m.room.message", content)
    assert isinstance(sent, nio.RoomSendResponse), sent
    return str(sent.event_id)


def texts(events: list[nio.Event]) -> list[str]:
    return [event.body for event in events if isinstance(event, nio.RoomMessageText)]


async def test_an_invitation_is_seen_and_accepted(
    alice: nio.AsyncClient, bob: nio.AsyncClient
) -> None:
    created = await alice.room_create(name="Tea", invite=[bob.user_id])
    invitation = (await synced(bob)).rooms.invite[created.room_id]
    assert {event.source["type"] for event in invitation.invite_state} >= {
        "m.room.member",
        "m.room.name",
    }
    assert bob.invited_rooms[created.room_id].name == "Tea"
    await bob.join(created.room_id)
    await synced(bob)
    assert set(bob.rooms[created.room_id].users) == {alice.user_id, bob.user_id}
    assert not bob.invited_rooms


async def test_two_people_talk(alice: nio.AsyncClient, bob: nio.AsyncClient) -> None:
    room_id = await room_of_both(alice, bob)
    await synced(alice)
    await synced(bob)
    for number in range(3):
        await say(alice, room_id, f"alice {number}")
        await say(bob, room_id, f"bob {number}")
    expected = [f"{name} {number}" for number in range(3) for name in ("alice", "bob")]
    for client in (alice, bob):
        assert texts((await synced(client)).rooms.join[room_id].timeline.events) == expected


async def test_a_waiting_sync_wakes(alice: nio.AsyncClient, bob: nio.AsyncClient) -> None:
    room_id = await room_of_both(alice, bob)
    await synced(bob)

    async def hear() -> list[str]:
        heard: list[str] = []
        while not heard:  # others' presence may wake it too
            answer = await bob.sync(timeout=LONG_POLL_MS)
            assert isinstance(answer, nio.SyncResponse), answer
            if room_id in answer.rooms.join:
                heard = texts(answer.rooms.join[room_id].timeline.events)
        return heard

    async with asyncio.timeout(PATIENCE_S):
        heard, _ = await asyncio.gather(hear(), say(alice, room_id, "wake up"))
    assert heard == ["wake up"]


async def test_the_history_is_paged_through(alice: nio.AsyncClient, bob: nio.AsyncClient) -> None:
    room_id = await room_of_both(alice, bob)
    said = [f"line {number}" for number in range(45)]
    for text in said:
        await say(alice, room_id, text)
    timeline = (await synced(bob)).rooms.join[room_id].timeline
    assert timeline.limited
    newest_first = texts(timeline.events)[::-1]
    token = timeline.prev_batch
    while token:
        page = await bob.room_messages(room_id, token, limit=10)
        assert isinstance(page, nio.RoomMessagesResponse), page
        newest_first += texts(page.chunk)
        token = page.end
    assert newest_first[::-1] == said


async def test_profiles_typing_receipts_and_redactions(
    alice: nio.AsyncClient, bob: nio.AsyncClient
) -> None:
    room_id = await room_of_both(alice, bob)
    assert isinstance(await alice.set_displayname("Alice"), nio.ProfileSetDisplayNameResponse)
    event_id = await say(alice, room_id, "a slip")
    assert isinstance(await alice.room_typing(room_id, True), nio.RoomTypingResponse)
    await synced(bob)
    assert bob.rooms[room_id].user_name(alice.user_id) == "Alice"
    assert bob.rooms[room_id].typing_users == [alice.user_id]
    await bob.room_read_markers(room_id, event_id, event_id)
    await synced(alice)
    assert alice.rooms[room_id].read_receipts[bob.user_id].event_id == event_id
    redacted = await alice.room_redact(room_id, event_id)
    assert isinstance(redacted, nio.RoomRedactResponse), redacted
    page = await bob.room_messages(room_id, "", limit=20)
    assert "a slip" not in texts(page.chunk)


async def test_who_leaves_hears_no_more(alice: nio.AsyncClient, bob: nio.AsyncClient) -> None:
    room_id = await room_of_both(alice, bob)
    await synced(bob)
    left = await bob.room_leave(room_id)
    assert isinstance(left, nio.RoomLeaveResponse), left
    assert room_id in (await synced(bob)).rooms.leave
    await say(alice, room_id, "he is gone")
    after = await synced(bob)
    assert room_id not in after.rooms.join
    assert room_id not in after.rooms.leave
    assert isinstance(await bob.room_forget(room_id), nio.RoomForgetResponse)
    members = await alice.joined_members(room_id)
    assert [member.user_id for member in members.members] == [alice.user_id]
