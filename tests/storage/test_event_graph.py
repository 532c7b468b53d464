import random

import pytest

from storage.auth_chains import get_auth_chain
from storage.database import open_pool
from storage.event_graph import events_before, events_between, get_pdus, get_sorted_ids
from tests.storage.graphs import Graph, Row, naive_chain, naive_walk, random_graph, store

ALL = 10_000


def shown(graph: Graph, nids: set[int]) -> list[int]:
    """Those that may be shown, in order."""
    ordered = sorted(nids, key=lambda nid: (graph[nid].depth, nid))
    return [nid for nid in ordered if graph[nid].standing in (0, 1)]


@pytest.mark.parametrize("seed", range(8))
async def test_walks_and_chains_are_those_of_plain_searches(database_url: str, seed: int) -> None:
    rng = random.Random(seed)
    graph = random_graph(rng, 60)
    db = await open_pool(database_url, 2)
    try:
        await store(db, graph)
        for _ in range(10):
            starts = rng.sample(sorted(graph), rng.choice([1, 2, 4]))
            stops = rng.sample(sorted(graph), rng.choice([0, 1, 3]))
            names = [f"${nid}" for nid in starts]

            before = [e.event_nid for e in await events_before(db, 1, names, ALL)]
            assert before == shown(graph, set(naive_walk(graph, starts)))[::-1]

            min_depth = rng.choice([0, 0, 10, 40])
            low = [nid for nid, row in graph.items() if row.depth < min_depth]
            found = await events_between(db, 1, [f"${s}" for s in stops], names, min_depth, ALL)
            prevs = [prev for start in starts for prev in graph[start].prev]
            walked = set(naive_walk(graph, prevs, {*starts, *stops, *low}))
            assert [e.event_nid for e in found] == shown(graph, walked)

            assert await get_auth_chain(db, starts, ALL) == naive_chain(graph, starts)
    finally:
        await db.close()


async def test_a_walk_takes_what_is_closest_and_stops(database_url: str) -> None:
    graph = {n: Row(n, 1, n, [n - 1] if n > 1 else []) for n in range(1, 101)}
    graph[101] = Row(101, 1, 51, [50])
    db = await open_pool(database_url, 2)
    try:
        await store(db, graph)
        page = await events_before(db, 1, ["$100", "$101", "$unknown"], 6)
        assert [e.event_nid for e in page] == [100, 99, 98, 101, 50, 49]
        found = await events_between(db, 1, [], ["$100"], 0, 3)
        assert [e.event_nid for e in found] == [97, 98, 99]
        assert await events_before(db, 1, ["$100"], 0) == []
        assert await events_before(db, 2, ["$100"], 5) == []
        assert await events_between(db, 2, [], ["$100"], 0, 5) == []
    finally:
        await db.close()


async def test_a_walk_stays_in_its_room(database_url: str) -> None:
    graph = {1: Row(1, 2, 1), 2: Row(2, 1, 2, [1]), 3: Row(3, 1, 3, [2])}
    db = await open_pool(database_url, 2)
    try:
        await store(db, graph)
        assert [e.event_nid for e in await events_before(db, 1, ["$3"], 9)] == [3, 2]
        assert [e.event_nid for e in await events_between(db, 1, [], ["$3"], 0, 9)] == [2]
    finally:
        await db.close()


async def test_chains_are_bounded_and_pdus_are_in_order(database_url: str) -> None:
    graph = {n: Row(n, 1, 1000 - n, [], [n - 1] if n > 1 else []) for n in range(1, 501)}
    db = await open_pool(database_url, 2)
    try:
        await store(db, graph)
        assert len(await get_auth_chain(db, [500], 10)) == 10
        assert len(await get_auth_chain(db, [500], ALL)) == 499
        assert await get_auth_chain(db, [], ALL) == set()
        assert await get_pdus(db, [1, 2]) == [b'{"n":2}', b'{"n":1}']
        assert await get_sorted_ids(db, [1, 2]) == ["$2", "$1"]
    finally:
        await db.close()


@pytest.mark.slow
async def test_walks_and_chains_do_not_read_whole_tables(database_url: str) -> None:
    """However many events there are, a walk looks up those that it meets."""
    graph = {
        n: Row(n, 1, n, [n - 1] if n > 1 else [], [max(1, n // 2)] if n > 1 else [])
        for n in range(1, 60_001)
    }
    db = await open_pool(database_url, 1)
    try:
        await store(db, graph)
        await db.execute("SELECT pg_stat_reset()")
        await events_before(db, 1, ["$60000"], 100)
        await events_between(db, 1, ["$1"], ["$60000"], 0, 100)
        await get_auth_chain(db, range(59_000, 60_001), ALL)
        await db.execute("SELECT pg_stat_force_next_flush()")
        assert await db.fetchval("SELECT 1") == 1
        by_scan, by_index = await db.fetchrow(
            "SELECT seq_tup_read, idx_scan FROM pg_stat_user_tables WHERE relname = 'events'"
        )
        assert by_scan == 0
        assert 0 < by_index < 10_000
    finally:
        await db.close()
