"""A database that was restored from a backup: what others have seen and it does not know.

Since the backup was made the server may have gone on for a while, and others remember: clients have
tokens, other servers have IDs of updates and bridges have numbers of transactions that were given
out after the backup. None of them may be given out a second time for something else. So the stream
goes on far behind all of them, and what lies between is remembered as lost: a client with a
token from there is told everything anew (`Stream.holds`).

A position that no former life of the database can have reached is the time in microseconds: a
stream that begins so is slower than the clock. So it stays right if the same backup is restored
twice. Where the clock cannot be trusted, a gap is left that is larger than what happens in years.
"""

from dataclasses import dataclass

from storage.database import Database

LEAST_GAP = 10**11
LAST_KEY = 2**62
"""From this number on there are one-time keys that are the last to be given away."""

SELECT_POSITION = "SELECT position FROM stream"

INSERT_RESTORE = """
    INSERT INTO restores (restored_ts, backup_ts, lost_after, resumed_from)
    VALUES ($1, $2, $3, $4)
"""

RESUME = (
    "UPDATE stream SET position = $1, peers = '{}'",
    # Pushes for what was before the backup were sent before the server was lost.
    "UPDATE duties SET position = $1, holder = NULL",
    # Bridges ignore transactions with a number that they have seen.
    "UPDATE appservices SET txn_id = GREATEST(txn_id, $1), reaches = NULL",
    # Clients look at everybody's devices again. To other servers the next update of a user is one
    # after a gap, which has them fetch the whole list: which update they had last is not known.
    """
    INSERT INTO device_lists (user_nid, stream_position, stream_id)
    SELECT DISTINCT user_nid, $1::bigint, $1::bigint
      FROM devices
        ON CONFLICT (user_nid) DO UPDATE
       SET stream_position = excluded.stream_position, stream_id = excluded.stream_id
    """,
    "UPDATE device_lists SET stream_position = $1",
    """
    INSERT INTO device_lists (user_nid, stream_position)
    SELECT user_nid, $1::bigint
      FROM remote_device_lists
     UNION
    SELECT m.user_nid, $1::bigint
      FROM current_state AS s
      JOIN state_places AS p USING (place_nid)
      JOIN event_types AS t USING (type_nid)
      JOIN memberships AS m ON m.room_nid = s.room_nid AND m.membership = 1
     WHERE t.type = 'm.room.encryption' AND p.state_key = ''
        ON CONFLICT (user_nid) DO NOTHING
    """,
)

FORGET = (
    "UPDATE duties SET holder = NULL",
    # Somebody may have been given them: a key that is used twice makes messages unreadable. Devices
    # make new ones as soon as they are told that they have few. The newest key of each is spared,
    # since matrix-nio takes no notice of a number of 0, and is to be given away after all others:
    # it would have been so before, too.
    f"""
    CREATE TEMPORARY TABLE spared_keys ON COMMIT DROP AS
    SELECT DISTINCT ON (device_nid, algorithm)
           device_nid, algorithm, key_id, {LAST_KEY} + key_nid % {LAST_KEY} AS key_nid, key
      FROM one_time_keys
     ORDER BY device_nid, algorithm, key_nid DESC
    """,  # noqa: S608 - a constant of ours
    "DELETE FROM one_time_keys",
    """
    INSERT INTO one_time_keys (device_nid, algorithm, key_id, key_nid, key)
           OVERRIDING SYSTEM VALUE
    SELECT * FROM spared_keys
    """,
    "UPDATE fallback_keys SET is_used = true",
    # Updates of other servers that were acknowledged do not come again.
    "UPDATE remote_device_lists SET is_complete = false",
    "DELETE FROM remote_devices",
)


async def resume_after_restore(db: Database, backup_ts: int, now_ms: int) -> int:
    """Make a database that was just restored fit to be used; the position where it goes on.

    To be called once, in the transaction that restores it.
    """
    lost_after: int = await db.fetchval(SELECT_POSITION)
    position = max(lost_after + LEAST_GAP, now_ms * 1000)
    for statement in RESUME:
        await db.execute(statement, position)
    for statement in FORGET:
        await db.execute(statement)
    await db.execute(INSERT_RESTORE, now_ms, backup_ts, lost_after, position)
    return position


SELECT_LOST = "SELECT lost_after, resumed_from FROM restores"


async def lost_stretches(db: Database) -> tuple[tuple[int, int], ...]:
    """What restores have undone: positions between two, both of which are good themselves."""
    return tuple((row[0], row[1]) for row in await db.fetch(SELECT_LOST))


@dataclass(frozen=True, slots=True)
class Unannounced:
    """Devices that other servers have not been told of since a restore."""

    restored_ts: int
    announced_upto: int


SELECT_UNANNOUNCED = """
    SELECT restored_ts, announced_upto
      FROM restores
     WHERE announced_upto IS NOT NULL
     ORDER BY restored_ts DESC
     LIMIT 1
"""


async def find_unannounced(db: Database) -> Unannounced | None:
    """The last restore after which not all devices were announced, or None."""
    row = await db.fetchrow(SELECT_UNANNOUNCED)
    return None if row is None else Unannounced(*row)


NOTE_ANNOUNCED = "UPDATE restores SET announced_upto = $2 WHERE restored_ts = $1"
NOTE_ALL_ANNOUNCED = "UPDATE restores SET announced_upto = NULL WHERE restored_ts <= $1"


async def note_announced(db: Database, restored_ts: int, upto: int | None) -> None:
    """Note up to which user devices were announced; None: all of them, also for former ones."""
    if upto is None:
        await db.execute(NOTE_ALL_ANNOUNCED, restored_ts)
    else:
        await db.execute(NOTE_ANNOUNCED, restored_ts, upto)


SELECT_WITH_DEVICES = """
    SELECT d.user_nid, u.user_id, min(d.device_id)
      FROM devices AS d
      JOIN users AS u USING (user_nid)
     WHERE d.user_nid > $1
     GROUP BY d.user_nid, u.user_id
     ORDER BY d.user_nid
     LIMIT $2
"""


async def users_with_devices(db: Database, after: int, limit: int) -> list[tuple[int, str, str]]:
    """The next users who have devices: number, ID and one of the devices."""
    return [(row[0], row[1], row[2]) for row in await db.fetch(SELECT_WITH_DEVICES, after, limit)]
