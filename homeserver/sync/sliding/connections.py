"""Connections: what was sent down each, kept in the database and, while it is used, in memory.

A client may repeat a request as long as it has not seen the answer, so a version that it came with
stays until it comes with a later one. Ordinary messages make no new version: that rooms were told
up to the position is said by the token. What is only in memory may be forgotten at any time.
"""

from collections.abc import Iterable

from homeserver.clock import Clock
from homeserver.sync.sliding.pos import Pos, UnknownPos
from homeserver.sync.sliding.sent import Changes, Sent, row_of, sent_of
from storage.cache import Cache
from storage.database import Pool
from storage.sliding_connections import (
    ConnectionRow,
    add_connection,
    add_version,
    find_connection,
    note_use,
    version_chain,
)

MOST_CONNECTIONS = 10
"""Connections that a device may have at once."""
NOTED_EVERY_MS = 24 * 3600 * 1000
"""How often at least it is noted that a connection is used."""
CONNECTION_COST = 2_000
ROOM_COST = 250
MEMBER_COST = 60
MOST_PENDING = 4

Members = dict[int, set[int]]
"""State places of members, by room."""


class Connection:
    """A connection in memory.

    `settled` is what the client asked for when it had all that it wanted at that version, so that
    only what has changed since is to be looked at.
    """

    __slots__ = ("_members", "_pending", "nid", "row", "sent", "settled", "used_ts")

    def __init__(self, row: ConnectionRow) -> None:
        self.nid = row.connection_nid
        self.row = row
        self.used_ts = row.used_ts
        self.sent: dict[int, Sent] = {}
        self.settled: object = None
        self._members: tuple[Pos | None, Members] = (None, {})
        self._pending: dict[Pos, tuple[Members, set[int]]] = {}

    def members_at(self, pos: Pos) -> Members:
        """The lazily loaded members that a client at `pos` has; nothing if that is not known."""
        if pos in self._pending:
            _, known = self._members
            added, forgotten = self._pending[pos]
            for room_nid in forgotten:
                known.pop(room_nid, None)
            for room_nid, places in added.items():
                known.setdefault(room_nid, set()).update(places)
            self._members = (pos, known)
            self._pending = {}
        elif self._members[0] != pos:
            self._members = (pos, {})
            self._pending = {}
        return self._members[1]

    def note_members(self, pos: Pos, added: Members, forgotten: Iterable[int]) -> None:
        """Note what the answer with `pos` tells over the one that the client has."""
        self._pending[pos] = (added, set(forgotten))
        while len(self._pending) > MOST_PENDING:
            del self._pending[next(iter(self._pending))]

    @property
    def cost(self) -> int:
        """About how many bytes the connection takes."""
        rooms = sum(len(sent.rooms) for sent in self.sent.values())
        members = sum(map(len, self._members[1].values()))
        return CONNECTION_COST + ROOM_COST * rooms + MEMBER_COST * members


class Connections:
    """Finds connections by the tokens of their clients, and keeps new versions."""

    def __init__(self, db: Pool, clock: Clock, max_bytes: int) -> None:
        self._db = db
        self._clock = clock
        self._known: Cache[int, Connection] = Cache(max_bytes)

    async def find(
        self, pos: Pos, user_nid: int, device_nid: int, conn_id: str
    ) -> tuple[Connection, Sent]:
        """The connection of a token and what the client has. Raises `UnknownPos`."""
        connection = self._known.get(pos.connection_nid)
        if connection is None:
            row = await find_connection(self._db, pos.connection_nid)
            if row is None:
                raise UnknownPos
            connection = Connection(row)
        row = connection.row
        if (row.user_nid, row.device_nid, row.conn_id) != (user_nid, device_nid, conn_id):
            raise UnknownPos
        sent = await self._sent(connection, pos.version)
        connection.sent = {n: kept for n, kept in connection.sent.items() if n >= pos.version}
        self._known.put(connection.nid, connection, connection.cost)
        await self._note_use(connection)
        return connection, sent

    async def begin(self, user_nid: int, device_nid: int, conn_id: str) -> Connection:
        """A new connection, in place of the device's former one of this ID."""
        now = self._clock()
        nid, gone = await add_connection(
            self._db, user_nid, device_nid, conn_id, now, MOST_CONNECTIONS
        )
        for replaced in gone:
            self._known.discard(replaced)
        connection = Connection(ConnectionRow(nid, user_nid, device_nid, conn_id, now))
        self._known.put(nid, connection, connection.cost)
        return connection

    async def keep(self, connection: Connection, sent: Sent, changes: Changes) -> int:
        """The version of what the client has with `changes`, stored. Raises `UnknownPos`."""
        if changes.are_none(sent):
            connection.sent[sent.version] = sent
            return sent.version
        now = self._clock()
        version = await add_version(
            self._db,
            connection.nid,
            row_of(sent, changes),
            known=sent.version,
            kept=sent.chain,
            now=now,
        )
        if version is None:
            self._known.discard(connection.nid)
            raise UnknownPos
        connection.used_ts = now
        connection.sent[version] = sent.followed_by(version, changes)
        self._known.put(connection.nid, connection, connection.cost)
        return version

    async def _sent(self, connection: Connection, version: int) -> Sent:
        known = connection.sent.get(version)
        if known is not None:
            return known
        sent = Sent()
        if version:
            found = sent_of(await version_chain(self._db, connection.nid, version))
            if found is None:
                raise UnknownPos
            sent = found
        connection.sent[version] = sent
        return sent

    async def _note_use(self, connection: Connection) -> None:
        now = self._clock()
        if now - connection.used_ts > NOTED_EVERY_MS:
            connection.used_ts = now
            await note_use(self._db, connection.nid, now)
