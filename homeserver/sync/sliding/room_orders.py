"""The rooms of those users whose clients slide, in the order of their activity."""

from homeserver.sync.followers import Follower
from homeserver.sync.room_order import RoomOrder
from storage.database import Database
from storage.stream import Stream

SELECT_ACTIVITY = """
    SELECT m.room_nid, greatest(m.stream_position, e.stream_position)
      FROM memberships AS m
      LEFT JOIN LATERAL (
           SELECT stream_position
             FROM events
            WHERE events.room_nid = m.room_nid
              AND events.stream_position IS NOT NULL
            ORDER BY events.stream_position DESC
            LIMIT 1) AS e ON m.membership = 1
     WHERE m.user_nid = $1
"""


class RoomOrders:
    """The orders of those users whose clients slide; each hangs on the user's follower."""

    def __init__(self, db: Database, stream: Stream) -> None:
        self._db = db
        self._stream = stream

    async def of(self, follower: Follower) -> RoomOrder:
        """The order of a follower's rooms, made if it has to be."""
        order = follower.order
        if order is None:
            # From now on changes are noted, also those that come while the rest is read.
            order = follower.order = RoomOrder(follower.user_nid, self._stream.position)
        if not order.is_complete:
            rows = await self._db.fetch(SELECT_ACTIVITY, follower.user_nid)
            if not order.is_complete:
                order.complete((row[0], row[1]) for row in rows)
        return order
