"""Making an event of our own and sending it: state before, rules, hash and signature, then in.

Some events have to be signed by others as well: by the server of an invited user, by the room's
policy server. They are made with the room locked like all events, signed while it is not, and then
come in like an event of another server, so that nothing waits for them.
"""

import asyncio
import hashlib
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from federation.protocol.auth_events import CREATE, auth_event_places
from federation.protocol.auth_rules.general import check_auth
from federation.protocol.build_event import ReferenceHashes, build_event
from federation.protocol.canonical_json import decode
from federation.protocol.errors import Forbidden
from federation.protocol.event_id import reference_hashes
from federation.protocol.identifiers import EventId, ServerName, UserId
from federation.protocol.pdu import Pdu
from federation.protocol.policy_server import PolicyServer, is_subject_to_policy
from federation.protocol.room_versions import EventFormat
from federation.protocol.signatures import SigningKey
from homeserver.clock import Clock
from homeserver.rooms.append import Append
from homeserver.rooms.arrivals import Arrivals
from homeserver.rooms.encryption_policy import ENCRYPTION, check_stays_encrypted
from homeserver.rooms.live import LiveRoom, LiveRooms
from homeserver.rooms.policy_servers import PolicyServers
from storage.add_events import Cause, RoomMoved, Transaction, TransactionSeen
from storage.changes import Standing
from storage.committer import Write
from storage.database import Database
from storage.events import get_events

T = TypeVar("T")
Attempt = Callable[[LiveRoom], Awaitable[tuple[T, Sequence[Write]]]]
"""Works out a result and the writes that it needs, in a room that is locked."""

ATTEMPTS = 4
"""How often an event is made while other processes may overtake it; the next time they wait."""


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event that a user of ours wants to send; None as `state_key` for a message event.

    `origin_server_ts` is set only where somebody may choose it, `sticky_ms` for a sticky event.
    """

    sender: UserId
    type: str
    content: Mapping[str, Any]
    state_key: str | None = None
    redacts: EventId | None = None
    origin_server_ts: int | None = None
    sticky_ms: int | None = None


Decide = Callable[[LiveRoom], Awaitable[NewEvent | EventId]]
"""Finds what is to be sent in a room that is locked, or the event that says it already."""

Sign = Callable[[LiveRoom, Pdu], Awaitable[Pdu]]
"""Has somebody else sign an event; the room is not locked."""


@dataclass(frozen=True, slots=True)
class Draft:
    """An event of ours that others have to sign, and the policy server among them."""

    room: LiveRoom
    pdu: Pdu
    policy: PolicyServer | None


def transaction_of(device_nid: int, scope: Sequence[str], txn_id: str) -> Transaction:
    """The transaction of a request: its scope is the endpoint with its parameters.

    Source: client-server API, "Transaction identifiers".
    """
    digest = hashlib.sha256("\0".join((*scope, txn_id)).encode()).digest()
    return Transaction(device_nid, int.from_bytes(digest[:8], signed=True), txn_id)


SELECT_SENT = """
    SELECT e.event_id
      FROM event_transactions AS t
      JOIN events AS e USING (event_nid)
     WHERE t.device_nid = $1 AND t.path_digest = $2
"""


class Send:
    """Sends events of local users."""

    def __init__(
        self,
        db: Database,
        live: LiveRooms,
        append: Append,
        clock: Clock,
        server_name: ServerName,
        key: SigningKey,
        arrivals: Arrivals,
        policies: PolicyServers,
    ) -> None:
        self._db = db
        self._live = live
        self._append = append
        self._arrivals = arrivals
        self._policies = policies
        self._clock = clock
        self._server_name = server_name
        self._key = key

    async def send(self, room_id: str, new: NewEvent, *, cause: Cause | None = None) -> EventId:
        """Send an event; answered once it is committed.

        The same transaction again answers the first event, and so does a state event that would
        change nothing. Raises `NotFound` (no such room), `AuthRuleFailed`, `TooLarge`, `BadJson`,
        and for a delayed event `AlreadyFinalised`.
        """

        async def decide(room: LiveRoom) -> NewEvent | EventId:
            return await self._find_unchanged(room, new) or new

        try:
            return await self.decide_and_send(room_id, decide, cause=cause)
        except TransactionSeen:
            return await self.get_sent(cause)

    async def decide_and_send(
        self,
        room_id: str,
        decide: Decide,
        *,
        cause: Cause | None = None,
        sign: Sign | None = None,
        is_relayed: bool = False,
    ) -> EventId:
        """Send what `decide` finds is to be sent, or answer the event that says it already.

        `decide` may be called several times; with `sign` somebody else signs the event before it
        enters the room. With `is_relayed` it is told the other servers in the room although its
        sender is not of this one. Raises what they raise, and as `send` does.
        """

        async def attempt(room: LiveRoom) -> tuple[EventId | Draft, Sequence[Write]]:
            chosen = await decide(room)
            if not isinstance(chosen, NewEvent):
                return chosen, ()
            pdu, auth_nids = await self.make(room, chosen)
            policy = await self._policies.find(room) if is_subject_to_policy(pdu) else None
            if policy is not None or sign is not None or is_relayed:
                return Draft(room, pdu, policy), ()
            writes = await self._append.stage(room, pdu, auth_nids, cause=cause)
            return pdu.event_id, writes

        made = await self.in_room(room_id, attempt)
        if not isinstance(made, Draft):
            return made
        pdu = made.pdu
        if made.policy is not None:
            pdu = await self._policies.countersign(made.policy, pdu)
        if sign is not None:
            pdu = await sign(made.room, pdu)
        verdicts = await self._arrivals.enter(room_id, [pdu], is_relayed=is_relayed, cause=cause)
        verdict = verdicts.get(pdu.event_id)
        if verdict is not None and verdict.standing is not Standing.ACCEPTED:
            raise Forbidden(verdict.reason or "The room no longer allows this")
        return pdu.event_id

    async def in_room(self, room_id: str, attempt: Attempt[T]) -> T:
        """Run `attempt` with the room locked, commit the writes that it returns with its result.

        It is run again when another process has moved the room meanwhile, so it must have no
        effects but on the live room. A failed attempt leaves the live room as it was.
        """
        for _ in range(ATTEMPTS):
            room = await self._live.get(room_id)
            async with room.lock:
                if room.is_stale:
                    continue
                result, writes = await self._attempt(room, attempt)
                # Without writes the result may still rest on events that are not committed yet.
                done = self._append.submit(room, writes) if writes or room.ahead.by_nid else None
            try:
                if done is not None:
                    await asyncio.shield(done)
            except RoomMoved:
                continue
            if writes or not room.is_stale:
                return result
        return await self._in_room_alone(room_id, attempt)

    async def _in_room_alone(self, room_id: str, attempt: Attempt[T]) -> T:
        """Run `attempt` while no process can move the room: whoever was overtaken gets his turn."""
        results: list[T] = []

        async def make() -> tuple[LiveRoom, Sequence[Write]]:
            async with self._live.reloaded(room_id) as room:
                result, writes = await self._attempt(room, attempt)
                results.append(result)
                return room, writes

        await asyncio.shield(self._append.submit_alone(make))
        return results[0]

    async def _attempt(self, room: LiveRoom, attempt: Attempt[T]) -> tuple[T, Sequence[Write]]:
        revision = room.revision
        try:
            return await attempt(room)
        except BaseException:
            if room.revision != revision:
                self._live.drop(room)
            raise

    async def make(self, room: LiveRoom, new: NewEvent) -> tuple[Pdu, list[int]]:
        """The signed event, after all of the room's forward extremities, and its auth events.

        Raises `AuthRuleFailed` if the current state does not allow it, and `Forbidden` where it
        would end the room's encryption.
        """
        await self._check_encryption(room, new)
        places = auth_event_places(new.type, new.state_key, new.sender, new.content, room.version)
        await self._live.load_entries(room, (CREATE, *places))
        entries = [entry for place in places if (entry := room.state[place]) is not None]
        pair_format = room.version.event_format is EventFormat.V1
        pdu = build_event(
            room_version=room.version,
            room_id=room.room_id,
            sender=new.sender,
            event_type=new.type,
            content=new.content,
            depth=room.max_depth + 1,
            origin_server_ts=self._clock()
            if new.origin_server_ts is None
            else new.origin_server_ts,
            prev_events=list(room.extremities.values()),
            auth_events=[entry.pdu.event_id for entry in entries],
            server_name=self._server_name,
            key=self._key,
            state_key=new.state_key,
            redacts=new.redacts,
            sticky_ms=new.sticky_ms,
            opaque_id=secrets.token_urlsafe(16) if pair_format else None,
            hashes_of=await self._hashes(room, entries) if pair_format else None,
        )
        check_auth(pdu, room.auth_state((CREATE, *places)))
        return pdu, [entry.event_nid for entry in entries]

    async def make_signed(self, room: LiveRoom, new: NewEvent) -> tuple[Pdu, list[int]]:
        """As `make`, with the signature of the room's policy server, if it has one.

        The room waits for it: this is for events of several rooms that have to come together.
        """
        pdu, auth_nids = await self.make(room, new)
        policy = await self._policies.find(room)
        return await self._policies.countersign(policy, pdu) if policy else pdu, auth_nids

    async def get_sent(self, cause: Cause | None) -> EventId:
        """The event that a transaction made."""
        event_id = await self.find_sent(cause)
        if event_id is None:
            raise LookupError(f"{cause} has made no event")
        return event_id

    async def find_sent(self, cause: Cause | None) -> EventId | None:
        """The event that a transaction made, if it is one and has made one."""
        if not isinstance(cause, Transaction):
            return None
        event_id = await self._db.fetchval(SELECT_SENT, cause.device_nid, cause.path_digest)
        return None if event_id is None else EventId(event_id)

    async def _find_unchanged(self, room: LiveRoom, new: NewEvent) -> EventId | None:
        """The current event at the place of a new one that says the same."""
        if new.state_key is None or new.sticky_ms is not None:
            return None
        place = (new.type, new.state_key)
        await self._live.load_entries(room, (place,))
        current = room.state[place]
        if current is None or current.pdu.sender != new.sender:
            return None
        return current.pdu.event_id if current.pdu.content == new.content else None

    async def _check_encryption(self, room: LiveRoom, new: NewEvent) -> None:
        """Raise `Forbidden` for what would have an encrypted room be one no longer."""
        is_encryption = (new.type, new.state_key) == ENCRYPTION
        if not is_encryption and new.redacts is None:
            return
        await self._live.load_entries(room, (ENCRYPTION,))
        current = room.state[ENCRYPTION]
        if current is not None and (is_encryption or new.redacts == current.pdu.event_id):
            check_stays_encrypted(current.pdu.content, new.content if is_encryption else None)

    async def _hashes(self, room: LiveRoom, entries: Sequence[Any]) -> ReferenceHashes:
        """Reference hashes of what an event of room version 1 or 2 refers to."""
        known = {entry.pdu.event_id: decode(entry.pdu.encoded) for entry in entries}
        for nid, event_id in room.extremities.items():
            if event_id in room.tip_fields:
                known[event_id] = room.tip_fields[event_id]
            elif nid in room.ahead.by_nid:
                known[event_id] = decode(room.ahead.by_nid[nid].pdu.encoded)
            else:
                stored = (await get_events(self._db, (nid,)))[nid]
                known[event_id] = stored.fields
        return {
            event_id: reference_hashes(fields, room.version) for event_id, fields in known.items()
        }
