"""Memberships of users of ours in rooms that this server is not in: invites, knocks, their ends."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from storage.changes import Change, InviteChanged, Membership
from storage.committer import Write
from storage.database import Database

UPSERT = """
    INSERT INTO memberships (
           user_nid, room_nid, event_nid, stream_position, sender_nid, membership, is_local,
           stripped_state)
    SELECT user_nid, room_nid, event_nid, stream_position, sender_nid, membership, true,
           stripped_state
      FROM unnest($1::integer[], $2::integer[], $3::bigint[], $4::bigint[], $5::integer[],
                  $6::smallint[], $7::bytea[])
        AS new (user_nid, room_nid, event_nid, stream_position, sender_nid, membership,
                stripped_state)
    ON CONFLICT (user_nid, room_nid) DO UPDATE
       SET event_nid = excluded.event_nid,
           stream_position = excluded.stream_position,
           sender_nid = excluded.sender_nid,
           membership = excluded.membership,
           stripped_state = excluded.stripped_state,
           forgotten = false
"""


@dataclass(frozen=True, slots=True)
class SetMembershipElsewhere(Write):
    """A user's membership of a room that is held elsewhere; its event is stored as an outlier.

    `stripped_state` is what is known of the room, as a JSON array.
    """

    order: ClassVar[int] = 25

    user_nid: int
    room_nid: int
    event_nid: int
    sender_nid: int
    membership: Membership
    stripped_state: bytes | None

    @classmethod
    async def store(
        cls, db: Database, placed: Sequence[tuple["SetMembershipElsewhere", int]]
    ) -> None:
        """Write the last membership of each user and room."""
        latest = {
            (write.user_nid, write.room_nid): (
                write.user_nid,
                write.room_nid,
                write.event_nid,
                position,
                write.sender_nid,
                write.membership,
                write.stripped_state,
            )
            for write, position in placed
        }
        await db.execute(UPSERT, *map(list, zip(*latest.values(), strict=True)))

    def changes(self, position: int) -> Sequence[Change]:
        """The user hears of it."""
        return (InviteChanged(position, self.room_nid, self.user_nid),)


SELECT_CHANGED = """
    SELECT m.stream_position, m.room_nid, m.user_nid
      FROM memberships AS m
      JOIN events AS e USING (event_nid)
     WHERE m.stream_position > $1 AND m.stream_position <= $2
       AND m.is_local AND e.stream_position IS NULL
"""


async def changed_memberships_elsewhere(db: Database, since: int, upto: int) -> list[InviteChanged]:
    """The memberships elsewhere that changed after `since`, up to `upto`."""
    return [InviteChanged(*row) for row in await db.fetch(SELECT_CHANGED, since, upto)]
