"""End-to-end encryption between browsers, with matrix-js-sdk's own cryptography."""

import asyncio

import pytest

from tests.clients.browsers import PASSWORD, Browser
from tests.clients.conftest import Household

pytestmark = pytest.mark.clients


async def encrypted_room(alice: Browser, *others: Browser) -> str:
    """A room of theirs in which everything is encrypted."""
    wanted = {"name": "Vault", "encrypted": True, "invite": [other.user_id for other in others]}
    room_id = str(await alice.do("createRoom", wanted))
    for other in others:
        await other.do("acceptInvitation", room_id)
        await other.do("members", room_id, 1 + len(others))
    await alice.do("members", room_id, 1 + len(others))
    return room_id


async def say_and_read(speaker: Browser, listener: Browser, room_id: str, text: str) -> None:
    """Say something that is encrypted on the way."""
    await speaker.do("say", room_id, text)
    message = await listener.do("read", room_id, text)
    assert message["encrypted"]
    assert not message["failed"]


async def test_two_people_talk_in_secret(household: Household) -> None:
    alice, bob = await household.user("alice"), await household.user("bob")
    room_id = await encrypted_room(alice, bob)
    await say_and_read(alice, bob, room_id, "The key is under the mat")
    await say_and_read(bob, alice, room_id, "Which mat?")
    await bob.reload()
    await bob.do("read", room_id, "The key is under the mat")
    await say_and_read(alice, bob, room_id, "The green one")


async def test_users_verify_each_other_by_emoji(household: Household) -> None:
    alice, bob = await household.user("alice"), await household.user("bob")
    for browser in (alice, bob):
        await browser.do("setUpRecovery", PASSWORD)
    room_id = await encrypted_room(alice, bob)
    await say_and_read(alice, bob, room_id, "Let us make sure")
    await alice.do("askToVerify", bob.user_id, room_id)
    await bob.do("acceptVerification")
    await verify_by_emoji(alice, bob)
    await alice.do("seeUserVerified", bob.user_id)
    await bob.do("seeUserVerified", alice.user_id)


async def verify_by_emoji(one: Browser, other: Browser) -> None:
    """From the accepted request to the end, on both sides."""
    await one.do("startEmoji")
    emoji = await asyncio.gather(one.do("seeEmoji"), other.do("seeEmoji"))
    assert emoji[0] == emoji[1]
    for browser in (one, other):
        await browser.do("confirmEmoji")
    for browser in (one, other):
        await browser.do("seeVerified")


async def test_a_new_device_is_verified_by_the_old_one_and_gets_its_secrets(
    household: Household,
) -> None:
    alice = await household.user("alice")
    await alice.do("setUpRecovery", PASSWORD)
    again = await household.second_browser(alice)
    await again.start()
    assert not await again.do("isDeviceVerified", alice.user_id, again.device_id)
    await again.do("askOwnDevices")
    await alice.do("acceptVerification")
    await verify_by_emoji(again, alice)
    for browser in (alice, again):
        await browser.do("seeDeviceVerified", alice.user_id, again.device_id)
    await again.do("seeSecrets")


async def test_a_new_login_reads_the_past_with_the_recovery_key(household: Household) -> None:
    alice, bob = await household.user("alice"), await household.user("bob")
    recovery_key = await alice.do("setUpRecovery", PASSWORD)
    room_id = await encrypted_room(alice, bob)
    await say_and_read(bob, alice, room_id, "Remember this")
    await say_and_read(alice, bob, room_id, "And that")
    await alice.do("backedUp", 2)
    await alice.do("logOut")
    again = await household.second_browser(alice)
    await again.start()
    assert await again.do("recover", recovery_key) == 2
    await again.do("seeDeviceVerified", again.user_id, again.device_id)
    for text in ("Remember this", "And that"):
        await again.do("read", room_id, text)
    await say_and_read(again, bob, room_id, "I am back")


async def test_messages_are_decrypted_across_a_restart_of_both_browsers(
    household: Household,
) -> None:
    alice, bob = await household.user("alice"), await household.user("bob")
    room_id = await encrypted_room(alice, bob)
    await bob.do("stop")
    lines = [f"secret {number}" for number in range(30)]
    await alice.do("sayAll", room_id, lines)
    await alice.reload()
    await bob.reload()
    assert await bob.do("scrollBack", room_id, 30) == lines
    assert await alice.do("scrollBack", room_id, 30) == lines
