"""Forgetting the transaction ids of old requests.

Which events are old is told by their place in the stream: it is the order of commits, whereas the
numbers of events are drawn in blocks that a quiet process may use much later.
"""

from storage.database import Database

SELECT_POSITION = "SELECT position FROM stream"


async def stream_position(db: Database) -> int:
    """The stream position of the last commit."""
    position: int = await db.fetchval(SELECT_POSITION)
    return position


DELETE_OF_EVENTS = """
    WITH stretch AS (
        SELECT event_nid, stream_position
          FROM events
         WHERE stream_position > $1 AND stream_position <= $2
         ORDER BY stream_position
         LIMIT $3),
    deleted AS (
        DELETE FROM event_transactions
         WHERE event_nid IN (SELECT event_nid FROM stretch))
    SELECT count(*), max(stream_position) FROM stretch
"""


async def delete_event_transactions(db: Database, after: int, upto: int, limit: int) -> int:
    """Forget the transactions of the next events of the stream; how far that came towards `upto`.

    It is counted in events: of positions there may be very many in between that nothing has.
    """
    count, last = await db.fetchrow(DELETE_OF_EVENTS, after, upto, limit)
    return int(last) if count == limit else upto


DELETE_OF_REQUESTS = """
    WITH deleted AS (
        DELETE FROM request_transactions
         WHERE ctid = ANY(ARRAY(
               SELECT ctid
                 FROM request_transactions
                WHERE created_ts < $1
                ORDER BY created_ts
                LIMIT $2))
     RETURNING 1)
    SELECT count(*) FROM deleted
"""


async def delete_request_transactions(db: Database, created_before: int, limit: int) -> int:
    """Forget at most `limit` old transactions of other requests; how many it were."""
    count: int = await db.fetchval(DELETE_OF_REQUESTS, created_before, limit)
    return count
