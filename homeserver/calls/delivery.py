"""Sending a delayed event: what it asks for, by the door that its user would take now."""

from typing import Any

from federation.protocol.canonical_json import decode
from federation.protocol.errors import UserDeactivated, UserLocked, UserSuspended
from federation.protocol.identifiers import EventId
from homeserver.clock import Clock
from homeserver.rooms.membership import Joiner
from homeserver.rooms.user_events import UserEvents
from storage.accounts import Account, find_account
from storage.database import Database
from storage.delayed_events import DelayedEvent, DelayedSending, note_sent_as


class Delivery:
    """Sends delayed events."""

    def __init__(self, db: Database, events: UserEvents, clock: Clock) -> None:
        self._db = db
        self._events = events
        self._clock = clock

    async def deliver(self, event: DelayedEvent, *, is_due: bool = False) -> EventId:
        """Send it: because it `is_due`, or because somebody wants it now.

        Raises `AlreadyFinalised`, and what sending raises: whether the user may send it is decided
        now and not when it was scheduled.
        """
        account = await self._usable_account(event.user_nid)
        due_ts = event.due_ts if is_due else None
        cause = DelayedSending(event.delay_nid, event.delay_id, self._clock(), due_ts)
        content: dict[str, Any] = decode(event.content)
        if event.state_key is None:
            return await self._events.send_message(
                event.user_id,
                event.room_id,
                event.type,
                content,
                cause,
                is_admin=account.is_admin,
                origin_server_ts=event.origin_server_ts,
                sticky_ms=event.sticky_ms,
            )
        event_id = await self._events.send_state(
            Joiner(event.user_id, is_guest=account.is_guest),
            event.room_id,
            event.type,
            event.state_key,
            content,
            cause=cause,
            origin_server_ts=event.origin_server_ts,
            sticky_ms=event.sticky_ms,
        )
        # Where the state says so already, no event is added that could have finalised this one.
        await note_sent_as(self._db, event.delay_nid, self._clock(), event_id)
        return event_id

    async def _usable_account(self, user_nid: int) -> Account:
        account = await find_account(self._db, user_nid)
        if account is None or account.is_deactivated:
            raise UserDeactivated("This account is deactivated")
        if account.is_locked:
            raise UserLocked("This account has been locked")
        if account.is_suspended:
            raise UserSuspended("You cannot perform this action while suspended")
        return account
