"""Simplified sliding sync, by matrix-js-sdk's own client of it."""

import pytest

from tests.clients.browsers import Browser
from tests.clients.conftest import Household

pytestmark = pytest.mark.clients

ROOMS = 12


async def sliding(household: Household, user: Browser, last: int) -> Browser:
    """Another browser of the user's, which follows sliding sync with a window on some rooms."""
    browser = await household.second_browser(user)
    assert await browser.start("startSliding", last) == ROOMS
    return browser


async def fill(alice: Browser) -> list[str]:
    """Rooms, named in order of their making; the newest is the one with the latest activity."""
    return [str(await alice.do("createRoom", {"name": f"Room {n:02}"})) for n in range(ROOMS)]


async def test_a_window_shows_the_rooms_with_the_latest_activity(household: Household) -> None:
    alice = await household.user("alice")
    rooms = await fill(alice)
    again = await sliding(household, alice, 4)
    assert await again.do("slidingNames", 5) == [f"Room {n:02}" for n in range(7, 12)]
    await alice.do("say", rooms[0], "The oldest room is alive")
    assert "Room 00" in await again.do("slidingNames", 6)
    await again.do("read", rooms[0], "The oldest room is alive")
    await again.do("widen", ROOMS - 1)
    assert len(await again.do("slidingNames", ROOMS)) == ROOMS


async def test_people_talk_in_secret_by_sliding_sync(household: Household) -> None:
    alice, bob = await household.user("alice"), await household.user("bob")
    await fill(alice)
    again = await sliding(household, alice, ROOMS)
    wanted = {"name": "Vault", "encrypted": True, "invite": [bob.user_id]}
    room_id = await again.do("createRoom", wanted)
    await bob.do("acceptInvitation", room_id)
    for browser in (again, bob):
        await browser.do("members", room_id, 2)
    await again.do("say", room_id, "The key is under the mat")
    assert (await bob.do("read", room_id, "The key is under the mat"))["encrypted"]
    await bob.do("type", room_id, True)
    await again.do("seeTyping", room_id, bob.user_id, True)
    answer = await bob.do("say", room_id, "Which mat?")
    assert (await again.do("read", room_id, "Which mat?"))["encrypted"]
    await again.do("markRead", room_id, answer)
    await bob.do("seeRead", room_id, again.user_id, answer)
