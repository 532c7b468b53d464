"""One server is stopped for a while; what it missed reaches it without any user's asking."""

import pytest

from tests.interop.conftest import Cast
from tests.interop.rooms import agreed_state, send_to_device, share_a_room

pytestmark = pytest.mark.interop

MISSED = 60
TO_DEVICE = 100


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
        await cast.bobs.until(lambda r=room_id: cast.bobs.texts(r)[-1:] == sent[r][-1:])
        assert cast.bobs.texts(room_id) == ["before", *sent[room_id]]
        await agreed_state(cast.alice, cast.bob, room_id)
    await cast.bobs.until(lambda: len(cast.bobs.to_device) >= TO_DEVICE)
    numbers = [event["content"]["n"] for event in cast.bobs.to_device]
    assert sorted(numbers) == list(range(TO_DEVICE))
    await cast.alices.until_event(rooms[0], await cast.bob.send(rooms[0], "I am back"))
