"""Events and rooms for the tests of push rules."""

from typing import Any

from federation.protocol.identifiers import EventId, RoomId, UserId
from federation.protocol.pdu import Pdu
from federation.protocol.power_levels import PowerLevels
from federation.protocol.push_conditions import EventView, RoomContext
from federation.protocol.room_versions import V11

ALICE = "@alice:example.org"
BOB = "@bob:example.org"
ROOM = "!room:example.org"


def event(
    content: dict[str, Any],
    event_type: str = "m.room.message",
    *,
    sender: str = BOB,
    state_key: str | None = None,
) -> Pdu:
    return Pdu(
        event_id=EventId("$event"),
        room_version=V11,
        room_id=RoomId(ROOM),
        type=event_type,
        sender=UserId(sender),
        state_key=state_key,
        content=content,
        depth=1,
        origin_server_ts=1,
        prev_events=(),
        auth_events=(),
        redacts=None,
        encoded=b"{}",
    )


def room(member_count: int = 3, levels: dict[str, Any] | None = None) -> RoomContext:
    create = event({}, "m.room.create", sender=ALICE, state_key="")
    return RoomContext(ROOM, member_count, PowerLevels(levels or {}, create))


def view(pdu: Pdu, member_count: int = 3, levels: dict[str, Any] | None = None) -> EventView:
    return EventView.of(pdu, room(member_count, levels))


def text(body: str, **content: Any) -> Pdu:
    return event({"msgtype": "m.text", "body": body, **content})
