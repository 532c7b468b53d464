"""Writing rooms and events: everything that one event changes, many events at a time.

An event brings along what its arrival moves: the head of its room, the current state, the
memberships, its relation, the redaction that it is, the transaction ID that its sender chose.
A room's head carries a revision. Events are made against the head that their process knows; if
another process has moved it meanwhile, the update finds another revision and `RoomMoved` undoes
the transaction, so that the event is made again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import asyncpg

from storage.changes import (
    Change,
    DelayEcho,
    EventAdded,
    InviteChanged,
    Membership,
    Standing,
    StoredEvent,
    TransactionEcho,
)
from storage.committer import Write
from storage.database import Database, array_literal
from storage.delayed_events import DelayedSending, finalise_sent
from storage.history_gaps import GapRow, close_gaps, open_gaps
from storage.room_state import REMOVED


class RoomMoved(Exception):
    """The head of these rooms is not what the events were made against; make them again."""

    def __init__(self, room_nids: Sequence[int]) -> None:
        super().__init__(f"rooms {list(room_nids)} have moved on")
        self.room_nids = frozenset(room_nids)


class TransactionSeen(Exception):
    """The device has already sent an event with this transaction ID."""


class EventSeen(Exception):
    """The event is stored already."""


class RoomExists(Exception):
    """A room of this ID exists already."""


@dataclass(frozen=True, slots=True)
class HeadMove:
    """The head of a room after an event."""

    expected_revision: int
    snapshot_nid: int | None
    max_depth: int
    forward_extremities: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class StateChange:
    """The current state has another event at a place, or none (`REMOVED`)."""

    place_nid: int
    event_nid: int
    is_member: bool


@dataclass(frozen=True, slots=True)
class MemberChange:
    """Somebody's membership of the room after an event."""

    user_nid: int
    sender_nid: int
    event_nid: int
    membership: Membership
    is_local: bool
    stripped_state: bytes | None = None
    forgotten: bool = False
    """Whether somebody who leaves has forgotten the room at once."""


@dataclass(frozen=True, slots=True)
class Relation:
    """What an event relates to, by its `m.relates_to`."""

    rel_type: str
    parent_event_id: str
    annotation_key: str | None


@dataclass(frozen=True, slots=True)
class RedactionEffect:
    """A redaction's target; `redacted_json` is its stored form from now on, None if not applied."""

    redacts: str
    target_nid: int | None
    redacted_json: bytes | None


@dataclass(frozen=True, slots=True)
class Transaction:
    """The request that made an event: `path_digest` tells its endpoint and transaction ID."""

    device_nid: int
    path_digest: int
    txn_id: str


Cause = Transaction | DelayedSending
"""What an event of a user of ours was made by: a request, or a delayed event."""


@dataclass(frozen=True, slots=True)
class AddEvent(Write):
    """An event and what it moves.

    `event.position` is None, it is given at the commit; only history that is fetched later has
    one already, a negative one.
    """

    order: ClassVar[int] = 20

    event: StoredEvent
    type_nid: int
    origin_server_ts: int
    prev_nids: tuple[int, ...]
    auth_nids: tuple[int, ...]
    head: HeadMove | None = None
    state_changes: tuple[StateChange, ...] = ()
    members: tuple[MemberChange, ...] = ()
    relation: Relation | None = None
    redaction: RedactionEffect | None = None
    cause: Cause | None = None
    is_distributed: bool = False
    """Another server has taken on to tell all servers in the room."""
    missing_prev: tuple[str, ...] = ()
    """What the event follows that has no place here."""
    may_be_missed: bool = False
    """Other events of the room may have come before this one, which they follow."""

    @property
    def positions(self) -> int:
        """One for an event that enters the timeline; older history brings its position along."""
        is_new = self.event.standing == Standing.ACCEPTED and self.event.position is None
        return 1 if is_new else 0

    @classmethod
    async def store(cls, db: Database, placed: Sequence[tuple["AddEvent", int]]) -> None:
        """Insert the events, then move what they move.

        Raises `RoomMoved`, `TransactionSeen`, `AlreadyFinalised`, `EventSeen`.
        """
        await _store_events(db, placed)
        adds = [add for add, _ in placed]
        await _finalise_delayed(db, adds)
        await _change_state(db, adds)
        await _change_members(db, placed)
        await _insert_relations(db, placed)
        await _apply_redactions(db, adds)
        await _note_merged_states(db, placed)
        await open_gaps(db, _gap_rows(placed))
        found = [
            (add.event.room_nid, add.event.event_id, add.event.event_nid)
            for add in adds
            if add.may_be_missed
        ]
        await close_gaps(db, found)

    def changes(self, position: int) -> Sequence[Change]:
        """The event, for those that enter the timeline."""
        if not self.positions:
            return ()
        event = at_position(self.event, position)
        echo = echo_of(self.cause)
        own = next((m for m in self.members if m.event_nid == event.event_nid), None)
        others = [
            InviteChanged(position, event.room_nid, member.user_nid)
            for member in self.members
            if member is not own and member.is_local
        ]
        if own is None:
            added = EventAdded(
                position,
                event,
                echo,
                None,
                None,
                is_local_member=False,
                follows_gap=bool(self.missing_prev),
                changes_state=bool(self.state_changes),
            )
            return (added, *others)
        added = EventAdded(
            position,
            event,
            echo,
            own.user_nid,
            own.membership,
            own.is_local,
            self.is_distributed,
            follows_gap=bool(self.missing_prev),
            changes_state=bool(self.state_changes),
        )
        return (added, *others)


def echo_of(cause: Cause | None) -> TransactionEcho | DelayEcho | None:
    """What the sender is shown of what an event was made by."""
    if isinstance(cause, Transaction):
        return TransactionEcho(cause.device_nid, cause.txn_id)
    return None if cause is None else DelayEcho(cause.delay_id)


def at_position(event: StoredEvent, position: int) -> StoredEvent:
    """The same event at its place in the stream."""
    return StoredEvent(
        event.event_nid,
        position,
        event.depth,
        event.room_nid,
        event.sender_nid,
        event.place_nid,
        event.snapshot_nid,
        event.replaces_nid,
        event.redacted_by,
        event.standing,
        event.event_id,
        event.json,
        event.fields,
    )


STORE_EVENTS = """
      WITH added AS (
           INSERT INTO events (
                  event_nid, stream_position, depth, origin_server_ts, snapshot_nid, replaces_nid,
                  redacted_by, room_nid, sender_nid, type_nid, place_nid, standing,
                  prev_nids, auth_nids, event_id, json)
           SELECT event_nid, stream_position, depth, origin_server_ts, snapshot_nid, replaces_nid,
                  redacted_by, room_nid, sender_nid, type_nid, place_nid, standing,
                  prev_nids::bigint[], auth_nids::bigint[], event_id, json
             FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[],
                         $6::bigint[], $7::bigint[], $8::integer[], $9::integer[],
                         $10::integer[], $11::integer[], $12::smallint[], $13::text[],
                         $14::text[], $15::text[], $16::bytea[])
               AS new (event_nid, stream_position, depth, origin_server_ts, snapshot_nid,
                       replaces_nid, redacted_by, room_nid, sender_nid, type_nid, place_nid,
                       standing, prev_nids, auth_nids, event_id, json)),
           sent AS (
           INSERT INTO event_transactions (event_nid, path_digest, device_nid, txn_id)
           SELECT * FROM unnest($17::bigint[], $18::bigint[], $19::integer[], $20::text[]))
    UPDATE room_heads AS head
       SET revision = new.revision,
           snapshot_nid = new.snapshot_nid,
           max_depth = new.max_depth,
           forward_extremities = new.extremities::bigint[]
      FROM unnest($21::integer[], $22::bigint[], $23::bigint[], $24::bigint[], $25::bigint[],
                  $26::text[])
        AS new (room_nid, expected, revision, snapshot_nid, max_depth, extremities)
     WHERE head.room_nid = new.room_nid
       AND head.revision = new.expected
 RETURNING head.room_nid
"""
"""Events, the transactions that made them and the heads that they move, in one trip: this is what
every message costs."""


async def _store_events(db: Database, placed: Sequence[tuple[AddEvent, int]]) -> None:
    heads = _head_rows([add for add, _ in placed])
    try:
        moved = await db.fetch(
            STORE_EVENTS,
            *_columns([_event_row(add, position) for add, position in placed], 16),
            *_columns(_transaction_rows(placed), 4),
            *_columns(heads, 6),
        )
    except asyncpg.UniqueViolationError as error:
        is_sent = error.constraint_name == SENT_ONCE
        raise (TransactionSeen if is_sent else EventSeen) from error
    if len(moved) != len(heads):
        raise RoomMoved(sorted({row[0] for row in heads} - {row[0] for row in moved}))


SENT_ONCE = "event_transactions_device_nid_path_digest_key"


def _columns(rows: Sequence[Sequence[Any]], width: int) -> list[list[Any]]:
    """Rows as columns, `width` empty ones if there are none."""
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[]] * width


def _event_row(add: AddEvent, position: int) -> tuple[Any, ...]:
    event = add.event
    return (
        event.event_nid,
        position if add.positions else event.position,
        event.depth,
        add.origin_server_ts,
        event.snapshot_nid,
        event.replaces_nid,
        event.redacted_by,
        event.room_nid,
        event.sender_nid,
        add.type_nid,
        event.place_nid,
        event.standing,
        array_literal(add.prev_nids),
        array_literal(add.auth_nids),
        event.event_id,
        event.json,
    )


def _gap_rows(placed: Sequence[tuple[AddEvent, int]]) -> list[GapRow]:
    return [
        (
            add.event.event_nid,
            event_id,
            add.event.room_nid,
            add.event.depth,
            position if add.positions else add.event.position,
        )
        for add, position in placed
        for event_id in add.missing_prev
    ]


def _transaction_rows(placed: Sequence[tuple[AddEvent, int]]) -> list[tuple[Any, ...]]:
    return [
        (add.event.event_nid, txn.path_digest, txn.device_nid, txn.txn_id)
        for add, _ in placed
        if isinstance(txn := add.cause, Transaction)
    ]


async def _finalise_delayed(db: Database, adds: Sequence[AddEvent]) -> None:
    sent = [(add.cause, add.event.event_nid) for add in adds]
    delayed = [(cause, nid) for cause, nid in sent if isinstance(cause, DelayedSending)]
    if delayed:
        await finalise_sent(db, delayed)


def _head_rows(adds: Sequence[AddEvent]) -> list[tuple[Any, ...]]:
    """For each room the revision before its first event and the head after its last.

    Raises `RoomMoved` for a room whose events do not follow each other.
    """
    first: dict[int, int] = {}
    last: dict[int, HeadMove] = {}
    for add in adds:
        if add.head is not None:
            room_nid = add.event.room_nid
            known = last.get(room_nid)
            if known is not None and add.head.expected_revision != known.expected_revision + 1:
                raise RoomMoved([room_nid])
            first.setdefault(room_nid, add.head.expected_revision)
            last[room_nid] = add.head
    return [
        (
            room_nid,
            first[room_nid],
            head.expected_revision + 1,
            head.snapshot_nid,
            head.max_depth,
            array_literal(head.forward_extremities),
        )
        for room_nid, head in last.items()
    ]


INSERT_MERGED_STATES = """
    INSERT INTO merged_states (stream_position, snapshot_nid)
    SELECT * FROM unnest($1::bigint[], $2::bigint[])
"""


async def _note_merged_states(db: Database, placed: Sequence[tuple[AddEvent, int]]) -> None:
    rows = [
        (position, add.head.snapshot_nid)
        for add, position in placed
        if add.head is not None and add.head.snapshot_nid != add.event.snapshot_nid
    ]
    if rows:
        await db.execute(INSERT_MERGED_STATES, *map(list, zip(*rows, strict=True)))


UPSERT_STATE = """
    INSERT INTO current_state (room_nid, place_nid, event_nid, is_member)
    SELECT * FROM unnest($1::integer[], $2::integer[], $3::bigint[], $4::boolean[])
    ON CONFLICT (room_nid, place_nid) DO UPDATE SET event_nid = excluded.event_nid
"""

DELETE_STATE = """
    DELETE FROM current_state
     USING unnest($1::integer[], $2::integer[]) AS gone (room_nid, place_nid)
     WHERE current_state.room_nid = gone.room_nid
       AND current_state.place_nid = gone.place_nid
"""


async def _change_state(db: Database, adds: Sequence[AddEvent]) -> None:
    latest = {
        (add.event.room_nid, change.place_nid): change
        for add in adds
        for change in add.state_changes
    }
    kept = [
        (*key, change.event_nid, change.is_member)
        for key, change in latest.items()
        if change.event_nid != REMOVED
    ]
    gone = [key for key, change in latest.items() if change.event_nid == REMOVED]
    if kept:
        await db.execute(UPSERT_STATE, *map(list, zip(*kept, strict=True)))
    if gone:
        await db.execute(DELETE_STATE, *map(list, zip(*gone, strict=True)))


UPSERT_MEMBERS = """
    INSERT INTO memberships (
           user_nid, room_nid, event_nid, stream_position, sender_nid, membership, is_local,
           stripped_state, forgotten)
    SELECT * FROM unnest($1::integer[], $2::integer[], $3::bigint[], $4::bigint[], $5::integer[],
                         $6::smallint[], $7::boolean[], $8::bytea[], $9::boolean[])
    ON CONFLICT (user_nid, room_nid) DO UPDATE
       SET event_nid = excluded.event_nid,
           stream_position = excluded.stream_position,
           sender_nid = excluded.sender_nid,
           membership = excluded.membership,
           stripped_state = excluded.stripped_state,
           forgotten = excluded.forgotten
"""


async def _change_members(db: Database, placed: Sequence[tuple[AddEvent, int]]) -> None:
    latest = {
        (member.user_nid, add.event.room_nid): (
            member.user_nid,
            add.event.room_nid,
            member.event_nid,
            position,
            member.sender_nid,
            member.membership,
            member.is_local,
            member.stripped_state,
            member.forgotten,
        )
        for add, position in placed
        for member in add.members
    }
    if latest:
        await db.execute(UPSERT_MEMBERS, *map(list, zip(*latest.values(), strict=True)))


INSERT_RELATIONS = """
    INSERT INTO relations (
           event_nid, stream_position, room_nid, sender_nid, type_nid, rel_type, parent_event_id,
           annotation_key)
    SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::integer[], $4::integer[], $5::integer[],
                         $6::text[], $7::text[], $8::text[])
"""


async def _insert_relations(db: Database, placed: Sequence[tuple[AddEvent, int]]) -> None:
    rows = [
        (
            add.event.event_nid,
            position if add.positions else add.event.position,
            add.event.room_nid,
            add.event.sender_nid,
            add.type_nid,
            relation.rel_type,
            relation.parent_event_id,
            relation.annotation_key,
        )
        for add, position in placed
        if (relation := add.relation) is not None
    ]
    if rows:
        await db.execute(INSERT_RELATIONS, *map(list, zip(*rows, strict=True)))


INSERT_REDACTIONS = """
    INSERT INTO redactions (event_nid, room_nid, redacts, applied)
    SELECT * FROM unnest($1::bigint[], $2::integer[], $3::text[], $4::boolean[])
"""

REDACT_EVENTS = """
    UPDATE events
       SET json = redacted.json,
           redacted_by = redacted.by
      FROM unnest($1::bigint[], $2::bytea[], $3::bigint[]) AS redacted (event_nid, json, by)
     WHERE events.event_nid = redacted.event_nid
"""

DELETE_RELATIONS = "DELETE FROM relations WHERE event_nid = ANY($1::bigint[])"
DELETE_WORDS = "DELETE FROM search_index WHERE event_nid = ANY($1::bigint[])"


async def _apply_redactions(db: Database, adds: Sequence[AddEvent]) -> None:
    effects = [(add, add.redaction) for add in adds if add.redaction is not None]
    if not effects:
        return
    rows = [
        (add.event.event_nid, add.event.room_nid, effect.redacts, effect.redacted_json is not None)
        for add, effect in effects
    ]
    await db.execute(INSERT_REDACTIONS, *map(list, zip(*rows, strict=True)))
    applied = {
        effect.target_nid: (effect.target_nid, effect.redacted_json, add.event.event_nid)
        for add, effect in effects
        if effect.redacted_json is not None
    }
    if applied:
        await db.execute(REDACT_EVENTS, *map(list, zip(*applied.values(), strict=True)))
        await db.execute(DELETE_RELATIONS, list(applied))
        await db.execute(DELETE_WORDS, list(applied))


@dataclass(frozen=True, slots=True)
class DropOutlier(Write):
    """An outlier's row makes way for the row of the same event in its room."""

    order: ClassVar[int] = 15

    event_nid: int

    @property
    def positions(self) -> int:
        """None."""
        return 0

    @classmethod
    async def store(cls, db: Database, placed: Sequence[tuple["DropOutlier", int]]) -> None:
        """Delete the rows."""
        nids = [write.event_nid for write, _ in placed]
        await db.execute("DELETE FROM events WHERE event_nid = ANY($1::bigint[])", nids)


INSERT_ROOM = """
      WITH room AS (
           INSERT INTO rooms (
                  room_nid, room_id, room_version, creator_nid, created_ts, published)
           OVERRIDING SYSTEM VALUE
           VALUES ($1, $2, $3, $4, $5, $6)
        RETURNING room_nid)
    INSERT INTO room_heads (room_nid, revision, max_depth, forward_extremities)
    SELECT room_nid, 0, 0, '{}' FROM room
"""

SELECT_ROOM_NID = "SELECT nextval(pg_get_serial_sequence('rooms', 'room_nid'))::integer"


async def take_room_nid(db: Database) -> int:
    """A number for a new room."""
    return int(await db.fetchval(SELECT_ROOM_NID))


@dataclass(frozen=True, slots=True)
class AddRoom(Write):
    """A new room with an empty head, in front of its first events. Raises `RoomExists`."""

    order: ClassVar[int] = 5

    room_nid: int
    room_id: str
    room_version: str
    creator_nid: int | None
    created_ts: int
    published: bool

    @property
    def positions(self) -> int:
        """None: readers hear of the room by its events."""
        return 0

    @classmethod
    async def store(cls, db: Database, placed: Sequence[tuple["AddRoom", int]]) -> None:
        """Insert the rooms and their heads."""
        for room, _ in placed:
            try:
                await db.execute(
                    INSERT_ROOM,
                    room.room_nid,
                    room.room_id,
                    room.room_version,
                    room.creator_nid,
                    room.created_ts,
                    room.published,
                )
            except asyncpg.UniqueViolationError as error:
                raise RoomExists from error
