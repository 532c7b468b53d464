import random

from storage.timeline import (
    HIGHEST,
    LOWEST,
    Criteria,
    Point,
    Span,
    latest_events,
    neighbours_of,
    page_of_history,
    search_history,
    span_received_after,
    span_received_upto,
)
from tests.committing import Store, add_room, open_store

INSERT = """
    INSERT INTO events (event_nid, stream_position, depth, origin_server_ts, room_nid, sender_nid,
                        type_nid, prev_nids, auth_nids, event_id, json)
    SELECT nid, position, depth, 0, $1, sender, 1, '{}', '{}', '$' || nid,
           '{"content":{},"sender":"@a:b","type":"t"}'
      FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::integer[])
        AS new (nid, position, depth, sender)
"""


async def scatter(store: Store, room_nid: int, chance: random.Random) -> dict[Point, int]:
    """Events whose depths are roughly in the order of arrival, some of them fetched later."""
    positions = [*range(-20, 0), *range(1, 80)]
    depths = [position + 30 + chance.randrange(-6, 6) for position in positions]
    senders = [chance.randrange(1, 4) for _ in positions]
    nids = list(range(1, len(positions) + 1))
    await store.db.execute(INSERT, room_nid, nids, positions, depths, senders)
    return dict(zip(zip(depths, positions, strict=True), senders, strict=True))


def inside(span: Span, point: Point) -> bool:
    after, upto = span.received_after, span.received_upto
    return (
        span.after < point <= span.upto
        and (after is None or point[1] > after)
        and (upto is None or point[1] <= upto)
    )


async def test_pages_are_the_ends_of_spans(database_url: str) -> None:
    chance = random.Random(1)
    async with open_store(database_url) as store:
        room_nid = await add_room(store, "!room")
        events = await scatter(store, room_nid, chance)
        for _ in range(60):
            ends = sorted(chance.choice([*events, LOWEST, HIGHEST, (40, 0)]) for _ in range(2))
            span = Span(room_nid, ends[0], ends[1])
            if chance.random() < 0.5:
                span = await span_received_after(store.db, span, chance.randrange(0, 85))
            if chance.random() < 0.5:
                span = await span_received_upto(store.db, span, chance.randrange(0, 85))
            expected = sorted(point for point in events if inside(span, point))
            for backwards in (False, True):
                limit = chance.randrange(1, 30)
                read = await page_of_history(store.db, span, limit, backwards=backwards)
                ordered = expected[::-1] if backwards else expected
                assert [(e.depth, e.position) for e in read] == ordered[:limit]


async def test_a_bound_by_depth_leaves_out_nothing_that_was_received(database_url: str) -> None:
    async with open_store(database_url) as store:
        room_nid = await add_room(store, "!room")
        events = await scatter(store, room_nid, random.Random(2))
        for position in (0, 1, 40, 78):
            after = await span_received_after(store.db, Span(room_nid), position)
            upto = await span_received_upto(store.db, Span(room_nid), position)
            for point in events:
                assert inside(after, point) == (point[1] > position)
                assert inside(upto, point) == (point[1] <= position)


async def test_a_search_finds_all_that_is_wanted_stretch_by_stretch(database_url: str) -> None:
    async with open_store(database_url) as store:
        room_nid = await add_room(store, "!room")
        events = await scatter(store, room_nid, random.Random(3))
        expected = sorted(point for point, sender in events.items() if sender == 2)
        for backwards in (False, True):
            for limit, length in ((1, 100), (5, 7), (100, 10), (100, 1000)):
                found: list[Point] = []
                span: Span | None = Span(room_nid)
                while span is not None:
                    stretch = await search_history(
                        store.db, span, Criteria(senders=[2]), limit, length, backwards=backwards
                    )
                    assert len(stretch.event_nids) <= limit
                    rows = await store.db.fetch(
                        "SELECT event_nid, depth, stream_position FROM events"
                    )
                    points = {nid: (depth, position) for nid, depth, position in rows}
                    found += [points[nid] for nid in stretch.event_nids]
                    if stretch.last is None:
                        span = None
                    elif backwards:
                        before = (stretch.last[0], stretch.last[1] - 1)
                        span = Span(room_nid, upto=before)
                    else:
                        span = Span(room_nid, after=stretch.last)
                assert found == (expected[::-1] if backwards else expected)


async def test_neighbours_and_latest_events_are_told_of_several_at_once(database_url: str) -> None:
    async with open_store(database_url) as store:
        room_nid = await add_room(store, "!room")
        events = sorted(await scatter(store, room_nid, random.Random(4)))
        everything = await page_of_history(store.db, Span(room_nid), 1000, backwards=False)
        chosen = [everything[0], everything[50], everything[-1]]
        around = await neighbours_of(store.db, [e.event_nid for e in chosen], 3, 2)
        for event in chosen:
            at = everything.index(event)
            assert around[event.event_nid].before == everything[max(0, at - 3) : at][::-1]
            assert around[event.event_nid].after == everything[at + 1 : at + 3]
        latest = await latest_events(store.db, {room_nid: 30, room_nid + 1: 30}, 4)
        points = [point for point in events if point[1] <= 30][-4:]
        assert [(e.depth, e.position) for e in latest[room_nid]] == points
        assert latest[room_nid + 1] == []
