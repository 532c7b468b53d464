"""The extension for account data. Source: MSC3959."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from homeserver.sync.ports import ShownAccountData
from homeserver.sync.sliding.extensions.scope import Round, scoped
from homeserver.sync.sliding.request import RoomScope
from homeserver.sync.sliding.sent import Told
from storage.account_data import GLOBAL, account_data_after, account_data_of_rooms
from storage.changes import AccountDataSet
from storage.database import Database
from storage.stream import Stream


@dataclass(slots=True)
class AccountDataTold:
    """Data of the account and of rooms."""

    account: Sequence[AccountDataSet] = ()
    rooms: dict[int, list[AccountDataSet]] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to tell."""
        return not self.account and not self.rooms


class AccountData:
    """Tells account data."""

    def __init__(self, db: Database, stream: Stream, shown: ShownAccountData) -> None:
        self._db = db
        self._stream = stream
        self._shown = shown

    async def tell(self, answer: Round, scope: RoomScope) -> AccountDataTold:
        """What is new to the client."""
        situation = answer.situation
        order, follower = situation.order, situation.follower
        rooms = scoped(answer, scope, Told.ACCOUNT_DATA)
        is_first = Told.ACCOUNT_DATA not in situation.sent.told
        if is_first:
            rooms.fresh.add(GLOBAL)
        else:
            rooms.since[GLOBAL] = situation.since
        rows: list[AccountDataSet] = []
        if rooms.fresh:
            rows += await account_data_of_rooms(self._db, follower.user_nid, rooms.fresh)
        rows += await self._news(answer, rooms.with_news(order.account_data, order.begun))
        shown = self._shown.show_account_data(
            follower.user_nid, follower.user_id, rows, complete=is_first
        )
        told = AccountDataTold([row for row in shown if row.room_nid == GLOBAL])
        for row in shown:
            if row.room_nid != GLOBAL:
                told.rooms.setdefault(row.room_nid, []).append(row)
        return told

    async def _news(self, answer: Round, since: Mapping[int, int]) -> list[AccountDataSet]:
        if not since:
            return []
        user_nid, first = answer.situation.follower.user_nid, min(since.values())
        if first >= self._stream.window.start:
            changes = self._stream.window.account_data_changes(user_nid, first)
            rows = [change for change in changes if change.position <= answer.upto]
        else:
            rows = await account_data_after(self._db, user_nid, first, answer.upto)
        latest = {
            (row.room_nid, row.type): row
            for row in rows
            if row.room_nid in since and row.position > since[row.room_nid]
        }
        return list(latest.values())
