"""The extension for receipts.

Of a room that is new to the client only the user's own receipts are told, and those at the events
that it is shown: a large room has thousands. Source: MSC3960.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from homeserver.sync.response import receipt_event
from homeserver.sync.sliding.extensions.scope import Round, scoped
from homeserver.sync.sliding.request import RoomScope
from homeserver.sync.sliding.sent import Told
from storage.changes import ReceiptMoved
from storage.database import Database
from storage.receipts import receipts_at, receipts_since
from storage.stream import Stream


class Receipts:
    """Tells receipts."""

    def __init__(self, db: Database, stream: Stream) -> None:
        self._db = db
        self._stream = stream

    async def tell(
        self,
        answer: Round,
        scope: RoomScope,
        timelines: Mapping[int, Sequence[str]],
        ignored: frozenset[str],
    ) -> dict[int, dict[str, Any]]:
        """The receipts of rooms, as events."""
        follower, order = answer.situation.follower, answer.situation.order
        rooms = scoped(answer, scope, Told.RECEIPTS)
        moved: list[ReceiptMoved] = []
        fresh = [nid for nid in rooms.fresh if follower.is_joined(nid)]
        if fresh:
            shown = [event_id for nid in fresh for event_id in timelines.get(nid, ())]
            moved += await receipts_at(self._db, fresh, follower.user_nid, shown, answer.upto)
        moved += await self._news(answer, rooms.with_news(order.receipts, order.begun))
        by_room: dict[int, list[ReceiptMoved]] = {}
        for receipt in moved:
            if receipt.user_id not in ignored:
                by_room.setdefault(receipt.room_nid, []).append(receipt)
        return {nid: receipt_event(receipts) for nid, receipts in by_room.items()}

    async def _news(self, answer: Round, since: Mapping[int, int]) -> list[ReceiptMoved]:
        user_nid = answer.situation.follower.user_nid
        joined = {
            nid: position
            for nid, position in since.items()
            if answer.situation.follower.is_joined(nid)
        }
        window = self._stream.window
        if not joined or min(joined.values()) < window.start:
            return await receipts_since(self._db, joined, user_nid, answer.upto)
        latest = {
            (nid, change.user_nid, change.receipt_type, change.thread_id): change
            for nid, position in joined.items()
            for change in window.room_changes(nid, position)
            if isinstance(change, ReceiptMoved)
            and change.position <= answer.upto
            and (change.receipt_type != "m.read.private" or change.user_nid == user_nid)
        }
        return list(latest.values())
