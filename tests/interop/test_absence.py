"""One server is stopped for a while; what it missed reaches it without any user's asking."""

import pytest

from tests.interop.conftest import Cast
from tests.interop.inbox import Inbox
from tests.interop.rooms import agreed_state, send_to_device, share_a_room, whole_history

pytestmark = pytest.mark.interop

MISSED = 60
MISSED_BY_FAR = 150
TO_DEVICE = 100


async def until_last_text(inbox: Inbox, room_id: str, text: str) -> None:
    """Sync until the latest message of the room is this one."""
    await inbox.until(lambda: inbox.texts(room_id)[-1:] == [text])


async def test_who_was_stopped_catches_up_by_itself(cast: Cast) -> None:
    rooms = [
        await share_a_room(cast.alice, cast.bob, cast.host.name, room_version=version)
        for version in ("10", "12")
    ]
    for room_id in rooms:
        await cast.bobs.until_event(room_id, await cast.alice.send(room_id, "before"))
    await cast.guest.stop()
    sent: dict[str, list[str]] = {}
    for room_id in rooms:
        sent[room_id] = [f"missed {n}" for n in range(MISSED)]
        for text in sent[room_id]:
            await cast.alice.send(room_id, text)
        await cast.alice.set_state(room_id, "m.room.topic", {"topic": "news"})
    await send_to_device(cast.alice, cast.bob, TO_DEVICE)
    await cast.guest.start()
    # Bob only looks at what is there; nothing that he asks makes his server ask the other one.
    for room_id in rooms:
        await until_last_text(cast.bobs, room_id, sent[room_id][-1])
        assert cast.bobs.texts(room_id) == ["before", *sent[room_id]]
        await agreed_state(cast.alice, cast.bob, room_id)
    await cast.bobs.until(lambda: len(cast.bobs.to_device) >= TO_DEVICE)
    numbers = [event["content"]["n"] for event in cast.bobs.to_device]
    assert sorted(numbers) == list(range(TO_DEVICE))
    await cast.alices.until_event(rooms[0], await cast.bob.send(rooms[0], "I am back"))


async def test_the_history_of_a_long_absence_is_complete(cast: Cast) -> None:
    """The host has been started again meanwhile, and no longer knows what it did not send.

    It tells of the latest event alone then, and the guest asks for what is before it.
    """
    room_id = await share_a_room(cast.alice, cast.bob, cast.host.name)
    await cast.bobs.until_event(room_id, await cast.alice.send(room_id, "before"))
    await cast.guest.stop()
    texts = [f"missed {n}" for n in range(MISSED_BY_FAR)]
    for text in texts:
        await cast.alice.send(room_id, text)
    await cast.host.stop()
    await cast.host.start()
    await cast.guest.start()
    await until_last_text(cast.bobs, room_id, texts[-1])
    assert await whole_history(cast.bob, room_id, 1 + len(texts)) == ["before", *texts]
    if cast.guest.kind == "hearth":
        # The timeline breaks off where something is missing, and leads back to it.
        assert cast.bobs.texts(room_id) == ["before", *texts]
    await agreed_state(cast.alice, cast.bob, room_id)
