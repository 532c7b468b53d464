"""The layers of room states in memory, and what states are found to differ in by them.

A layer never changes once it was made, so nothing that is kept here has to be forgotten. States of
one room share their lower layers: what differs between them is found, and read, without those.
Layers that are handed to the committer count at once; they are held until their commit.
"""

from collections.abc import Iterable, Mapping, Sequence

from storage.cache import Cache
from storage.database import Database
from storage.room_state import (
    REMOVED,
    Layer,
    NewSnapshot,
    Snapshot,
    get_layers,
    get_places_in,
    get_snapshots,
)

KEPT_ENTRIES = 512
"""Of larger layers only single places are kept, those that were looked up."""
ENTRY_BYTES = 100
LAYER_BYTES = 400
PLACE_BYTES = 250
ABSENT = -1
"""A layer says nothing about a place."""

Entries = Mapping[int, int]
"""A layer's or a state's entries: place -> event."""


class StateLayers:
    """Reads states of rooms by their layers."""

    def __init__(self, db: Database, max_bytes: int) -> None:
        self._db = db
        self._kept: Cache[int, Entries] = Cache(max_bytes // 2)
        self._stacks: Cache[int, Snapshot] = Cache(max_bytes // 4)
        self._places: Cache[tuple[int, int], int] = Cache(max_bytes // 4)
        self._unsaved: dict[int, NewSnapshot] = {}

    def hold(self, new: NewSnapshot) -> None:
        """Know a snapshot that is not in the database yet, until it is released."""
        self._unsaved[new.snapshot.snapshot_nid] = new

    def release(self, snapshot_nids: Iterable[int], *, are_stored: bool) -> None:
        """The snapshots are in the database by now, or never will be."""
        for nid in snapshot_nids:
            new = self._unsaved.pop(nid, None)
            if new is not None and are_stored:
                self._keep_stack(new.snapshot)
                self._keep_entries(nid, new.entries)

    async def snapshots(self, snapshot_nids: Iterable[int]) -> dict[int, Snapshot]:
        """The stacks of snapshots."""
        found: dict[int, Snapshot] = {}
        missing = []
        for nid in set(snapshot_nids):
            unsaved = self._unsaved.get(nid)
            known = unsaved.snapshot if unsaved is not None else self._stacks.get(nid)
            if known is None:
                missing.append(nid)
            else:
                found[nid] = known
        if missing:
            for snapshot in await get_snapshots(self._db, missing):
                self._keep_stack(snapshot)
                found[snapshot.snapshot_nid] = snapshot
        return found

    async def snapshot(self, snapshot_nid: int) -> Snapshot:
        """The stack of a snapshot."""
        return (await self.snapshots((snapshot_nid,)))[snapshot_nid]

    async def entries(self, snapshot_nids: Iterable[int]) -> dict[int, Entries]:
        """The entries of single layers."""
        found: dict[int, Entries] = {}
        missing = []
        for nid in set(snapshot_nids):
            known = self._known_entries(nid)
            if known is None:
                missing.append(nid)
            else:
                found[nid] = known
        if missing:
            for nid, read in zip(missing, await get_layers(self._db, missing), strict=True):
                self._keep_entries(nid, read)
                found[nid] = read
        return found

    async def at(self, snapshot: Snapshot | None, places: Iterable[int]) -> dict[int, int]:
        """Chosen places of a state; those that are empty are left out."""
        found = await self._look_up(snapshot.layers if snapshot else (), places)
        return {place: event for place, event in found.items() if event != REMOVED}

    async def compare(self, snapshots: Sequence[Snapshot | None]) -> list[dict[int, int]]:
        """What states differ in: for each the same places, with its event or `REMOVED`.

        Where two of them differ is among the places; that all have the same there may be.
        """
        stacks = [snapshot.layers if snapshot else () for snapshot in snapshots]
        shared = _shared_layers(stacks)
        own = [stack[: len(stack) - len(shared)] for stack in stacks]
        entries = await self.entries(layer.snapshot_nid for part in own for layer in part)
        states: list[dict[int, int]] = []
        for part in own:
            state: dict[int, int] = {}
            for layer in reversed(part):
                state.update(entries[layer.snapshot_nid])
            states.append(state)
        places = set().union(*states)
        below = await self._look_up(
            shared, {place for state in states for place in places - state.keys()}
        )
        for state in states:
            for place in places - state.keys():
                state[place] = below.get(place, REMOVED)
        return states

    async def changes(self, before: Snapshot | None, after: Snapshot | None) -> dict[int, int]:
        """What leads from one state to another: place -> event, or `REMOVED`."""
        former, state = await self.compare([before, after])
        return {place: event for place, event in state.items() if former[place] != event}

    async def whole(self, snapshot: Snapshot | None) -> dict[int, int]:
        """The whole state."""
        layers = snapshot.layers if snapshot else ()
        entries = await self.entries(layer.snapshot_nid for layer in layers)
        state: dict[int, int] = {}
        for layer in reversed(layers):
            state.update(entries[layer.snapshot_nid])
        return {place: event for place, event in state.items() if event != REMOVED}

    async def _look_up(self, layers: Sequence[Layer], places: Iterable[int]) -> dict[int, int]:
        """The topmost entry of each place, if any layer has one."""
        wanted = set(places)
        found: dict[int, int] = {}
        if not wanted:
            return found
        small = [layer.snapshot_nid for layer in layers if layer.size <= KEPT_ENTRIES]
        known = await self.entries(small)
        large = [layer.snapshot_nid for layer in layers if layer.snapshot_nid not in known]
        if large:
            known |= await self._look_up_in_large(large, wanted)
        for layer in layers:
            entries = known[layer.snapshot_nid]
            hits = {place: entries[place] for place in wanted if place in entries}
            found |= hits
            wanted -= hits.keys()
        return found

    async def _look_up_in_large(
        self, layer_nids: Iterable[int], places: Iterable[int]
    ) -> dict[int, Entries]:
        found: dict[int, dict[int, int]] = {}
        missing = []
        for nid in layer_nids:
            unsaved = self._unsaved.get(nid)
            found[nid] = {}
            for place in places:
                event = (
                    unsaved.entries.get(place, ABSENT)
                    if unsaved
                    else self._places.get((nid, place))
                )
                if event is None:
                    missing.append((nid, place))
                elif event != ABSENT:
                    found[nid][place] = event
        if missing:
            read = await get_places_in(self._db, {n for n, _ in missing}, {p for _, p in missing})
            for nid, place in missing:
                event = read.get(nid, {}).get(place, ABSENT)
                self._places.put((nid, place), event, PLACE_BYTES)
                if event != ABSENT:
                    found[nid][place] = event
        return dict(found)

    def _known_entries(self, nid: int) -> Entries | None:
        unsaved = self._unsaved.get(nid)
        return unsaved.entries if unsaved is not None else self._kept.get(nid)

    def _keep_entries(self, nid: int, entries: Entries) -> None:
        if len(entries) <= KEPT_ENTRIES:
            self._kept.put(nid, entries, LAYER_BYTES + ENTRY_BYTES * len(entries))

    def _keep_stack(self, snapshot: Snapshot) -> None:
        cost = LAYER_BYTES + ENTRY_BYTES * len(snapshot.layers)
        self._stacks.put(snapshot.snapshot_nid, snapshot, cost)


def _shared_layers(stacks: Sequence[Sequence[Layer]]) -> Sequence[Layer]:
    """The layers at the bottom that all stacks have.

    What lies below a layer never changes, so shared layers are always the lowest ones.
    """
    common = set(stacks[0]).intersection(*stacks[1:])
    return [layer for layer in stacks[0] if layer in common]
