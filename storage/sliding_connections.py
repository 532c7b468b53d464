"""Connections of sliding sync, and the versions of what was sent down each.

A version never changes once it is stored, so whoever has read one may keep it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from storage.database import Database, Pool

KEPT_BESIDE = 8
"""Versions kept of those that a client was told and has not come back with."""


@dataclass(frozen=True, slots=True)
class ConnectionRow:
    """A connection: whose it is, and when it was last noted to be in use."""

    connection_nid: int
    user_nid: int
    device_nid: int
    conn_id: str
    used_ts: int


@dataclass(frozen=True, slots=True)
class SentRow:
    """How far a room was sent: `requirement` is a place in the list of required states."""

    room_nid: int
    position: int
    timeline_limit: int
    extensions: int
    requirement: int


@dataclass(frozen=True, slots=True)
class VersionRow:
    """A version, or in what it differs from its base."""

    version: int
    base_version: int | None
    extensions: int
    rooms: Sequence[SentRow]
    required_states: Sequence[str]


DELETE_REPLACED = """
    DELETE FROM sliding_connections
     WHERE user_nid = $1
       AND device_nid = $2
       AND (conn_id = $3
            OR connection_nid NOT IN (
               SELECT connection_nid
                 FROM sliding_connections
                WHERE user_nid = $1 AND device_nid = $2 AND conn_id <> $3
                ORDER BY used_ts DESC, connection_nid DESC
                LIMIT $4))
 RETURNING connection_nid
"""

INSERT_CONNECTION = """
    INSERT INTO sliding_connections (user_nid, device_nid, conn_id, last_version, used_ts)
    VALUES ($1, $2, $3, 0, $4)
 RETURNING connection_nid
"""


async def add_connection(
    db: Pool, user_nid: int, device_nid: int, conn_id: str, now_ms: int, most: int
) -> tuple[int, list[int]]:
    """Begin a connection in place of the device's former one of this ID.

    The device keeps at most `most`, those that were used last. The numbers of the new connection
    and of those that are gone.
    """
    async with db.transaction() as transaction:
        gone = await transaction.fetch(DELETE_REPLACED, user_nid, device_nid, conn_id, most - 1)
        nid = await transaction.fetchval(INSERT_CONNECTION, user_nid, device_nid, conn_id, now_ms)
        return int(nid), [row[0] for row in gone]


SELECT_CONNECTION = """
    SELECT connection_nid, user_nid, device_nid, conn_id, used_ts
      FROM sliding_connections
     WHERE connection_nid = $1
"""


async def find_connection(db: Database, connection_nid: int) -> ConnectionRow | None:
    """The connection of a number, or None."""
    row = await db.fetchrow(SELECT_CONNECTION, connection_nid)
    return ConnectionRow(*row) if row else None


NOTE_USE = "UPDATE sliding_connections SET used_ts = $2 WHERE connection_nid = $1"


async def note_use(db: Database, connection_nid: int, now_ms: int) -> None:
    """Note that a connection is in use."""
    await db.execute(NOTE_USE, connection_nid, now_ms)


SELECT_VERSION = """
      WITH RECURSIVE chain AS (
           SELECT *
             FROM sliding_versions
            WHERE connection_nid = $1 AND version = $2
            UNION ALL
           SELECT base.*
             FROM chain
             JOIN sliding_versions AS base
               ON base.connection_nid = chain.connection_nid
              AND base.version = chain.base_version)
    SELECT version, base_version, extensions, room_nids, positions, timeline_limits,
           room_extensions, requirements, required_states
      FROM chain
     ORDER BY version DESC
"""


async def version_chain(db: Database, connection_nid: int, version: int) -> list[VersionRow]:
    """A version and what it rests on, the latest first; nothing if it is not there."""
    return [
        VersionRow(number, base, extensions, [SentRow(*s) for s in zip(*columns, strict=True)], req)
        for number, base, extensions, *columns, req in await db.fetch(
            SELECT_VERSION, connection_nid, version
        )
    ]


# What the client came with, and what that rests on, stays; so do the latest of those that it was
# told and has not come back with.
INSERT_VERSION = """
      WITH moved AS (
           UPDATE sliding_connections
              SET last_version = last_version + 1, used_ts = $2
            WHERE connection_nid = $1
        RETURNING last_version),
           outdated AS (
           DELETE FROM sliding_versions
            WHERE connection_nid = $1
              AND version <> ALL($3::integer[])
              AND (version < $4 OR version <= (SELECT last_version FROM moved) - $5))
    INSERT INTO sliding_versions (
           connection_nid, version, base_version, extensions, room_nids, positions,
           timeline_limits, room_extensions, requirements, required_states)
    SELECT $1, last_version, $6, $7, $8, $9, $10, $11, $12, $13
      FROM moved
 RETURNING version
"""


async def add_version(
    db: Database, connection_nid: int, new: VersionRow, *, known: int, kept: Sequence[int], now: int
) -> int | None:
    """Store a new version and give its number; None if the connection is gone.

    `known` is the version that the client came with, `kept` are those that it rests on, too.
    """
    rooms = list(new.rooms)
    number = await db.fetchval(
        INSERT_VERSION,
        connection_nid,
        now,
        [known, *kept],
        known,
        KEPT_BESIDE,
        new.base_version,
        new.extensions,
        [room.room_nid for room in rooms],
        [room.position for room in rooms],
        [room.timeline_limit for room in rooms],
        [room.extensions for room in rooms],
        [room.requirement for room in rooms],
        list(new.required_states),
    )
    return number if number is None else int(number)


DELETE_UNUSED = """
      WITH unused AS (
           DELETE FROM sliding_connections
            WHERE connection_nid IN (
                  SELECT connection_nid
                    FROM sliding_connections
                   WHERE used_ts < $1
                   LIMIT $2)
        RETURNING 1)
    SELECT count(*) FROM unused
"""


async def delete_unused_connections(db: Database, used_before: int, limit: int) -> int:
    """Forget at most `limit` connections that nobody has used for long; how many it were."""
    return int(await db.fetchval(DELETE_UNUSED, used_before, limit))


DELETE_OF_LOST_DEVICES = """
      WITH lost AS (
           DELETE FROM sliding_connections
            WHERE connection_nid IN (
                  SELECT connection_nid
                    FROM sliding_connections AS c
                   WHERE c.device_nid <> 0
                     AND NOT EXISTS (SELECT FROM devices AS d WHERE d.device_nid = c.device_nid)
                   LIMIT $1)
        RETURNING 1)
    SELECT count(*) FROM lost
"""


async def delete_connections_of_lost_devices(db: Database, limit: int) -> int:
    """Forget at most `limit` connections of devices that are gone; how many it were."""
    return int(await db.fetchval(DELETE_OF_LOST_DEVICES, limit))
