"""What a pusher that was behind has still to push: what its user has not read since.

What is older than a day no push gateway is told of any more.
"""

from collections.abc import Sequence

from homeserver.clock import Clock
from homeserver.push.decisions import Decisions, Notified
from homeserver.push.unread import UnreadOfUsers
from storage.database import Database
from storage.events import COLUMNS, event_of_row
from storage.pushers import ActivePusher

TOO_OLD_MS = 24 * 3600 * 1000
MOST_MISSED = 200

SELECT_EVENTS = f"""
    SELECT {COLUMNS}
      FROM events AS e
     WHERE e.stream_position = ANY($1::bigint[]) AND e.origin_server_ts > $2
     ORDER BY e.stream_position
"""  # noqa: S608 - constants of ours

SELECT_INVITES = f"""
    SELECT m.stream_position, {COLUMNS}
      FROM memberships AS m
      JOIN events AS e USING (event_nid)
     WHERE m.user_nid = $1 AND m.membership = 2 AND m.stream_position > $2
       AND e.origin_server_ts > $3
     ORDER BY m.stream_position
"""  # noqa: S608 - constants of ours


class Missed:
    """Reads it back from the database."""

    def __init__(
        self, db: Database, unread: UnreadOfUsers, decisions: Decisions, clock: Clock
    ) -> None:
        self._db = db
        self._unread = unread
        self._decisions = decisions
        self._clock = clock

    async def of(self, pusher: ActivePusher, max_age_ms: int = TOO_OLD_MS) -> Sequence[Notified]:
        """What is unread and was not pushed, the latest at most, in order."""
        since, oldest_ts = pusher.progress.sent_upto, self._clock() - max_age_ms
        unread = await self._unread.of(pusher.user_nid, pusher.user_id)
        positions = unread.after(since)[-MOST_MISSED:]
        rows = await self._db.fetch(SELECT_EVENTS, positions, oldest_ts)
        events = [event_of_row(row) for row in rows]
        found = [(event.position or 0, event) for event in events]
        invites = await self._db.fetch(SELECT_INVITES, pusher.user_nid, since, oldest_ts)
        found += [(position, event_of_row(columns)) for position, *columns in invites]
        concerned = (pusher.user_nid,)
        return await self._decisions.notified(
            [(event, position, concerned) for position, event in sorted(found, key=by_position)]
        )


def by_position(item: tuple[int, object]) -> int:
    """The key to sort by."""
    return item[0]
