"""Devices of our users: their names, and when they were last seen."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from federation.protocol.identifiers import DeviceId, UserId
from storage.committer import Write
from storage.database import Database


@dataclass(frozen=True, slots=True)
class Device:
    """A device of a user."""

    device_nid: int
    device_id: DeviceId
    display_name: str | None
    created_ts: int
    last_seen_ts: int | None
    last_seen_ip: str | None
    last_seen_agent: str | None


@dataclass(frozen=True, slots=True)
class Sighting:
    """A device was used at `ts`."""

    device_nid: int
    ts: int
    ip: str
    agent: str | None


COLUMNS = """
    device_nid, device_id, display_name, created_ts, last_seen_ts, last_seen_ip, last_seen_agent
"""
SELECT_OF_USER = f"""
    SELECT {COLUMNS}
      FROM devices
     WHERE user_nid = $1
     ORDER BY device_nid
"""  # noqa: S608


async def devices_of(db: Database, user_nid: int) -> list[Device]:
    """All devices of a user, oldest first."""
    return [Device(*row) for row in await db.fetch(SELECT_OF_USER, user_nid)]


SELECT_ONE = f"""
    SELECT {COLUMNS}
      FROM devices
     WHERE user_nid = $1 AND device_id = $2
"""  # noqa: S608


async def find_device(db: Database, user_nid: int, device_id: str) -> Device | None:
    """A device of a user, or None."""
    row = await db.fetchrow(SELECT_ONE, user_nid, device_id)
    return Device(*row) if row else None


# The update of what is the same already locks the row and returns its number. A row that this
# statement inserted has no xmax.
UPSERT_DEVICE = """
    INSERT INTO devices (user_nid, device_id, display_name, created_ts)
    VALUES ($1, $2, $3, $4)
    ON CONFLICT (user_nid, device_id) DO UPDATE SET device_id = excluded.device_id
 RETURNING device_nid, xmax = 0
"""


async def get_or_add_device(
    db: Database, user_nid: int, device_id: DeviceId, display_name: str | None, created_ts: int
) -> tuple[int, bool]:
    """The device's number, and whether it is new; a known device keeps its display name."""
    row = await db.fetchrow(UPSERT_DEVICE, user_nid, device_id, display_name, created_ts)
    return row[0], row[1]


SELECT_STALE = """
    SELECT u.user_nid, u.user_id, array_agg(d.device_id)
      FROM devices AS d
      JOIN users AS u USING (user_nid)
      JOIN accounts AS a USING (user_nid)
     WHERE coalesce(d.last_seen_ts, d.created_ts) < $1
       AND a.appservice_id IS NULL
       AND NOT EXISTS (SELECT FROM dehydrated_devices AS dry WHERE dry.device_nid = d.device_nid)
     GROUP BY u.user_nid, u.user_id
     LIMIT $2
"""


async def stale_devices(
    db: Database, seen_before: int, limit: int
) -> list[tuple[int, UserId, list[DeviceId]]]:
    """Users, at most `limit`, with their devices that nobody has used since a time.

    Dehydrated devices and those of application services are never used.
    """
    return [(row[0], row[1], row[2]) for row in await db.fetch(SELECT_STALE, seen_before, limit)]


UPDATE_SEEN = """
    UPDATE devices AS d
       SET last_seen_ts = seen.ts, last_seen_ip = seen.ip, last_seen_agent = seen.agent
      FROM unnest($1::integer[], $2::bigint[], $3::text[], $4::text[])
           AS seen (device_nid, ts, ip, agent)
     WHERE d.device_nid = seen.device_nid
"""


async def set_last_seen(db: Database, sightings: Iterable[Sighting]) -> None:
    """Note when and from where devices were used last."""
    # In one order everywhere, so that two processes never wait for each other.
    seen = sorted(sightings, key=lambda sighting: sighting.device_nid)
    await db.execute(
        UPDATE_SEEN,
        [s.device_nid for s in seen],
        [s.ts for s in seen],
        [s.ip for s in seen],
        [s.agent for s in seen],
    )


DELETE_DEVICES = """
    DELETE FROM devices
     WHERE user_nid = $1 AND device_id = ANY($2::text[])
"""

DELETE_SIGNATURES = """
    DELETE FROM key_signatures
     WHERE user_nid = $1 AND key_id = ANY($2::text[])
"""


@dataclass(frozen=True, slots=True)
class RemoveDevices(Write):
    """Devices of a user are gone, with their tokens, pushers and whatever else belongs to them.

    A write of the committer, so that it is one with what other users are told of it.
    """

    order: ClassVar[int] = 90

    user_nid: int
    device_ids: Sequence[DeviceId]

    @property
    def positions(self) -> int:
        """None: who is told is told by a write of its own."""
        return 0

    @classmethod
    async def store(cls, db: Database, placed: Sequence[tuple["RemoveDevices", int]]) -> None:
        """Delete the devices."""
        for write, _ in placed:
            await db.execute(DELETE_DEVICES, write.user_nid, write.device_ids)
            await db.execute(DELETE_SIGNATURES, write.user_nid, write.device_ids)


UPDATE_NAME = "UPDATE devices SET display_name = $3 WHERE user_nid = $1 AND device_id = $2"


@dataclass(frozen=True, slots=True)
class RenameDevice(Write):
    """A device has another display name."""

    order: ClassVar[int] = 10

    user_nid: int
    device_id: DeviceId
    display_name: str | None

    @property
    def positions(self) -> int:
        """None: who is told is told by a write of its own."""
        return 0

    @classmethod
    async def store(cls, db: Database, placed: Sequence[tuple["RenameDevice", int]]) -> None:
        """Set the names."""
        for write, _ in placed:
            await db.execute(UPDATE_NAME, write.user_nid, write.device_id, write.display_name)
