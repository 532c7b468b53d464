"""A client of sliding sync as Element X is one: it keeps what it is told, room by room."""

from dataclasses import dataclass, field
from typing import Any

from tests.homeserver.conftest import Answer, Client

PATH = "unstable/org.matrix.simplified_msc3575/sync"
REQUIRED = [
    ["m.room.name", ""],
    ["m.room.encryption", ""],
    ["m.room.member", "$LAZY"],
    ["m.room.member", "$ME"],
    ["m.room.topic", ""],
    ["m.room.avatar", ""],
    ["m.room.canonical_alias", ""],
    ["m.room.power_levels", ""],
    ["org.matrix.msc3401.call.member", "*"],
    ["m.room.join_rules", ""],
    ["m.room.tombstone", ""],
    ["m.room.create", ""],
    ["m.room.history_visibility", ""],
    ["io.element.functional_members", ""],
    ["m.space.parent", "*"],
    ["m.space.child", "*"],
    ["beacon_info", "*"],
]
EVERYTHING = [["*", "*"]]


def rooms_in(first: int = 0, last: int = 19, **options: Any) -> dict[str, Any]:
    """A list as Element X has one."""
    return {
        "ranges": [[first, last]],
        "timeline_limit": 1,
        "required_state": REQUIRED,
    } | options


def subscription(**options: Any) -> dict[str, Any]:
    """A subscription to an open room."""
    return {
        "timeline_limit": 20,
        "required_state": [*REQUIRED, ["m.room.pinned_events", ""]],
    } | options


@dataclass(slots=True)
class KnownRoom:
    """What the client knows of a room."""

    name: str | None = None
    avatar: str | None = None
    state: dict[tuple[str, str], str] = field(default_factory=dict)
    contents: dict[tuple[str, str], Any] = field(default_factory=dict)
    timeline: list[str] = field(default_factory=list)
    joined_count: int = 0
    membership: str = ""


class Slider:
    """One connection of a client."""

    def __init__(self, client: Client, conn_id: str = "room-list") -> None:
        self.client = client
        self.conn_id = conn_id
        self.pos: str | None = None
        self.rooms: dict[str, KnownRoom] = {}
        self.lists: dict[str, Any] = {}
        self.subscriptions: dict[str, Any] = {}
        self.extensions: dict[str, Any] = {}

    async def ask(self, timeout_ms: int = 0, **body: Any) -> Answer:
        """Make the next request, and take no note of the answer."""
        query: dict[str, Any] = {"timeout": timeout_ms, "set_presence": "offline"}
        if self.pos is not None:
            query["pos"] = self.pos
        request = {
            "conn_id": self.conn_id,
            "lists": self.lists,
            "room_subscriptions": self.subscriptions,
            "extensions": self.extensions,
        } | body
        return await self.client.request("POST", PATH, request, **query)

    async def next(self, timeout_ms: int = 0, **body: Any) -> Any:
        """Make the next request and take in what it tells."""
        answer = (await self.ask(timeout_ms, **body)).ok()
        self.take(answer)
        return answer

    def take(self, answer: Any) -> None:
        """Take in an answer."""
        self.pos = answer["pos"]
        for room_id, room in answer["rooms"].items():
            if room.get("initial") or room_id not in self.rooms:
                assert room.get("initial"), room
                self.rooms[room_id] = KnownRoom()
            apply(self.rooms[room_id], room)


def apply(known: KnownRoom, room: Any) -> None:
    """Take in what is told of a room."""
    known.membership = room["membership"]
    known.name = room.get("name", known.name)
    known.avatar = room.get("avatar", known.avatar)
    known.joined_count = room.get("joined_count", known.joined_count)
    for event in room.get("required_state", ()):
        place = event["type"], event["state_key"]
        if "content" in event:
            known.state[place] = event["event_id"]
            known.contents[place] = event["content"]
        else:
            known.state.pop(place, None)
            known.contents.pop(place, None)
    shown = [event["event_id"] for event in room.get("timeline", ())]
    if any(room.get(flag) for flag in ("limited", "initial", "unstable_expanded_timeline")):
        known.timeline = shown
    else:
        known.timeline += [event_id for event_id in shown if event_id not in known.timeline]


def texts(room: Any) -> list[str]:
    """The texts of the messages in a room's timeline."""
    return [e["content"]["body"] for e in room["timeline"] if e["type"] == "m.room.message"]
