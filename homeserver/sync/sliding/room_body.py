"""The shape of a room in a response, from its parts. Nothing is read or decided here.

Source: MSC4186, `RoomResult`, under the names that clients know.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from federation.protocol.pdu import StateKey
from homeserver.push.counts import RoomCounts
from storage.changes import StoredEvent


@dataclass(frozen=True, slots=True)
class HeroShown:
    """A member after whom a room is called."""

    user_id: str
    content: Mapping[str, Any]

    def body(self) -> dict[str, Any]:
        """As clients see it."""
        body = {"user_id": self.user_id}
        for key in ("displayname", "avatar_url"):
            value = self.content.get(key)
            if isinstance(value, str):
                body[key] = value
        return body


@dataclass(slots=True)
class RoomBody:
    """What is told of a room; what is None is left out. Events are JSON already."""

    membership: str
    initial: bool = False
    expanded_timeline: bool = False
    is_dm: bool | None = None
    timeline: Sequence[bytes] = ()
    prev_batch: str | None = None
    limited: bool = False
    num_live: int | None = None
    required_state: Sequence[bytes] = ()
    emptied: Sequence[StateKey] = ()
    stripped_state: Sequence[Any] | None = None
    joined_count: int | None = None
    invited_count: int | None = None
    heroes: Sequence[HeroShown] | None = None
    counts: RoomCounts | None = None
    bump_stamp: int | None = None
    changed_texts: dict[str, str | None] = field(default_factory=dict)
    """The name and the avatar, if they are to be told; None for one that is no more."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing that the client does not know."""
        return not (
            self.initial
            or self.timeline
            or self.limited
            or self.required_state
            or self.emptied
            or self.changed_texts
            or self.joined_count is not None
        )

    def body(self) -> dict[str, Any]:
        """As clients see it."""
        body: dict[str, Any] = {"membership": self.membership, **self.changed_texts}
        body |= self._flags()
        body |= self._numbers()
        if self.timeline:
            body["timeline"] = [orjson.Fragment(event) for event in self.timeline]
        if self.prev_batch is not None:
            body["prev_batch"] = self.prev_batch
        if self.required_state or self.emptied:
            stubs = [{"type": kind, "state_key": key} for kind, key in self.emptied]
            events = [orjson.Fragment(event) for event in self.required_state]
            body["required_state"] = [*events, *stubs]
        if self.stripped_state is not None:
            body["invite_state"] = self.stripped_state
        if self.heroes is not None:
            body["heroes"] = [hero.body() for hero in self.heroes]
        return body

    def _flags(self) -> dict[str, bool]:
        flags = {
            "initial": self.initial,
            "unstable_expanded_timeline": self.expanded_timeline,
            "limited": self.limited,
        }
        told = {key: True for key, is_set in flags.items() if is_set}
        return told if self.is_dm is None else {**told, "is_dm": self.is_dm}

    def _numbers(self) -> dict[str, int]:
        numbers = {
            "num_live": self.num_live,
            "joined_count": self.joined_count,
            "invited_count": self.invited_count,
            "bump_stamp": self.bump_stamp,
        }
        told = {key: number for key, number in numbers.items() if number is not None}
        return told if self.counts is None else told | self.counts.total.body()


def text_of(events: Sequence[StoredEvent], event_type: str, key: str) -> str | None:
    """A text in the content of the state event of a type, or None."""
    for event in events:
        if event.type == event_type and event.state_key == "":
            value = event.content.get(key)
            return value if isinstance(value, str) and value else None
    return None
