"""Auth chains: what vouches for events, and for that, down to the creation of the room."""

from collections.abc import Iterable

from storage.database import Database

SELECT_CHAIN = """
      WITH RECURSIVE chain AS (
           SELECT DISTINCT cited.event_nid
             FROM events
            CROSS JOIN LATERAL unnest(auth_nids) AS cited (event_nid)
            WHERE events.event_nid = ANY($1::bigint[])
            UNION
           SELECT cited.event_nid
             FROM chain
            CROSS JOIN LATERAL (
                  SELECT auth_nids
                    FROM events
                   WHERE events.event_nid = chain.event_nid
                  OFFSET 0) AS e
            CROSS JOIN LATERAL unnest(e.auth_nids) AS cited (event_nid))
    SELECT event_nid FROM chain LIMIT $2
"""


async def get_auth_chain(db: Database, event_nids: Iterable[int], limit: int) -> set[int]:
    """The auth events of these events, of their auth events, and so on; at most `limit`.

    The events themselves are among them only where another one's chain has them.
    """
    rows = await db.fetch(SELECT_CHAIN, list(event_nids), limit)
    return {event_nid for (event_nid,) in rows}
