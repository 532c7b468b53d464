"""Presence: who is online, idle or away, for users of this server and of others.

Whoever shares a joined room with a user may see that user's presence.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from storage.changes import PresenceSet
from storage.committer import Write
from storage.database import Database

UPSERT = """
    INSERT INTO presence
           (user_nid, stream_position, presence, status_msg, last_active_ts, currently_active)
    SELECT * FROM unnest($1::integer[], $2::bigint[], $3::text[], $4::text[], $5::bigint[],
                         $6::boolean[])
        ON CONFLICT (user_nid)
        DO UPDATE SET stream_position = EXCLUDED.stream_position,
                      presence = EXCLUDED.presence,
                      status_msg = EXCLUDED.status_msg,
                      last_active_ts = EXCLUDED.last_active_ts,
                      currently_active = EXCLUDED.currently_active
"""


@dataclass(frozen=True, slots=True)
class SetPresence(Write):
    """A user's presence changes."""

    user_nid: int
    user_id: str
    presence: str
    status_msg: str | None
    last_active_ts: int
    currently_active: bool

    @classmethod
    async def store(cls, db: Database, placed: Sequence[tuple["SetPresence", int]]) -> None:
        """Write each user's last presence."""
        last = {
            write.user_nid: (
                position,
                write.presence,
                write.status_msg,
                write.last_active_ts,
                write.currently_active,
            )
            for write, position in placed
        }
        await db.execute(UPSERT, list(last), *zip(*last.values(), strict=True))

    def changes(self, position: int) -> Sequence[PresenceSet]:
        """Those who share a room with the user hear of it."""
        return (
            PresenceSet(
                position,
                self.user_nid,
                self.user_id,
                self.presence,
                self.status_msg,
                self.last_active_ts,
                self.currently_active,
            ),
        )


COLUMNS = """
    p.stream_position, p.user_nid, u.user_id, p.presence, p.status_msg, p.last_active_ts,
    p.currently_active
"""

SELECT_AFTER = f"""
    SELECT {COLUMNS}
      FROM presence AS p
      JOIN users AS u USING (user_nid)
     WHERE p.stream_position > $2 AND p.stream_position <= $3
       AND (p.user_nid = $1 OR EXISTS (
           SELECT FROM memberships AS theirs
             JOIN memberships AS mine ON mine.room_nid = theirs.room_nid
            WHERE theirs.user_nid = p.user_nid AND theirs.membership = 1
              AND mine.user_nid = $1 AND mine.membership = 1))
     ORDER BY p.stream_position
"""  # noqa: S608


async def presence_after(db: Database, viewer_nid: int, since: int, upto: int) -> list[PresenceSet]:
    """What the viewer may see of presence that changed after `since`, up to `upto`, in order."""
    return [PresenceSet(*row) for row in await db.fetch(SELECT_AFTER, viewer_nid, since, upto)]


SELECT_OF_USERS = f"""
    SELECT {COLUMNS}
      FROM presence AS p
      JOIN users AS u USING (user_nid)
     WHERE p.user_nid = ANY($1::integer[])
     ORDER BY p.stream_position
"""  # noqa: S608


async def presence_of(db: Database, user_nids: Iterable[int]) -> list[PresenceSet]:
    """The presence of those of the users who have any."""
    return [PresenceSet(*row) for row in await db.fetch(SELECT_OF_USERS, list(user_nids))]


SELECT_CHANGED = f"""
    SELECT {COLUMNS}
      FROM presence AS p
      JOIN users AS u USING (user_nid)
     WHERE p.stream_position > $1 AND p.stream_position <= $2
     ORDER BY p.stream_position
"""  # noqa: S608


async def changed_presence(db: Database, since: int, upto: int) -> list[PresenceSet]:
    """Everybody's presence that changed after `since`, up to `upto`, in order."""
    return [PresenceSet(*row) for row in await db.fetch(SELECT_CHANGED, since, upto)]


SELECT_PRESENT = f"""
    SELECT {COLUMNS}
      FROM presence AS p
      JOIN users AS u USING (user_nid)
      JOIN accounts USING (user_nid)
     WHERE p.presence <> 'offline'
"""  # noqa: S608


async def users_present(db: Database) -> list[PresenceSet]:
    """The users of this server who are not offline."""
    return [PresenceSet(*row) for row in await db.fetch(SELECT_PRESENT)]


SELECT_PRESENT_MEMBERS = f"""
    SELECT m.room_nid, {COLUMNS}
      FROM memberships AS m
      JOIN presence AS p USING (user_nid)
      JOIN users AS u USING (user_nid)
     WHERE m.room_nid = ANY($1::integer[]) AND m.membership = 1 AND m.is_local
       AND p.presence <> 'offline'
"""  # noqa: S608


async def present_members(db: Database, room_nids: Iterable[int]) -> dict[int, list[PresenceSet]]:
    """The users of this server who are in rooms and not offline, by room."""
    found: dict[int, list[PresenceSet]] = {room_nid: [] for room_nid in room_nids}
    for room_nid, *row in await db.fetch(SELECT_PRESENT_MEMBERS, list(found)):
        found[room_nid].append(PresenceSet(*row))
    return found


SELECT_REMOTE_PRESENT = f"""
    SELECT {COLUMNS}
      FROM presence AS p
      JOIN users AS u USING (user_nid)
     WHERE p.presence <> 'offline'
       AND NOT EXISTS (SELECT FROM accounts AS a WHERE a.user_nid = p.user_nid)
"""  # noqa: S608


async def remote_users_present(db: Database) -> list[PresenceSet]:
    """The users of other servers who are not offline, as far as their servers told."""
    return [PresenceSet(*row) for row in await db.fetch(SELECT_REMOTE_PRESENT)]


SELECT_JOINED_USERS = """
    SELECT DISTINCT p.user_nid
      FROM memberships AS m
      JOIN presence AS p USING (user_nid)
     WHERE m.room_nid = ANY($1::integer[]) AND m.membership = 1
"""


async def joined_users(db: Database, room_nids: Iterable[int]) -> list[int]:
    """The members of the rooms who have any presence."""
    return [row[0] for row in await db.fetch(SELECT_JOINED_USERS, list(room_nids))]
