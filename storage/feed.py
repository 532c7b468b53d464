"""The stream read back from the database: what other processes wrote, as changes in order."""

from dataclasses import replace

from federation.protocol.identifiers import server_of
from storage.account_data import changed_account_data
from storage.changes import Change, DelayEcho, EventAdded, Membership, StoredEvent, TransactionEcho
from storage.database import Database
from storage.device_lists import changed_device_lists
from storage.events import COLUMNS, event_of_row
from storage.names import Names
from storage.out_of_band import changed_memberships_elsewhere
from storage.outgoing import changed_outgoing
from storage.presence import changed_presence
from storage.receipts import changed_receipts
from storage.sticky_events import changed_sticky_events
from storage.thread_subscriptions import changed_thread_subscriptions
from storage.to_device import changed_to_device

SELECT_EVENTS = f"""
    SELECT {COLUMNS}, t.device_nid, t.txn_id, d.delay_id,
           EXISTS (SELECT FROM history_gaps WHERE history_gaps.event_nid = e.event_nid),
           coalesce(merged.snapshot_nid, e.snapshot_nid) IS DISTINCT FROM (
               SELECT coalesce(merged_before.snapshot_nid, before.snapshot_nid)
                 FROM events AS before
                 LEFT JOIN merged_states AS merged_before USING (stream_position)
                WHERE before.room_nid = e.room_nid
                  AND before.stream_position < e.stream_position
                ORDER BY before.stream_position DESC
                LIMIT 1)
      FROM events AS e
      LEFT JOIN merged_states AS merged USING (stream_position)
      LEFT JOIN event_transactions AS t USING (event_nid)
      LEFT JOIN delayed_events AS d ON d.event_nid = e.event_nid
     WHERE e.stream_position > $1 AND e.stream_position <= $2
     ORDER BY e.stream_position
"""  # noqa: S608 - constants of ours

SELECT_POSITION = "SELECT position FROM stream"


async def current_position(db: Database) -> int:
    """The position of the last change that is committed."""
    return int(await db.fetchval(SELECT_POSITION))


async def read_changes(
    db: Database, names: Names, server_name: str, since: int, upto: int
) -> list[Change]:
    """All changes after `since` up to and including `upto`, in order.

    Of several changes to one thing, such as a receipt, only the last is still there.
    """
    changes: list[Change] = []
    for row in await db.fetch(SELECT_EVENTS, since, upto):
        *columns, device_nid, txn_id, delay_id, follows_gap, changes_state = row
        echo = _echo(device_nid, txn_id, delay_id)
        added = await _added(names, server_name, event_of_row(columns), echo)
        changes.append(replace(added, follows_gap=follows_gap, changes_state=changes_state))
    changes += await changed_sticky_events(db, since, upto)
    changes += await changed_receipts(db, since, upto)
    changes += await changed_account_data(db, since, upto)
    changes += await changed_thread_subscriptions(db, since, upto)
    changes += await changed_presence(db, since, upto)
    changes += await changed_memberships_elsewhere(db, since, upto)
    changes += await changed_to_device(db, since, upto)
    changes += await changed_device_lists(db, since, upto)
    changes += await changed_outgoing(db, since, upto)
    return sorted(changes, key=lambda change: change.position)


def _echo(
    device_nid: int | None, txn_id: str | None, delay_id: str | None
) -> TransactionEcho | DelayEcho | None:
    if device_nid is not None and txn_id is not None:
        return TransactionEcho(device_nid, txn_id)
    return None if delay_id is None else DelayEcho(delay_id)


async def _added(
    names: Names,
    server_name: str,
    event: StoredEvent,
    echo: TransactionEcho | DelayEcho | None,
) -> EventAdded:
    position = event.position or 0
    if event.type != "m.room.member" or event.state_key is None:
        return EventAdded(position, event, echo, None, None, is_local_member=False)
    return EventAdded(
        position,
        event,
        echo,
        await names.users.get_nid(event.state_key),
        Membership.of(str(event.content["membership"])),
        is_local_member=server_of(event.state_key) == server_name,
    )
