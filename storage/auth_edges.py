"""Who vouches for whom: edges from events to their auth events, as far as chains reach."""

from collections.abc import Iterable

from storage.database import Database

SELECT_EDGES = """
      WITH RECURSIVE chain AS (
           SELECT event_nid, auth_nids
             FROM events
            WHERE event_nid = ANY($1::bigint[])
            UNION
           SELECT e.event_nid, e.auth_nids
             FROM chain AS c
            CROSS JOIN LATERAL unnest(c.auth_nids) AS cited (event_nid)
            CROSS JOIN LATERAL (
                  SELECT event_nid, auth_nids
                    FROM events
                   WHERE events.event_nid = cited.event_nid
                  OFFSET 0) AS e)
    SELECT event_nid, auth_nids FROM chain
"""


async def get_auth_edges(db: Database, event_nids: Iterable[int]) -> dict[int, list[int]]:
    """The auth events of these events, of their auth events, and so on: event -> auth events."""
    return dict(await db.fetch(SELECT_EDGES, list(event_nids)))
