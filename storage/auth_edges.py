"""Who vouches for whom: edges from events to their auth events, as far as chains reach.

The auth events of an event never change, so edges may be kept in memory for as long as there is
room.
"""

from collections.abc import Iterable, Mapping, Sequence

from storage.cache import Cache
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

EDGE_BYTES = 200

Edges = Mapping[int, Sequence[int]]


class AuthEdges:
    """Reads the edges of auth chains."""

    def __init__(self, db: Database, max_bytes: int) -> None:
        self._db = db
        self._kept: Cache[int, tuple[int, ...]] = Cache(max_bytes)

    async def reached(self, event_nids: Iterable[int], unsaved: Edges) -> dict[int, Sequence[int]]:
        """The auth events of these events, of their auth events, and so on: event -> auth events.

        `unsaved` has the edges of events that are not in the database yet.
        """
        edges: dict[int, Sequence[int]] = {}
        pending = set(event_nids)
        while pending:
            pending = self._follow_known(edges, pending, unsaved)
            if not pending:
                break
            rows = await self._db.fetch(SELECT_EDGES, list(pending))
            edges |= dict.fromkeys(pending, ())
            pending = set()
            for event_nid, cited in rows:
                edges[event_nid] = tuple(cited)
                self._kept.put(event_nid, tuple(cited), EDGE_BYTES)
        return edges

    def _follow_known(
        self, edges: dict[int, Sequence[int]], start: Iterable[int], unsaved: Edges
    ) -> set[int]:
        """Go on along the edges that are at hand; those events whose edges are not."""
        unknown: set[int] = set()
        pending = list(start)
        while pending:
            event_nid = pending.pop()
            if event_nid in edges:
                continue
            cited = unsaved.get(event_nid) or self._kept.get(event_nid)
            if cited is None:
                unknown.add(event_nid)
            else:
                edges[event_nid] = cited
                pending += cited
        return unknown


SELECT_VOUCHING = """
      WITH RECURSIVE chain (event_nid) AS (
           SELECT unnest($1::bigint[])
            UNION
           SELECT cited.event_nid
             FROM chain
            CROSS JOIN LATERAL (
                  SELECT auth_nids
                    FROM events
                   WHERE events.event_nid = chain.event_nid
                  OFFSET 0) AS e
            CROSS JOIN LATERAL unnest(e.auth_nids) AS cited (event_nid))
    SELECT event_nid FROM chain WHERE event_nid = ANY($2::bigint[])
"""


async def find_vouching(
    db: Database, event_nids: Iterable[int], candidates: Iterable[int]
) -> set[int]:
    """Those of the candidates that are among these events or anywhere in their auth chains."""
    rows = await db.fetch(SELECT_VOUCHING, list(event_nids), list(candidates))
    return {event_nid for (event_nid,) in rows}
