"""The snapshot store against a naive model: every state ever derived stays readable."""

import random
from collections.abc import AsyncIterator, Mapping, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.database import Database, connect
from storage.room_state import (
    REMOVED,
    Layer,
    NewSnapshot,
    Snapshot,
    derive_snapshot,
    find_changes,
    get_layers,
    get_places_at,
    get_snapshots,
    get_state,
    get_states,
    layers_to_merge,
)

ROOM = 1

Step = tuple[int, Mapping[int, int]]
"""The number of the earlier state, from 0 (or -1: none), and what changes."""


def derive_all(
    steps: Sequence[Step],
) -> tuple[list[NewSnapshot], list[dict[int, int]]]:
    """Snapshots and naive states; each step derives from an earlier one (or from nothing)."""
    written: dict[int, Mapping[int, int]] = {}
    snapshots: list[NewSnapshot] = []
    model: list[dict[int, int]] = []
    for number, (parent, changes) in enumerate(steps, start=1):
        base = snapshots[parent % len(snapshots)].snapshot if snapshots and parent >= 0 else None
        before = model[parent % len(model)] if base is not None else {}
        count = layers_to_merge(base, len(changes))
        swallowed = [written[layer.snapshot_nid] for layer in (base.layers if base else ())[:count]]
        new = derive_snapshot(base, changes, swallowed, number, ROOM)
        written[number] = new.entries
        snapshots.append(new)
        merged = {**before, **changes}
        model.append({place: event for place, event in merged.items() if event != REMOVED})
    return snapshots, model


changes = st.dictionaries(st.integers(1, 30), st.integers(0, 10_000), min_size=1, max_size=4)
histories = st.lists(st.tuples(st.integers(-1, 1_000), changes), min_size=1, max_size=60)


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    connection = await connect(database_url)
    yield connection
    await connection.close()


async def test_every_state_of_random_forks_is_read_as_the_naive_model_has_it(db: Database) -> None:
    rng = random.Random(7)
    for _ in range(25):
        steps = [
            (
                rng.randint(-1, 1_000) if rng.random() < 0.3 else number - 1,
                {rng.randint(1, 40): rng.randint(0, 9_999) for _ in range(rng.randint(1, 4))},
            )
            for number in range(rng.randint(1, 80))
        ]
        snapshots, model = derive_all(steps)
        await db.execute("TRUNCATE state_snapshots")
        await NewSnapshot.store(db, [(snapshot, 0) for snapshot in snapshots])
        nids = [snapshot.snapshot.snapshot_nid for snapshot in snapshots]
        for nid, state in zip(nids, model, strict=True):
            assert await get_state(db, nid) == state
        assert await get_states(db, nids) == dict(zip(nids, model, strict=True))
        places = rng.sample(range(1, 41), 7)
        assert await get_places_at(db, nids, places) == {
            nid: {place: state[place] for place in places if place in state}
            for nid, state in zip(nids, model, strict=True)
        }


async def test_changes_between_two_states_lead_from_one_to_the_other(db: Database) -> None:
    rng = random.Random(11)
    steps = [
        (
            rng.randint(0, 1_000) if rng.random() < 0.3 else number - 1,
            {rng.randint(1, 40): rng.randint(0, 9_999) for _ in range(rng.randint(1, 4))},
        )
        for number in range(80)
    ]
    snapshots, model = derive_all(steps)
    await NewSnapshot.store(db, [(snapshot, 0) for snapshot in snapshots])
    for _ in range(100):
        before, after = rng.randrange(80), rng.randrange(80)
        found = (await find_changes(db, {ROOM: (before + 1, after + 1)}))[ROOM]
        places = model[before].keys() | model[after].keys()
        then = {place: model[before].get(place, REMOVED) for place in places}
        now = {place: model[after].get(place, REMOVED) for place in places}
        assert found == {place: now[place] for place in places if now[place] != then[place]}


async def test_a_written_stack_is_read_back(db: Database) -> None:
    snapshots, _ = derive_all([(number - 1, {number: number}) for number in range(1, 12)])
    await NewSnapshot.store(db, [(snapshot, 0) for snapshot in snapshots])
    for written in snapshots:
        assert await get_snapshots(db, [written.snapshot.snapshot_nid]) == [written.snapshot]
    assert await get_layers(db, [3, 1]) == [snapshots[2].entries, snapshots[0].entries]


@given(histories)
def test_layers_at_least_double_from_the_top_of_a_stack_downwards(history: list[Step]) -> None:
    snapshots, _ = derive_all(history)
    for derived in snapshots:
        sizes = [layer.size for layer in derived.snapshot.layers]
        assert all(above <= below for above, below in pairwise(sizes))


def test_an_entry_is_copied_a_logarithmic_number_of_times() -> None:
    count = 4_096
    snapshots, _ = derive_all([(number - 1, {number + 1: number + 1}) for number in range(count)])
    copied = sum(len(snapshot.entries) for snapshot in snapshots)
    assert copied <= count * 13
    assert max(len(snapshot.snapshot.layers) for snapshot in snapshots) <= 13


def test_a_removed_place_does_not_outlive_the_bottom_layer() -> None:
    base = Snapshot(1, (Layer(1, 1),))
    derived = derive_snapshot(base, {5: REMOVED}, [{5: 77}], 2, ROOM)
    assert derived.entries == {}
