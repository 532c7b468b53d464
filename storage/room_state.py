"""Room states as snapshots: stacks of small layers that share everything that did not change.

A snapshot is a layer of entries (place -> event) on top of the layers of the snapshot it was
derived from. Left alone, a stack would grow by one layer with each state event, and reading a
state would cost as much as the room is old. So a new layer swallows the layers below it that are
no larger than itself, as the digits of a binary counter carry over: sizes at least double from
the top of a stack to its bottom, a stack over n entries has at most log2(n) layers, and an entry
is copied at most log2(n) times in all. Layers never change once written, so every older snapshot
stays readable; equal snapshots are the same row.

A full state is read in one query: the row of the top layer lists the whole stack.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from storage.committer import Write
from storage.database import Database, array_literal

REMOVED = 0
"""In a layer: the place is empty, whatever the layers below say."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer and its number of entries."""

    snapshot_nid: int
    size: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A state of a room, named by its topmost layer; `layers` goes from the top to the bottom."""

    snapshot_nid: int
    layers: tuple[Layer, ...]


@dataclass(frozen=True, slots=True)
class NewSnapshot(Write):
    """A layer to be written, with its entries sorted by place."""

    order: ClassVar[int] = 10

    snapshot: Snapshot
    room_nid: int
    entries: Mapping[int, int]

    @property
    def positions(self) -> int:
        """None: a snapshot is not a change that readers hear of."""
        return 0

    @classmethod
    async def store(cls, db: Database, placed: Sequence[tuple["NewSnapshot", int]]) -> None:
        """Insert the layers."""
        new = [write for write, _ in placed]
        await db.execute(
            INSERT_SNAPSHOTS,
            [write.snapshot.snapshot_nid for write in new],
            [write.room_nid for write in new],
            [array_literal(layer.snapshot_nid for layer in write.snapshot.layers) for write in new],
            [array_literal(layer.size for layer in write.snapshot.layers) for write in new],
            [array_literal(sorted(write.entries)) for write in new],
            [
                array_literal(write.entries[place] for place in sorted(write.entries))
                for write in new
            ],
        )


INSERT_SNAPSHOTS = """
    INSERT INTO state_snapshots (snapshot_nid, room_nid, layers, sizes, places, event_nids)
    SELECT nid, room, layers::bigint[], sizes::integer[], places::integer[], events::bigint[]
      FROM unnest($1::bigint[], $2::integer[], $3::text[], $4::text[], $5::text[], $6::text[])
        AS new (nid, room, layers, sizes, places, events)
"""


def layers_to_merge(base: Snapshot | None, new_size: int) -> int:
    """How many of the base's topmost layers a new layer of `new_size` entries swallows."""
    if base is None:
        return 0
    size = new_size
    for count, layer in enumerate(base.layers):
        if layer.size > size:
            return count
        size += layer.size
    return len(base.layers)


def derive_snapshot(
    base: Snapshot | None,
    changes: Mapping[int, int],
    swallowed: Sequence[Mapping[int, int]],
    snapshot_nid: int,
    room_nid: int,
) -> NewSnapshot:
    """The snapshot that has `changes` (place -> event, or `REMOVED`) over `base`.

    `swallowed` are the entries of the base's topmost layers, as many as `layers_to_merge` said,
    from the top downwards.
    """
    entries: dict[int, int] = {}
    for layer in reversed(swallowed):
        entries.update(layer)
    entries.update(changes)
    below = base.layers[len(swallowed) :] if base is not None else ()
    if not below:
        entries = {place: event for place, event in entries.items() if event != REMOVED}
    layers = (Layer(snapshot_nid, len(entries)), *below)
    return NewSnapshot(Snapshot(snapshot_nid, layers), room_nid, entries)


SELECT_SNAPSHOTS = """
    SELECT snapshot_nid, layers, sizes
      FROM state_snapshots
     WHERE snapshot_nid = ANY($1::bigint[])
"""


async def get_snapshots(db: Database, snapshot_nids: Iterable[int]) -> list[Snapshot]:
    """The stacks of snapshots that were written, in no particular order."""
    rows = await db.fetch(SELECT_SNAPSHOTS, list(snapshot_nids))
    return [Snapshot(nid, tuple(map(Layer, layers, sizes))) for nid, layers, sizes in rows]


SELECT_LAYERS = """
    SELECT snapshot_nid, places, event_nids
      FROM state_snapshots
     WHERE snapshot_nid = ANY($1::bigint[])
"""


async def get_layers(db: Database, snapshot_nids: Sequence[int]) -> list[dict[int, int]]:
    """The entries of single layers, in the order asked for."""
    rows = await db.fetch(SELECT_LAYERS, snapshot_nids)
    found = {nid: dict(zip(places, events, strict=True)) for nid, places, events in rows}
    return [found[nid] for nid in snapshot_nids]


# Each layer is looked up by its key: left to itself, the planner would read the whole table as long
# as its statistics say that it is small.
SELECT_STATE = """
    SELECT layer.places, layer.event_nids
      FROM state_snapshots AS top
      CROSS JOIN unnest(top.layers) WITH ORDINALITY AS stack (nid, height)
      CROSS JOIN LATERAL (
            SELECT places, event_nids
              FROM state_snapshots
             WHERE snapshot_nid = stack.nid
            OFFSET 0) AS layer
     WHERE top.snapshot_nid = $1
     ORDER BY stack.height DESC
"""


async def get_state(db: Database, snapshot_nid: int) -> dict[int, int]:
    """The whole state of a snapshot: place -> event."""
    state: dict[int, int] = {}
    for places, events in await db.fetch(SELECT_STATE, snapshot_nid):
        state.update(zip(places, events, strict=True))
    return {place: event for place, event in state.items() if event != REMOVED}


SELECT_STATES = """
    SELECT top.snapshot_nid, layer.places, layer.event_nids
      FROM state_snapshots AS top
      CROSS JOIN unnest(top.layers) WITH ORDINALITY AS stack (nid, height)
      CROSS JOIN LATERAL (
            SELECT places, event_nids
              FROM state_snapshots
             WHERE snapshot_nid = stack.nid
            OFFSET 0) AS layer
     WHERE top.snapshot_nid = ANY($1::bigint[])
     ORDER BY stack.height DESC
"""


async def get_states(db: Database, snapshot_nids: Iterable[int]) -> dict[int, dict[int, int]]:
    """The whole states of several snapshots: snapshot -> place -> event."""
    wanted = list(set(snapshot_nids))
    states: dict[int, dict[int, int]] = {nid: {} for nid in wanted}
    for nid, places, events in await db.fetch(SELECT_STATES, wanted):
        states[nid].update(zip(places, events, strict=True))
    return {
        nid: {place: event for place, event in state.items() if event != REMOVED}
        for nid, state in states.items()
    }


SELECT_STACKS = """
    SELECT snapshot_nid, layers FROM state_snapshots WHERE snapshot_nid = ANY($1::bigint[])
"""


async def get_stacks(db: Database, snapshot_nids: Iterable[int]) -> dict[int, list[int]]:
    """The layers of snapshots, from the top to the bottom."""
    return dict(await db.fetch(SELECT_STACKS, list(set(snapshot_nids))))


async def find_changes(
    db: Database, pairs: Mapping[int, tuple[int | None, int]]
) -> dict[int, dict[int, int]]:
    """What changed between two snapshots of each room: room -> place -> event after.

    Only layers that the two do not share are read. A place that is empty afterwards is named with
    `REMOVED`.
    """
    stacks = await get_stacks(db, {n for pair in pairs.values() for n in pair if n is not None})
    differing: dict[int, tuple[list[int], list[int]]] = {}
    for room_nid, (before, after) in pairs.items():
        old = stacks[before] if before is not None else []
        new = stacks[after]
        differing[room_nid] = (
            [nid for nid in old if nid not in set(new)],
            [nid for nid in new if nid not in set(old)],
        )
    nids = list({nid for both in differing.values() for part in both for nid in part})
    entries = dict(zip(nids, await get_layers(db, nids), strict=True)) if nids else {}
    changes: dict[int, dict[int, int]] = {}
    befores: dict[int, tuple[int, dict[int, int]]] = {}
    afters: dict[int, tuple[int, dict[int, int]]] = {}
    for room_nid, (old, new) in differing.items():
        before, after = pairs[room_nid]
        afters[room_nid] = (after, _merge(entries[nid] for nid in reversed(new)))
        if before is not None:
            befores[room_nid] = (before, _merge(entries[nid] for nid in reversed(old)))
        changes[room_nid] = afters[room_nid][1]
    await _fill_up(db, afters, {nid: then.keys() for nid, (_, then) in befores.items()})
    await _fill_up(db, befores, {nid: now.keys() for nid, (_, now) in afters.items()})
    for room_nid, (_, then) in befores.items():
        now = afters[room_nid][1]
        changes[room_nid] = {p: event for p, event in now.items() if then.get(p) != event}
    return changes


def _merge(layers: Iterable[Mapping[int, int]]) -> dict[int, int]:
    merged: dict[int, int] = {}
    for layer in layers:
        merged.update(layer)
    return merged


async def _fill_up(
    db: Database,
    states: Mapping[int, tuple[int, dict[int, int]]],
    wanted: Mapping[int, Iterable[int]],
) -> None:
    """Look up the places wanted of each room's state that are not at hand."""
    missing = {nid: set(places) - states[nid][1].keys() for nid, places in wanted.items()}
    missing = {room_nid: places for room_nid, places in missing.items() if places}
    if not missing:
        return
    tops = [states[room_nid][0] for room_nid in missing]
    found = await get_places_at(db, tops, set().union(*missing.values()))
    for room_nid, places in missing.items():
        snapshot_nid, state = states[room_nid]
        state.update({place: found[snapshot_nid].get(place, REMOVED) for place in places})


SELECT_PLACES_AT = """
      WITH stacks AS (
           SELECT top.snapshot_nid AS top, stack.nid, stack.height
             FROM state_snapshots AS top
             CROSS JOIN unnest(top.layers) WITH ORDINALITY AS stack (nid, height)
            WHERE top.snapshot_nid = ANY($1::bigint[])),
           hits AS (
           SELECT layer.snapshot_nid AS nid, place, layer.event_nids[found.at] AS event
             FROM state_snapshots AS layer
             CROSS JOIN unnest($2::integer[]) AS place
             CROSS JOIN LATERAL array_position(layer.places, place) AS found (at)
            WHERE layer.snapshot_nid IN (SELECT nid FROM stacks)
              AND found.at IS NOT NULL)
    SELECT DISTINCT ON (stacks.top, hits.place) stacks.top, hits.place, hits.event
      FROM stacks
      JOIN hits USING (nid)
     ORDER BY stacks.top, hits.place, stacks.height
"""


async def get_places_at(
    db: Database, snapshot_nids: Iterable[int], places: Iterable[int]
) -> dict[int, dict[int, int]]:
    """Chosen places of several snapshots: snapshot -> place -> event.

    Layers that snapshots share are searched once.
    """
    wanted = list(set(snapshot_nids))
    result: dict[int, dict[int, int]] = {nid: {} for nid in wanted}
    for top, place, event in await db.fetch(SELECT_PLACES_AT, wanted, list(set(places))):
        if event != REMOVED:
            result[top][place] = event
    return result


SELECT_PLACES_IN = """
    SELECT layer.snapshot_nid, place, layer.event_nids[found.at]
      FROM state_snapshots AS layer
      CROSS JOIN unnest($2::integer[]) AS place
      CROSS JOIN LATERAL array_position(layer.places, place) AS found (at)
     WHERE layer.snapshot_nid = ANY($1::bigint[])
       AND found.at IS NOT NULL
"""


async def get_places_in(
    db: Database, snapshot_nids: Iterable[int], places: Iterable[int]
) -> dict[int, dict[int, int]]:
    """Chosen places of single layers: layer -> place -> event, or `REMOVED`."""
    found: dict[int, dict[int, int]] = {}
    for nid, place, event in await db.fetch(SELECT_PLACES_IN, list(snapshot_nids), list(places)):
        found.setdefault(nid, {})[place] = event
    return found
