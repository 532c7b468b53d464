"""Memberships of users of ours in rooms that this server is not in: invites, knocks, their ends."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from storage.changes import Change, InviteChanged
from storage.committer import Write
from storage.database import Database
from storage.memberships import MemberChange, change_memberships


@dataclass(frozen=True, slots=True)
class SetMembershipElsewhere(Write):
    """The membership of a user of ours in a room held elsewhere; its event is an outlier."""

    order: ClassVar[int] = 25

    room_nid: int
    member: MemberChange

    @classmethod
    async def store(
        cls, db: Database, placed: Sequence[tuple["SetMembershipElsewhere", int]]
    ) -> None:
        """Write the last membership of each user and room."""
        await change_memberships(
            db, [(write.room_nid, position, write.member) for write, position in placed]
        )

    def changes(self, position: int) -> Sequence[Change]:
        """The user hears of it."""
        return (InviteChanged(position, self.room_nid, self.member.user_nid),)


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
