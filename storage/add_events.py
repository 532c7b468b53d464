"""Writing events: everything that one event changes, many events at a time.

An event brings along what its arrival moves: the head of its room, the current state, the
memberships, its relation, the redaction that it is, the transaction ID that its sender chose.
A room's head carries a revision. Events are made against the head that their process knows; if
somebody else has moved it meanwhile, the update finds another revision, or other events at its
end, and `RoomMoved` undoes the transaction, so that the event is made again.
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
    Standing,
    StoredEvent,
    TransactionEcho,
)
from storage.committer import Write
from storage.current_state import StateChange, change_current_state
from storage.database import Database, array_literal
from storage.delayed_events import DelayedSending, finalise_sent
from storage.history_gaps import GapRow, close_gaps, open_gaps
from storage.memberships import MemberChange, change_memberships
from storage.redactions import RedactionEffect, add_redactions
from storage.relations import Relation, RelationRow, add_relations


class RoomMoved(Exception):
    """The head of these rooms is not what the events were made against; make them again."""

    def __init__(self, room_nids: Sequence[int]) -> None:
        super().__init__(f"rooms {list(room_nids)} have moved on")
        self.room_nids = frozenset(room_nids)


class TransactionSeen(Exception):
    """The device has already sent an event with this transaction ID."""


class EventSeen(Exception):
    """The event is stored already."""


@dataclass(frozen=True, slots=True)
class HeadMove:
    """The head of a room after an event, and the forward extremities of the one before.

    These tell whose move it follows: another process may have moved the room just as often.
    """

    expected_revision: int
    expected_extremities: tuple[int, ...]
    snapshot_nid: int | None
    max_depth: int
    forward_extremities: tuple[int, ...]


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
        await change_current_state(
            db, [(add.event.room_nid, change) for add in adds for change in add.state_changes]
        )
        await change_memberships(
            db,
            [
                (add.event.room_nid, position, member)
                for add, position in placed
                for member in add.members
            ],
        )
        await add_relations(db, _relation_rows(placed))
        await add_redactions(db, _redactions(adds))
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
                  $26::text[], $27::text[])
        AS new (room_nid, expected, revision, snapshot_nid, max_depth, extremities, former)
     WHERE head.room_nid = new.room_nid
       AND head.revision = new.expected
       AND head.forward_extremities @> new.former::bigint[]
       AND head.forward_extremities <@ new.former::bigint[]
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
            *_columns(heads, 7),
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


def _relation_rows(placed: Sequence[tuple[AddEvent, int]]) -> list[RelationRow]:
    return [
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


def _redactions(adds: Sequence[AddEvent]) -> list[tuple[int, int, RedactionEffect]]:
    return [
        (add.event.event_nid, add.event.room_nid, effect)
        for add in adds
        if (effect := add.redaction) is not None
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
    first: dict[int, HeadMove] = {}
    last: dict[int, HeadMove] = {}
    for add in adds:
        if add.head is not None:
            room_nid = add.event.room_nid
            known = last.get(room_nid)
            if known is not None and not _follows(add.head, known):
                raise RoomMoved([room_nid])
            first.setdefault(room_nid, add.head)
            last[room_nid] = add.head
    return [
        (
            room_nid,
            first[room_nid].expected_revision,
            head.expected_revision + 1,
            head.snapshot_nid,
            head.max_depth,
            array_literal(head.forward_extremities),
            array_literal(first[room_nid].expected_extremities),
        )
        for room_nid, head in last.items()
    ]


def _follows(head: HeadMove, former: HeadMove) -> bool:
    """Whether a move goes on from where another one ended."""
    return head.expected_revision == former.expected_revision + 1 and set(
        head.expected_extremities
    ) == set(former.forward_extremities)


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
