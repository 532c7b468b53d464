"""All services that show rooms to users."""

from collections.abc import Sequence
from dataclasses import dataclass

from homeserver.rooms.child_events import ChildEvents
from homeserver.rooms.history import History
from homeserver.rooms.initial_sync import InitialSync
from homeserver.rooms.members import Members
from homeserver.rooms.mutual_rooms import MutualRooms
from homeserver.rooms.peeking import Peeking
from homeserver.rooms.search import Search
from homeserver.rooms.spaces import Spaces
from homeserver.rooms.summary import Summaries
from homeserver.rooms.threads import Threads
from homeserver.rooms.timestamps import Timestamps
from storage.changes import Change


@dataclass(frozen=True, slots=True)
class RoomReading:
    """What users read of rooms."""

    history: History
    members: Members
    children: ChildEvents
    threads: Threads
    timestamps: Timestamps
    mutual_rooms: MutualRooms
    summaries: Summaries
    spaces: Spaces
    search: Search
    initial_sync: InitialSync
    peeking: Peeking

    def heard(self, changes: Sequence[Change]) -> None:
        """Tell the services of changes that were committed."""
        self.peeking.heard(changes)
