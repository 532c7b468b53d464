"""Room graphs as bare rows, without rules and signatures, and naive walks through them."""

import random
from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from storage.database import Database

INSERT = """
    INSERT INTO events (event_nid, stream_position, depth, origin_server_ts, room_nid, sender_nid,
                        type_nid, standing, prev_nids, auth_nids, event_id, json)
    SELECT nid, CASE WHEN standing = 0 THEN nid END, depth, 0, room, 1, 1, standing,
           prev::bigint[], auth::bigint[], '$' || nid, ('{"n":' || nid || '}')::bytea
      FROM unnest($1::bigint[], $2::bigint[], $3::integer[], $4::smallint[], $5::text[],
                  $6::text[]) AS new (nid, depth, room, standing, prev, auth)
"""


@dataclass
class Row:
    """An event and what it refers to."""

    nid: int
    room_nid: int = 1
    depth: int = 0
    prev: list[int] = field(default_factory=list)
    auth: list[int] = field(default_factory=list)
    standing: int = 0


Graph = dict[int, Row]


async def store(db: Database, graph: Graph) -> None:
    """Insert the rows."""
    rows = list(graph.values())
    await db.execute(
        INSERT,
        [row.nid for row in rows],
        [row.depth for row in rows],
        [row.room_nid for row in rows],
        [row.standing for row in rows],
        [array(row.prev) for row in rows],
        [array(row.auth) for row in rows],
    )


def array(nids: Iterable[int]) -> str:
    return "{" + ",".join(map(str, nids)) + "}"


def random_graph(rng: random.Random, size: int) -> Graph:
    """A graph that forks and joins, with some rejected and soft-failed events in it."""
    graph: Graph = {}
    for nid in range(1, size + 1):
        known = sorted(graph)[-5:]
        prev = sorted(rng.sample(known, min(len(known), rng.choice([1, 1, 1, 2, 3]))))
        auth = sorted(rng.sample(sorted(graph), min(len(graph), rng.choice([1, 2, 3]))))
        depth = max((graph[p].depth for p in prev), default=0) + 1
        graph[nid] = Row(nid, 1, depth, prev, auth, rng.choice([0] * 8 + [1, 2]))
    return graph


def naive_walk(graph: Graph, starts: Iterable[int], stops: Collection[int] = ()) -> list[int]:
    """All that can be reached along `prev`, in the order of being met, but for `stops`."""
    met: list[int] = []
    waiting = deque(starts)
    while waiting:
        nid = waiting.popleft()
        if nid not in met and nid not in stops:
            met.append(nid)
            waiting += graph[nid].prev
    return met


def naive_chain(graph: Graph, starts: Iterable[int]) -> set[int]:
    """All that can be reached along `auth`."""
    met: set[int] = set()
    waiting = [auth for start in starts for auth in graph[start].auth]
    while waiting:
        nid = waiting.pop()
        if nid not in met:
            met.add(nid)
            waiting += graph[nid].auth
    return met
