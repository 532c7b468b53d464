"""A room as another server has it, and events of that server, true and false."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from federation.protocol.auth_events import auth_event_places
from federation.protocol.content_hash import content_hash
from federation.protocol.event_id import event_id_of, reference_hashes
from federation.protocol.identifiers import EventId, ServerName
from federation.protocol.pdu import StateKey
from federation.protocol.room_versions import EventFormat, RoomVersion, get_room_version
from federation.protocol.signatures import SigningKey, sign_event

Fields = dict[str, Any]
State = dict[StateKey, EventId]

NOW_TS = int(time.time() * 1000)
CREATE: StateKey = ("m.room.create", "")


@dataclass
class RoomCopy:
    """What a server knows of a room; its events follow `tips`."""

    room_id: str
    version: RoomVersion
    server: ServerName
    key: SigningKey
    events: dict[EventId, Fields] = field(default_factory=dict)
    before: dict[EventId, State] = field(default_factory=dict)
    """The state before each event of the line that the server has seen."""
    state: State = field(default_factory=dict)
    tips: list[EventId] = field(default_factory=list)
    depth: int = 1
    made: int = 0

    def id_of(self, fields: Mapping[str, Any]) -> EventId:
        return event_id_of(fields, lenient(self.version))

    def keep(self, events: Iterable[Mapping[str, Any]]) -> None:
        for fields in events:
            self.events[self.id_of(fields)] = dict(fields)

    def user(self, localpart: str = "rem") -> str:
        return f"@{localpart}:{self.server}"

    def event(
        self,
        event_type: str = "m.room.message",
        content: Mapping[str, Any] | None = None,
        state_key: str | None = None,
        *,
        sender: str | None = None,
        prev: Sequence[str] | None = None,
        auth: Sequence[str] | None = None,
        drop: Sequence[str] = (),
        **more: Any,
    ) -> Fields:
        """A signed event after `prev` (the tips); `more` replaces fields before it is signed."""
        self.made += 1
        sender = sender or self.user()
        content = {"msgtype": "m.text", "body": f"{self.made}"} if content is None else content
        prev = self.tips if prev is None else prev
        if auth is None:
            places = auth_event_places(event_type, state_key, sender, content, self.version)
            auth = [self.state[place] for place in places if place in self.state]
        fields: Fields = {
            "room_id": self.room_id,
            "type": event_type,
            "sender": sender,
            "content": dict(content),
            "depth": self.depth + 1,
            "origin_server_ts": NOW_TS + self.made,
            "prev_events": self.references(prev),
            "auth_events": self.references(auth),
        }
        if state_key is not None:
            fields["state_key"] = state_key
        if self.version.event_format is EventFormat.V1:
            fields["event_id"] = f"$e{self.made}{self.room_id[1:6]}:{self.server}"
        fields |= more
        for name in drop:
            fields.pop(name)
        return self.seal(fields)

    def seal(self, fields: Mapping[str, Any]) -> Fields:
        """The event with a right hash and this server's signature, whatever else is in it."""
        hashed = {**fields, "hashes": {"sha256": content_hash(fields)}, "signatures": {}}
        return sign_event(hashed, lenient(self.version), self.server, self.key)

    def take(self, *events: Fields) -> list[EventId]:
        """Events that follow each other are now part of the line."""
        for fields in events:
            event_id = self.id_of(fields)
            self.events[event_id] = fields
            self.before[event_id] = dict(self.state)
            if "state_key" in fields:
                self.state[fields["type"], fields["state_key"]] = event_id
            self.tips = [event_id]
            self.depth = max(self.depth, fields["depth"])
        return [self.id_of(fields) for fields in events]

    def say(self, *texts: str) -> list[Fields]:
        """Messages one after the other, taken into the line."""
        said = []
        for text in texts:
            said.append(self.event(content={"msgtype": "m.text", "body": text}))
            self.take(said[-1])
        return said

    def references(self, event_ids: Iterable[str]) -> list[Any]:
        """References to events in the form of the room's version."""
        if self.version.event_format is not EventFormat.V1:
            return list(event_ids)
        pairs = []
        for event_id in event_ids:
            known = self.events.get(EventId(event_id))
            hashes = reference_hashes(known, self.version) if known else {"sha256": "A" * 43}
            pairs.append([event_id, hashes])
        return pairs

    def ids_in(self, references: Iterable[Any]) -> list[EventId]:
        return [EventId(one if isinstance(one, str) else one[0]) for one in references]

    def auth_chain(self, event_ids: Iterable[EventId]) -> list[EventId]:
        """All that vouches for some events."""
        chain: dict[EventId, None] = {}
        waiting = list(event_ids)
        while waiting:
            fields = self.events.get(waiting.pop())
            for event_id in self.ids_in(fields["auth_events"]) if fields else ():
                if event_id not in chain:
                    chain[event_id] = None
                    waiting.append(event_id)
        if CREATE in self.state:
            chain[self.state[CREATE]] = None
        return list(chain)

    def behind(
        self, latest: Iterable[EventId], earliest: Iterable[EventId], limit: int
    ) -> list[Fields]:
        """Events before `latest`, back to `earliest`, oldest first."""
        stop, found = set(earliest), dict[EventId, Fields]()
        waiting = [i for one in latest for i in self._prev_of(one)]
        while waiting and len(found) < limit:
            event_id = waiting.pop(0)
            if event_id in stop or event_id in found or event_id not in self.events:
                continue
            found[event_id] = self.events[event_id]
            waiting += self._prev_of(event_id)
        return list(reversed(found.values()))

    def upto(self, event_ids: Iterable[EventId], limit: int) -> list[Fields]:
        """Events and what precedes them, latest first."""
        known = [i for i in event_ids if i in self.events]
        before = self.behind(known, known, limit - len(known))
        return [self.events[i] for i in known] + before[::-1]

    def nearest(self, ts: int, *, backwards: bool) -> Fields | None:
        """The event of the line that is closest to a time."""
        found = [
            (fields["origin_server_ts"], event_id)
            for event_id, fields in self.events.items()
            if (fields["origin_server_ts"] <= ts if backwards else fields["origin_server_ts"] >= ts)
        ]
        if not found:
            return None
        at, event_id = max(found) if backwards else min(found)
        return {"event_id": event_id, "origin_server_ts": at}

    def _prev_of(self, event_id: EventId) -> list[EventId]:
        fields = self.events.get(event_id)
        return self.ids_in(fields["prev_events"]) if fields else []


def lenient(version: RoomVersion) -> RoomVersion:
    """The version without its limits on numbers, for who breaks them."""
    return replace(version, strict_canonical_json=False)


def empty_copy(room_id: str, version_id: str, server: ServerName, key: SigningKey) -> RoomCopy:
    return RoomCopy(room_id, get_room_version(version_id), server, key)
