"""What people do all day, in two browsers."""

from typing import NamedTuple

import aiohttp
import pytest
import pytest_asyncio

from tests.clients.browsers import Browser
from tests.clients.conftest import Household

pytestmark = pytest.mark.clients


class Kitchen(NamedTuple):
    """Two people in a room."""

    alice: Browser
    bob: Browser
    room_id: str


@pytest_asyncio.fixture(loop_scope="session")
async def kitchen(household: Household) -> Kitchen:
    alice, bob = await household.user("alice"), await household.user("bob")
    room_id = await alice.do("createRoom", {"name": "Kitchen", "invite": [bob.user_id]})
    assert await bob.do("acceptInvitation", room_id) == "Kitchen"
    assert await alice.do("members", room_id, 2) == sorted([alice.user_id, bob.user_id])
    return Kitchen(alice, bob, room_id)


async def test_two_people_talk_and_notice_each_other(kitchen: Kitchen) -> None:
    alice, bob, room_id = kitchen
    await alice.do("type", room_id, True)
    await bob.do("seeTyping", room_id, alice.user_id, True)
    asked = await alice.do("say", room_id, "What shall we cook?")
    await alice.do("type", room_id, False)
    await bob.do("seeTyping", room_id, alice.user_id, False)
    assert (await bob.do("read", room_id, "What shall we cook?"))["sender"] == alice.user_id
    await bob.do("unread", room_id, 1)
    await bob.do("markRead", room_id, asked)
    await bob.do("unread", room_id, 0)
    await alice.do("seeRead", room_id, bob.user_id, asked)
    await bob.do("reply", room_id, asked, "Aubergines")
    assert (await alice.do("read", room_id, "Aubergines"))["sender"] == bob.user_id


async def test_messages_are_edited_reacted_to_and_taken_back(kitchen: Kitchen) -> None:
    alice, bob, room_id = kitchen
    slip = await alice.do("say", room_id, "Moussska")
    await bob.do("read", room_id, "Moussska")
    await alice.do("edit", room_id, slip, "Moussaka")
    assert (await bob.do("read", room_id, "Moussaka"))["edited"]
    await bob.do("react", room_id, slip, "👍")
    await alice.do("react", room_id, slip, "👍")
    assert await alice.do("reactions", room_id, slip, 2) == ["👍", "👍"]
    await alice.do("redact", room_id, slip)
    await bob.do("say", room_id, "A pity")
    await alice.do("read", room_id, "A pity")
    assert [message["body"] for message in await alice.do("conversation", room_id)] == [
        None,
        "A pity",
    ]


async def test_a_thread_has_its_replies_and_is_listed(kitchen: Kitchen) -> None:
    alice, bob, room_id = kitchen
    root = await alice.do("say", room_id, "Who does the dishes?")
    await bob.do("read", room_id, "Who does the dishes?")
    for browser, text in ((bob, "You"), (alice, "No, you"), (bob, "All right")):
        await browser.do("sayInThread", room_id, root, text)
    expected = ["Who does the dishes?", "You", "No, you", "All right"]
    for browser in (alice, bob):
        assert await browser.do("threadReplies", room_id, root, 3) == expected
        assert await browser.do("listThreads", room_id) == [root]


async def test_messages_are_found_and_the_history_is_scrolled_through(
    household: Household, kitchen: Kitchen
) -> None:
    alice, bob, room_id = kitchen
    lines = [f"line {number} of the recipe" for number in range(60)]
    lines[20] = "now add the nutmeg"
    await alice.do("sayAll", room_id, lines)
    assert await bob.do("search", "nutmeg") == ["now add the nutmeg"]
    again = await household.second_browser(bob)
    await again.start()
    assert await again.do("scrollBack", room_id, 60) == lines


async def test_everything_is_still_there_after_a_reload(kitchen: Kitchen) -> None:
    alice, bob, room_id = kitchen
    await alice.do("say", room_id, "Before the reload")
    await bob.do("read", room_id, "Before the reload")
    await bob.reload()
    await bob.do("read", room_id, "Before the reload")
    await alice.do("say", room_id, "After the reload")
    await bob.do("read", room_id, "After the reload")
    assert await bob.do("roomNames") == ["Kitchen"]


async def test_clients_get_over_a_restart_of_the_server(
    household: Household, kitchen: Kitchen
) -> None:
    alice, bob, room_id = kitchen
    household.expect("503 ", "502 ")
    await alice.do("say", room_id, "Before the restart")
    await household.server.stop()
    async with aiohttp.ClientSession() as session:
        await household.server.start(session)
    for browser in (alice, bob):
        await browser.do("reconnect")
    await alice.do("say", room_id, "After the restart")
    for text in ("Before the restart", "After the restart"):
        await bob.do("read", room_id, text)


async def test_who_logs_out_is_out_and_may_come_back(
    household: Household, kitchen: Kitchen
) -> None:
    alice, bob, room_id = kitchen
    await alice.do("say", room_id, "See you")
    await bob.do("logOut")
    again = await household.second_browser(bob)
    await again.start()
    assert await again.do("roomNames") == ["Kitchen"]
    await again.do("read", room_id, "See you")
