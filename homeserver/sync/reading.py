"""One response in the making, as the parts of a catch-up share it."""

from dataclasses import dataclass

from federation.protocol.identifiers import RoomId
from homeserver.sync.classify import Sections
from homeserver.sync.followers import Follower
from homeserver.sync.request import SyncRequest
from homeserver.sync.timelines import BEGINNING, Timeline
from homeserver.sync.token import SyncToken


@dataclass(slots=True)
class Reading:
    """One response in the making."""

    follower: Follower
    request: SyncRequest
    since: int
    """The position of the request's token; `BEGINNING` for an initial sync."""
    token: SyncToken
    sections: Sections
    rooms: dict[int, RoomId]
    ignored: frozenset[str]
    timelines: dict[int, Timeline]

    @property
    def upto(self) -> int:
        """The position that the response reaches."""
        return self.token.position

    def is_newly_joined(self, room_nid: int) -> bool:
        """Whether the user came into the room since the client last asked.

        What happened before is then a gap for the client, however little it was.
        """
        sections = self.sections
        return self.since != BEGINNING and room_nid in sections.joined.keys() & sections.new

    def is_whole(self, room_nid: int) -> bool:
        """Whether the client is told the whole state of a room."""
        return self.since == BEGINNING or self.request.full_state or room_nid in self.sections.new
