"""States compared by the layers that they do not share, against a naive model."""

import random
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from storage.database import Database, connect
from storage.room_state import REMOVED, NewSnapshot
from storage.state_layers import KEPT_ENTRIES, StateLayers
from tests.storage.test_room_state import Step, derive_all


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    connection = await connect(database_url)
    yield connection
    await connection.close()


def random_history(rng: random.Random, places: int, first_size: int) -> list[Step]:
    """A large first state, then forks of it."""
    first = (-1, {place: rng.randint(1, 9_999) for place in rng.sample(range(places), first_size)})
    return [
        first,
        *(
            (
                rng.randint(0, 1_000) if rng.random() < 0.3 else number - 1,
                {rng.randrange(places): rng.randint(0, 9_999) for _ in range(rng.randint(1, 4))},
            )
            for number in range(1, 50)
        ),
    ]


@pytest.mark.parametrize("first_size", [5, KEPT_ENTRIES + 100])
@pytest.mark.parametrize("stored", ["all", "some", "none"])
async def test_what_states_differ_in_is_found(db: Database, first_size: int, stored: str) -> None:
    rng = random.Random(f"{first_size} {stored}")
    for _ in range(5):
        snapshots, model = derive_all(random_history(rng, 2 * first_size, first_size))
        count = {"all": len(snapshots), "some": len(snapshots) // 2, "none": 0}[stored]
        await db.execute("TRUNCATE state_snapshots")
        await NewSnapshot.store(db, [(snapshot, 0) for snapshot in snapshots[:count]])
        layers = StateLayers(db, 100_000)
        for snapshot in snapshots[count:]:
            layers.hold(snapshot)
        stacks = await layers.snapshots(s.snapshot.snapshot_nid for s in snapshots)
        assert stacks == {s.snapshot.snapshot_nid: s.snapshot for s in snapshots}
        for _ in range(20):
            chosen = [rng.randrange(len(model)) for _ in range(rng.randint(2, 4))]
            compared = await layers.compare([snapshots[n].snapshot for n in chosen])
            places = compared[0].keys()
            for n, state in zip(chosen, compared, strict=True):
                assert state == {place: model[n].get(place, REMOVED) for place in places}
            outside = [{p: e for p, e in model[n].items() if p not in places} for n in chosen]
            assert all(one == outside[0] for one in outside)
            before, after = chosen[:2]
            changes = await layers.changes(snapshots[before].snapshot, snapshots[after].snapshot)
            assert all(model[before].get(place, REMOVED) != e for place, e in changes.items())
            merged = {**model[before], **changes}
            assert {p: e for p, e in merged.items() if e != REMOVED} == model[after]
            asked = rng.sample(range(2 * first_size), 5)
            assert await layers.at(snapshots[after].snapshot, asked) == {
                place: model[after][place] for place in asked if place in model[after]
            }
            assert await layers.whole(snapshots[after].snapshot) == model[after]


async def test_states_that_share_a_large_layer_are_compared_without_reading_it(
    db: Database,
) -> None:
    base = {place: place + 1 for place in range(1, 5_000)}
    snapshots, _ = derive_all([(-1, base), (0, {1: 7}), (0, {2: 8})])
    await NewSnapshot.store(db, [(snapshot, 0) for snapshot in snapshots])
    read: list[int] = []

    class Counting:
        async def fetch(self, query: str, *args: Any) -> list[Any]:
            rows = await db.fetch(query, *args)
            read.append(sum(len(value) for row in rows for value in row if isinstance(value, list)))
            return rows

    layers = StateLayers(cast(Database, Counting()), 100_000)
    stacks = await layers.snapshots([2, 3])
    assert await layers.compare([stacks[2], stacks[3]]) == [{1: 7, 2: 3}, {1: 2, 2: 8}]
    assert sum(read) < 20


async def test_a_snapshot_that_never_came_to_be_is_forgotten(db: Database) -> None:
    snapshots, _ = derive_all([(-1, {1: 1})])
    layers = StateLayers(db, 100_000)
    layers.hold(snapshots[0])
    layers.release([1], are_stored=False)
    with pytest.raises(KeyError):
        await layers.snapshot(1)
