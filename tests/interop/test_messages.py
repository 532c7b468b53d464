"""Messages, the history before a join, and redactions."""

from typing import Any

import pytest

from tests.interop.conftest import Cast
from tests.interop.inbox import Inbox, is_message
from tests.interop.rooms import (
    agreed_state,
    history,
    join_by_way_of,
    redact,
    room_path,
    share_a_room,
    whole_history,
)

pytestmark = pytest.mark.interop


async def test_200_messages_each_way_arrive_once_and_in_order(cast: Cast) -> None:
    room_id = await share_a_room(cast.alice, cast.bob, cast.host.name)
    for inbox in (cast.alices, cast.bobs):
        await inbox.look()
    to_bob = [f"to bob {n}" for n in range(200)]
    to_alice = [f"to alice {n}" for n in range(200)]
    for text in to_bob:
        await cast.alice.send(room_id, text)
    assert await whole_history(cast.bob, room_id, 200) == to_bob
    for text in to_alice:
        await cast.bob.send(room_id, text)
    assert await whole_history(cast.alice, room_id, 400) == to_bob + to_alice
    # hearth shows all in that order as it comes. Synapse, when many arrive at once, leaves some
    # out of what it shows at first, and shows others again; the history has them in the end.
    shown = cast.inbox_on("hearth")
    await shown.until(lambda: len(shown.texts(room_id)) >= 400)
    assert shown.texts(room_id) == to_bob + to_alice
    assert shown.repeated == []


async def test_both_talk_at_once_and_nothing_is_lost(cast: Cast) -> None:
    room_id = await share_a_room(cast.alice, cast.bob, cast.host.name)
    for n in range(40):
        await cast.alice.send(room_id, f"alice {n}")
        await cast.bob.send(room_id, f"bob {n}")
    for client in (cast.alice, cast.bob):
        texts = await whole_history(client, room_id, 80)
        for name in ("alice", "bob"):
            own = [text for text in texts if text.startswith(name)]
            assert own == [f"{name} {n}" for n in range(40)]
    await agreed_state(cast.alice, cast.bob, room_id)


async def test_500_events_from_before_the_join_are_paged_back_to(cast: Cast) -> None:
    room_id = await cast.alice.create_room(preset="public_chat")
    texts = [f"old news {n}" for n in range(500)]
    for text in texts:
        await cast.alice.send(room_id, text)
    await join_by_way_of(cast.bob, room_id, cast.host.name)
    seen = await history(cast.bob, room_id)
    assert [event["content"]["body"] for event in seen if is_message(event)] == texts
    ids = [event["event_id"] for event in seen]
    assert len(set(ids)) == len(ids)
    assert set(ids) >= {event["event_id"] for event in await history(cast.alice, room_id, 500)}


@pytest.mark.parametrize("room_version", ["6", "11", "12"])
async def test_the_author_redacts_a_message(cast: Cast, room_version: str) -> None:
    room_id = await share_a_room(cast.alice, cast.bob, cast.host.name, room_version=room_version)
    event_id = await cast.alice.send(room_id, "a slip")
    assert (await cast.bobs.until_event(room_id, event_id))["content"]["body"] == "a slip"
    await redact(cast.alice, room_id, event_id)
    await see_redacted(cast, room_id, event_id)


@pytest.mark.parametrize("room_version", ["6", "11", "12"])
async def test_a_moderator_of_the_guest_redacts_a_message(cast: Cast, room_version: str) -> None:
    room_id = await share_a_room(
        cast.alice,
        cast.bob,
        cast.host.name,
        room_version=room_version,
        power_level_content_override={"users": moderators(cast, room_version)},
    )
    event_id = await cast.alice.send(room_id, "an insult")
    await cast.bobs.until_event(room_id, event_id)
    await redact(cast.bob, room_id, event_id)
    await see_redacted(cast, room_id, event_id)


def moderators(cast: Cast, room_version: str) -> dict[str, int]:
    """Alice's power, where she is not above it as the creator, and Bob's."""
    levels = {cast.bob.user_id: 50}
    return levels if room_version == "12" else {**levels, cast.alice.user_id: 100}


async def see_redacted(cast: Cast, room_id: str, event_id: str) -> None:
    """Wait until both hear of the redaction, and see that the content is gone on both sides."""
    for inbox in (cast.alices, cast.bobs):
        await until_redaction(inbox, room_id, event_id)
        event = (await inbox.client.get(room_path(room_id, f"event/{event_id}"))).ok()
        assert event["content"] == {}
        assert event["unsigned"]["redacted_because"]["type"] == "m.room.redaction"


async def until_redaction(inbox: Inbox, room_id: str, event_id: str) -> None:
    """Sync until the redaction of the event is in the timeline."""

    def is_redaction(event: Any) -> bool:
        redacted = event.get("redacts") or event["content"].get("redacts")
        return bool(event["type"] == "m.room.redaction" and redacted == event_id)

    await inbox.until(lambda: any(map(is_redaction, inbox.timelines[room_id])))
