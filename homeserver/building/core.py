"""The core: what reads and writes the stream and lets events into rooms; the rest stands on it."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from federation.outbound.policy import RemotePolicyServers
from federation.protocol.identifiers import ServerName
from federation.protocol.signatures import SigningKey
from homeserver.clock import Clock
from homeserver.config.settings import Settings
from homeserver.duty import Duty
from homeserver.other_servers.links import Links
from homeserver.rooms.append import Append
from homeserver.rooms.arrivals import Arrivals
from homeserver.rooms.live import LiveRooms
from homeserver.rooms.policy_servers import PolicyServers
from homeserver.rooms.send import Send
from homeserver.rooms.server_access import ServerAccess
from homeserver.rooms.taking import Door
from storage import bus as bus_module
from storage.auth_edges import AuthEdges
from storage.bus import Bus
from storage.changes import Change, EventAdded
from storage.committer import CHANNEL, Committer
from storage.database import Pool
from storage.names import Names
from storage.nids import Nids
from storage.state_layers import StateLayers
from storage.stream import Stream


@dataclass(frozen=True, slots=True)
class Core:
    """What reads and writes the stream and lets events into rooms."""

    settings: Settings
    clock: Clock
    db: Pool
    names: Names
    bus: Bus
    stream: Stream
    committer: Committer
    nids: Nids
    live: LiveRooms
    append: Append
    arrivals: Arrivals
    policies: PolicyServers
    send: Send
    access: ServerAccess
    key: SigningKey
    links: Links
    """To other servers."""
    cache_bytes: int
    """The budget of all caches together."""

    @property
    def server_name(self) -> ServerName:
        """This server's name."""
        return ServerName(self.settings.server.name)

    @property
    def cache_part(self) -> int:
        """The bytes that one cache of a service may take."""
        return self.cache_bytes // 32

    def tell(self, heard: Callable[[Sequence[Change]], None]) -> None:
        """Have `heard` called with all changes that are committed."""

        async def listener(changes: Sequence[Change], own: bool) -> None:
            del own
            heard(changes)

        self.stream.listen(listener)

    def duty(self, name: str) -> Duty:
        """What one process of this server does at a time."""
        return Duty(self.db, name, self.committer.number)

    def announcer(self, topic: str) -> Callable[[str], Awaitable[None]]:
        """What tells the other processes of this server something on a topic of the bus."""

        async def announce(text: str) -> None:
            await self.bus.publish(topic, text)

        return announce

    def hear(self, topic: str, hear: Callable[[str], None], forget: Callable[[], None]) -> None:
        """Hear what other processes announce; `forget` is called when some may have been missed."""
        self.bus.subscribe(topic, hear)
        self.bus.on_missed(forget)


def build_core(settings: Settings, db: Pool, dsn: str, clock: Clock, links: Links) -> Core:
    """The core over an open pool; nothing runs yet."""
    cache_bytes = settings.cache.budget_mb * 1_048_576
    server_name = ServerName(settings.server.name)
    names = Names(db, cache_bytes // 8)
    bus = Bus(db)
    stream = Stream(db, names, server_name, cache_bytes // 8)
    heard: dict[str, Callable[[str], None]] = {
        CHANNEL: stream.notified,
        bus_module.CHANNEL: bus.hear,
    }
    committer = Committer(dsn, stream.published, heard, bus.lost)
    nids = Nids(db)
    layers = StateLayers(db, cache_bytes // 16)
    live = LiveRooms(db, names, layers, cache_bytes // 8)
    forgets = settings.rooms.forget_on_leave
    append = Append(
        db, names, nids, live, layers, committer, clock, server_name, forgets_left_rooms=forgets
    )
    key = links.own.current[0]
    access = ServerAccess(db, names, cache_bytes // 64)
    policies = PolicyServers(live, access, RemotePolicyServers(links.client))
    door = Door(db, names, nids, live, layers, AuthEdges(db, cache_bytes // 32), append)
    arrivals = Arrivals(door)
    send = Send(db, live, append, clock, server_name, key, arrivals, policies)

    async def drop_moved_rooms(changes: Sequence[Change], own: bool) -> None:
        if own:
            return
        moved = {change.event.room_nid for change in changes if isinstance(change, EventAdded)}
        for room in (await names.rooms.get_many(moved)).values():
            live.drop_id(room.room_id)

    stream.listen(drop_moved_rooms)
    return Core(
        settings,
        clock,
        db,
        names,
        bus,
        stream,
        committer,
        nids,
        live,
        append,
        arrivals,
        policies,
        send,
        access,
        key,
        links,
        cache_bytes,
    )
