"""What has been sent down a connection, as values: a version of it, and how one follows another."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntFlag

from homeserver.sync.sliding.required_state import RequiredState, from_text
from storage.sliding_connections import SentRow, VersionRow

LIVE = 0
"""The room was sent as far as the token says."""
GONE = -1
WHOLE = 2**31 - 1
"""The timeline limit of a room whose client has all of its history that it may see."""

MOST_LINKS = 12
"""So many versions may rest on each other; the next is stored whole."""


class Told(IntFlag):
    """Extensions of which the client has what there was."""

    RECEIPTS = 1
    ACCOUNT_DATA = 2
    THREADS = 4


NONE = Told(0)


@dataclass(frozen=True, slots=True)
class SentRoom:
    """What the client has of a room.

    It has been told everything up to `position`, the newest `timeline_limit` events without a gap
    between them, and all state that is `required`.
    """

    position: int
    timeline_limit: int
    required: RequiredState
    told: Told

    def reached(self, token_position: int) -> int:
        """Up to where the room was sent."""
        return token_position if self.position == LIVE else self.position


@dataclass(frozen=True, slots=True)
class Sent:
    """A version of what the client has; `chain` are the versions that it rests on, as stored."""

    version: int = 0
    rooms: Mapping[int, SentRoom] = field(default_factory=dict)
    told: Told = NONE
    chain: tuple[int, ...] = ()

    @property
    def is_to_be_whole(self) -> bool:
        """Whether the next version is to be stored whole."""
        return self.version == 0 or len(self.chain) >= MOST_LINKS

    def followed_by(self, version: int, changes: "Changes") -> "Sent":
        """The version that has changes over this one."""
        rooms = {nid: room for nid, room in self.rooms.items() if nid not in changes.rooms}
        rooms |= {nid: room for nid, room in changes.rooms.items() if room is not None}
        chain = () if self.is_to_be_whole else (self.version, *self.chain)
        return Sent(version, rooms, changes.told, chain)


@dataclass(slots=True)
class Changes:
    """In what a new version differs from the one before; None for a room that is gone."""

    told: Told
    rooms: dict[int, SentRoom | None] = field(default_factory=dict)

    def note(self, sent: Sent, room_nid: int, room: SentRoom | None) -> None:
        """Note what the client has of a room from now on."""
        if sent.rooms.get(room_nid) != room:
            self.rooms[room_nid] = room

    def are_none(self, sent: Sent) -> bool:
        """Whether everything stays as it was."""
        return not self.rooms and self.told == sent.told


def row_of(sent: Sent, changes: Changes) -> VersionRow:
    """The row of the version that has `changes` over `sent`."""
    whole = sent.is_to_be_whole
    rooms = sent.followed_by(0, changes).rooms if whole else changes.rooms
    places: dict[str, int] = {}
    rows = []
    for room_nid, room in rooms.items():
        if room is None:
            rows.append(SentRow(room_nid, GONE, 0, 0, 0))
            continue
        place = places.setdefault(room.required.text, len(places))
        rows.append(SentRow(room_nid, room.position, room.timeline_limit, int(room.told), place))
    base = None if whole else sent.version
    return VersionRow(0, base, int(changes.told), rows, list(places))


def sent_of(chain: list[VersionRow]) -> Sent | None:
    """The version of a chain, the latest row of which comes first; None if it has no end."""
    if not chain or chain[-1].base_version is not None:
        return None
    rooms: dict[int, SentRoom] = {}
    for row in reversed(chain):
        required = [from_text(text) for text in row.required_states]
        for room in row.rooms:
            if room.position == GONE:
                rooms.pop(room.room_nid, None)
            else:
                rooms[room.room_nid] = SentRoom(
                    room.position,
                    room.timeline_limit,
                    required[room.requirement],
                    Told(room.extensions),
                )
    return Sent(
        chain[0].version, rooms, Told(chain[0].extensions), tuple(row.version for row in chain[1:])
    )
