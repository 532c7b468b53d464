"""Closing an account for good.

Source: client-server API, "Account deactivation".
"""

from federation.protocol.identifiers import UserId
from homeserver.clock import Clock
from homeserver.users.accounts import Accounts
from homeserver.users.devices import Devices
from homeserver.users.ports import UserRooms
from storage.accounts import (
    erase_personal_data,
    leaving_users,
    mark_deactivated,
    mark_left,
)
from storage.database import Pool
from storage.delayed_events import cancel_delayed_events_of
from storage.pushers import delete_pushers
from storage.short_lived_tokens import delete_short_lived_tokens_of_user
from storage.third_party_ids import remove_third_party_ids_of


class Deactivation:
    """Deactivates accounts; what a crash interrupts is taken up by `resume`."""

    __slots__ = ("_accounts", "_clock", "_db", "_devices", "_rooms")

    def __init__(
        self, *, db: Pool, clock: Clock, accounts: Accounts, devices: Devices, rooms: UserRooms
    ) -> None:
        self._db = db
        self._clock = clock
        self._accounts = accounts
        self._devices = devices
        self._rooms = rooms

    async def deactivate(self, user_id: UserId, *, erase: bool = False) -> None:
        """Close an account: no password, no devices, out of all rooms; the name stays taken.

        `erase` also deletes what it kept besides events, and marks it, so that its events are
        shown redacted to whoever has not seen them yet. Raises `NotFound`.
        """
        account = await self._accounts.get(user_id)
        async with self._db.transaction() as db:
            await mark_deactivated(db, account.user_nid, erase=erase)
            await delete_short_lived_tokens_of_user(db, account.user_nid)
            await delete_pushers(db, account.user_nid)
            await cancel_delayed_events_of(db, account.user_nid, self._clock())
            await remove_third_party_ids_of(db, account.user_nid)
            if erase:
                await erase_personal_data(db, account.user_nid)
        await self._leave(account.user_nid, user_id)

    async def resume(self) -> None:
        """Finish the deactivations that were interrupted, or begun by another process."""
        for user_nid, user_id in await leaving_users(self._db):
            await self._leave(user_nid, user_id)

    async def _leave(self, user_nid: int, user_id: UserId) -> None:
        await self._devices.log_out_everywhere(user_nid, user_id)
        await self._rooms.leave_all_rooms(user_id)
        await mark_left(self._db, user_nid)
