"""Messages from device to device."""

import pytest

from tests.interop.conftest import Cast, only_where
from tests.interop.inbox import Inbox
from tests.interop.rooms import send_to_device, share_a_room

pytestmark = pytest.mark.interop

COUNT = 100


def numbers(inbox: Inbox) -> list[int]:
    return [event["content"]["n"] for event in inbox.to_device]


async def test_100_messages_to_a_device_arrive_once(cast: Cast) -> None:
    await share_a_room(cast.alice, cast.bob, cast.host.name)
    await cast.bobs.look()
    await send_to_device(cast.alice, cast.bob, COUNT)
    await cast.bobs.until(lambda: len(numbers(cast.bobs)) >= COUNT)
    await cast.bobs.look(timeout_ms=500)
    assert sorted(numbers(cast.bobs)) == list(range(COUNT))
    assert {event["sender"] for event in cast.bobs.to_device} == {cast.alice.user_id}


async def until_numbers(inbox: Inbox, wanted: list[int]) -> None:
    await inbox.until(lambda: numbers(inbox) == wanted)


@only_where("synapse")
async def test_what_comes_to_a_device_is_shown_in_the_order_in_which_it_came(cast: Cast) -> None:
    # Synapse sends in order, but takes what comes in one transaction side by side: how it shows
    # what hearth sends is its own affair.
    await send_to_device(cast.alice, cast.bob, COUNT)
    await cast.bobs.until(lambda: len(numbers(cast.bobs)) >= COUNT)
    assert numbers(cast.bobs) == list(range(COUNT))


async def test_messages_to_all_devices_of_a_user_reach_each(cast: Cast) -> None:
    other = await cast.guest.second_device(cast.bob)
    others = Inbox(other)
    body = {"messages": {cast.bob.user_id: {"*": {"n": 1}}}}
    (await cast.alice.put("v3/sendToDevice/org.example.count/all", body)).ok()
    for inbox in (cast.bobs, others):
        await until_numbers(inbox, [1])
