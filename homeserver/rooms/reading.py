"""All services that show rooms to users, put together."""

from collections.abc import Sequence
from dataclasses import dataclass

from homeserver.rooms.child_events import ChildEvents
from homeserver.rooms.client_events import ClientEvents
from homeserver.rooms.history import History, MissingHistory
from homeserver.rooms.ignored_users import IgnoredUsers
from homeserver.rooms.initial_sync import InitialSync
from homeserver.rooms.members import Members
from homeserver.rooms.mutual_rooms import MutualRooms
from homeserver.rooms.peeking import Peeking
from homeserver.rooms.search import Search
from homeserver.rooms.spaces import Spaces
from homeserver.rooms.summary import RemoteSummaries, Summaries
from homeserver.rooms.threads import Threads
from homeserver.rooms.timestamps import RemoteTimes, Timestamps
from storage.changes import Change
from storage.database import Pool
from storage.names import Names


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


@dataclass(frozen=True, slots=True)
class ReadingPorts:
    """What reading rooms can ask of other servers; None asks nobody."""

    missing: MissingHistory | None = None
    times: RemoteTimes | None = None
    summaries: RemoteSummaries | None = None


NO_PORTS = ReadingPorts()


def build_reading(
    db: Pool,
    names: Names,
    clients: ClientEvents,
    ignored: IgnoredUsers,
    ports: ReadingPorts = NO_PORTS,
) -> RoomReading:
    """Put the services together. `RoomReading.heard` must be told of all changes."""
    history = History(db, names, clients, ignored, ports.missing)
    return RoomReading(
        history=history,
        members=Members(db, names, clients, history),
        children=ChildEvents(db, names, clients, ignored),
        threads=Threads(db, names, clients, ignored),
        timestamps=Timestamps(db, names, ports.times),
        mutual_rooms=MutualRooms(db, names),
        summaries=Summaries(db, names, ports.summaries),
        spaces=Spaces(db, names, ports.summaries),
        search=Search(db, names, clients, ignored, history),
        initial_sync=InitialSync(db, names, clients, ignored),
        peeking=Peeking(db, names, clients, ignored),
    )
