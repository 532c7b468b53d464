"""What a room's head keeps out: events made on what came to nothing."""

import pytest

from federation.protocol.identifiers import UserId
from homeserver.rooms.send import NewEvent
from storage.add_events import RoomMoved
from tests.homeserver.conftest import Client, Homes


async def test_what_follows_an_event_that_was_lost_does_not_follow_another_in_its_place(
    homes: Homes,
) -> None:
    alice, send = await homes.user(), homes.services.send
    room_id = await alice.create_room()
    room = await send._live.get(room_id)
    async with room.lock:
        for topic in ("lost", "after it"):
            new = NewEvent(UserId(alice.user_id), "m.room.topic", {"topic": topic}, state_key="")
            pdu, auth_nids = await send.make(room, new)
            writes = await send._append.stage(room, pdu, auth_nids)
        send._live.drop(room)
    # The room has moved as often as the later one expects.
    await alice.send(room_id, "in its place")
    with pytest.raises(RoomMoved):
        await homes.services.committer.commit(*writes)
    await goes_on(alice, room_id)


async def goes_on(alice: Client, room_id: str) -> None:
    await alice.set_state(room_id, "m.room.topic", {"topic": "on we go"})
    shown = (await alice.sync())["rooms"]["join"][room_id]["timeline"]["events"]
    assert shown[-1]["content"] == {"topic": "on we go"}
