"""Making the body of a transaction.

Source: application service API, "Pushing events"; MSC2409 and MSC4203 (messages to devices),
MSC3202 (device lists and numbers of keys) under their unstable names.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import orjson

from federation.protocol.canonical_json import decode
from federation.protocol.event_rendering import build_stripped_event, dump_event
from homeserver.appservices.interest import Interest
from homeserver.appservices.namespaces import Namespaces
from homeserver.appservices.outbox import Batch
from homeserver.appservices.registrations import Registration
from homeserver.clock import Clock
from homeserver.rooms.client_events import ClientEvents
from homeserver.rooms.stripped_state import is_stripped, read_shown_events
from homeserver.users.presence import render_presence
from storage.appservices import (
    Elsewhere,
    keys_left,
    memberships_elsewhere,
    waiting_messages,
)
from storage.changes import (
    DeviceListChanged,
    EventAdded,
    InviteChanged,
    Membership,
    ReceiptMoved,
    StoredEvent,
    ToDeviceAdded,
)
from storage.database import Database
from storage.events import get_events
from storage.names import Names
from storage.participants import joined_rooms_of

GONE = frozenset({Membership.LEAVE, Membership.BAN})
EPHEMERAL = "ephemeral"
UNSTABLE_EPHEMERAL = "de.sorunome.msc2409.ephemeral"
TO_DEVICE = "de.sorunome.msc2409.to_device"
DEVICE_LISTS = "org.matrix.msc3202.device_lists"
ONE_TIME_KEYS = (
    "org.matrix.msc3202.device_one_time_keys_count",
    "org.matrix.msc3202.device_one_time_key_counts",
)
FALLBACK_KEYS = "org.matrix.msc3202.device_unused_fallback_key_types"
CACHE_BYTES = 100_000


class Typing(Protocol):
    """Who types."""

    def users_typing(self, room_nid: int) -> list[str]:
        """Who types in a room."""


class Composer:
    """Makes transactions for all services."""

    def __init__(
        self,
        db: Database,
        names: Names,
        namespaces: Namespaces,
        clients: ClientEvents,
        typing: Typing,
        clock: Clock,
    ) -> None:
        self._db = db
        self._names = names
        self._namespaces = namespaces
        self._clients = clients
        self._typing = typing
        self._clock = clock

    async def compose(self, service: Registration, batch: Batch) -> bytes:
        """The body of the transaction that tells a service of a batch."""
        events = await self._events(service, batch)
        body: dict[str, Any] = {"events": [orjson.Fragment(dump_event(event)) for event in events]}
        if service.is_told_ephemeral:
            ephemeral = await self._ephemeral(batch)
            if ephemeral and service.receives_ephemeral:
                body[EPHEMERAL] = ephemeral
            if ephemeral and service.receives_unstable_ephemeral:
                body[UNSTABLE_EPHEMERAL] = ephemeral
            to_device = await self._to_device(batch)
            if to_device:
                body[TO_DEVICE] = to_device
        if service.receives_device_news:
            body |= await self._device_lists(service, batch)
            recipients = [message["to_user_id"] for message in body.get(TO_DEVICE, ())]
            senders = [event["sender"] for event in events]
            body |= await self._keys_left(service, {service.sender, *recipients, *senders})
        return orjson.dumps(body)

    # -- events -----------------------------------------------------------------------------------

    async def _events(self, service: Registration, batch: Batch) -> list[dict[str, Any]]:
        """The events of the batch, as clients see them, in order."""
        elsewhere = await self._elsewhere(batch)
        stored = await get_events(self._db, [one.event_nid for one in elsewhere.values()])
        events: list[StoredEvent] = []
        told: dict[int, Sequence[Any]] = {}
        for change in batch.changes:
            if isinstance(change, EventAdded):
                events.append(change.event)
            elif isinstance(change, InviteChanged):
                known = elsewhere.get((change.room_nid, change.user_nid))
                event = stored.get(known.event_nid) if known else None
                if event is not None and known is not None:
                    events.append(event)
                    told[event.event_nid] = decode(known.stripped_state or b"[]", exact=False)
        told |= await self._shown(service, [e for e in events if e.event_nid not in told])
        built = await self._clients.build_plain(events)
        for event, fields in zip(events, built, strict=True):
            unsigned = fields["unsigned"]
            unsigned["age"] = max(0, self._clock() - fields["origin_server_ts"])
            if told.get(event.event_nid):
                unsigned["invite_room_state"] = [
                    build_stripped_event(one) for one in told[event.event_nid] if is_stripped(one)
                ]
        return built

    async def _elsewhere(self, batch: Batch) -> Mapping[tuple[int, int], Elsewhere]:
        """The memberships of rooms that are held elsewhere, by room and user."""
        pairs = [
            (change.room_nid, change.user_nid)
            for change in batch.changes
            if isinstance(change, InviteChanged)
        ]
        return await memberships_elsewhere(self._db, pairs) if pairs else {}

    async def _shown(
        self, service: Registration, events: Iterable[StoredEvent]
    ) -> dict[int, Sequence[Any]]:
        """What users of the service who are invited are shown of our rooms, by the invite."""
        bit = self._namespaces.bit_of(service.service_id)
        invites = {
            event.room_nid: event
            for event in events
            if event.type == "m.room.member"
            and event.content.get("membership") == "invite"
            and self._namespaces.of_user(str(event.state_key)) & bit
        }
        if not invites:
            return {}
        senders: dict[int, str | None] = {nid: event.sender for nid, event in invites.items()}
        shown: dict[int, Sequence[Any]] = {event.event_nid: [] for event in invites.values()}
        for state in await read_shown_events(self._db, self._names, senders):
            nid = invites[state.room_nid].event_nid
            shown[nid] = [*shown[nid], state.fields]
        return shown

    # -- what is not kept -------------------------------------------------------------------------

    async def _ephemeral(self, batch: Batch) -> list[dict[str, Any]]:
        """Receipts, who types and presence."""
        moved = [change for change in batch.changes if isinstance(change, ReceiptMoved)]
        rooms = await self._names.rooms.get_many({*(m.room_nid for m in moved), *batch.typing})
        receipts: dict[int, dict[str, Any]] = {}
        for change in moved:
            content = receipts.setdefault(change.room_nid, {})
            readers = content.setdefault(change.event_id, {}).setdefault(change.receipt_type, {})
            thread = {"thread_id": change.thread_id} if change.thread_id else {}
            readers[change.user_id] = {"ts": change.ts, **thread}
        now = self._clock()
        return [
            *(
                {"type": "m.receipt", "room_id": rooms[nid].room_id, "content": content}
                for nid, content in receipts.items()
                if nid in rooms
            ),
            *(
                {
                    "type": "m.typing",
                    "room_id": rooms[nid].room_id,
                    "content": {"user_ids": self._typing.users_typing(nid)},
                }
                for nid in batch.typing
                if nid in rooms
            ),
            *(
                {
                    "type": "m.presence",
                    "sender": change.user_id,
                    "content": render_presence(change, now),
                }
                for change in batch.presence.values()
            ),
        ]

    # -- what concerns devices --------------------------------------------------------------------

    async def _to_device(self, batch: Batch) -> list[dict[str, Any]]:
        """Messages to devices of the service's users."""
        users = {change.user_nid for change in batch.changes if isinstance(change, ToDeviceAdded)}
        if not users:
            return []
        messages = await waiting_messages(self._db, users, batch.since, batch.reaches)
        return [
            {
                **decode(one.message, exact=False),
                "to_user_id": one.user_id,
                "to_device_id": one.device_id,
            }
            for one in messages
        ]

    async def _device_lists(self, service: Registration, batch: Batch) -> dict[str, Any]:
        """Whose devices have changed, and whose are of no interest any more."""
        changed = {str(one.user_id) for one in batch.changes if isinstance(one, DeviceListChanged)}
        gone: dict[int, str] = {}
        for change in batch.changes:
            if not isinstance(change, EventAdded) or change.member_nid is None:
                continue
            if change.membership is Membership.JOIN:
                changed.add(str(change.event.state_key))
                gone.pop(change.member_nid, None)
            elif change.membership in GONE:
                gone[change.member_nid] = str(change.event.state_key)
        left = await self._without_common_room(service, gone, batch.reaches) if gone else set()
        changed -= left
        if not (changed or left):
            return {}
        return {DEVICE_LISTS: {"changed": sorted(changed), "left": sorted(left)}}

    async def _without_common_room(
        self, service: Registration, users: Mapping[int, str], position: int
    ) -> set[str]:
        """Those of the users who are in no room any more that concerns the service."""
        bit = self._namespaces.bit_of(service.service_id)
        interest = Interest(self._db, self._names, self._namespaces, bit, CACHE_BYTES)
        rooms = await joined_rooms_of(self._db, users)
        concerned = await interest.of_rooms({n for own in rooms.values() for n in own}, position)
        return {
            user_id
            for nid, user_id in users.items()
            if not rooms[nid] & concerned.keys() and not self._namespaces.of_user(user_id) & bit
        }

    async def _keys_left(self, service: Registration, user_ids: Iterable[str]) -> dict[str, Any]:
        """What devices of the service's users have left of the keys that others take."""
        bit = self._namespaces.bit_of(service.service_id)
        own = [user_id for user_id in user_ids if self._namespaces.of_user(user_id) & bit]
        one_time: dict[str, dict[str, Any]] = {}
        unused: dict[str, dict[str, Any]] = {}
        for left in await keys_left(self._db, own):
            one_time.setdefault(left.user_id, {})[left.device_id] = left.one_time_keys
            unused.setdefault(left.user_id, {})[left.device_id] = left.unused_fallback_keys
        if not one_time:
            return {}
        return {**dict.fromkeys(ONE_TIME_KEYS, one_time), FALLBACK_KEYS: unused}
