"""Rooms whose events a policy server looks at: ours before they are sent, others' on receipt.

No room is held while its policy server is asked.
Source: server-server API, "Policy Servers".
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from federation.outbound.errors import FederationError
from federation.protocol.errors import MatrixError
from federation.protocol.identifiers import EventId, ServerName
from federation.protocol.pdu import Pdu
from federation.protocol.policy_server import (
    POLICY,
    PolicyRefusal,
    PolicyServer,
    has_policy_signature,
    is_subject_to_policy,
    read_policy,
    with_policy_signature,
)
from homeserver.rooms.live import LiveRoom, LiveRooms
from homeserver.rooms.server_access import ServerAccess

MEMBER = "m.room.member"
MOST_ASKED_AT_ONCE = 10
MOST_ASKED = 100
"""Events of one batch about which a policy server is asked; the others fail without."""

HANDED_ON = ("M_BAD_JSON", "M_NOT_JSON", "M_FORBIDDEN", "M_LIMIT_EXCEEDED", "M_NOT_FOUND")
"""Errors of policy servers that users are told as they are, besides those of no standard: a code
that is about the user's session at this server is not for others to give."""


@dataclass(frozen=True, slots=True)
class Reviewed:
    """Events with what their policy server signed, and why it does not want some of them."""

    pdus: Sequence[Pdu]
    unwanted: Mapping[EventId, str] = field(default_factory=dict)


class PolicySigning(Protocol):
    """Asks policy servers; raises `FederationError`."""

    async def sign(self, server: ServerName, event: bytes) -> Mapping[str, Any]:
        """The signatures that a policy server adds to an event, by server and key."""


class PolicyServers:
    """Knows rooms' policy servers and asks them."""

    def __init__(self, live: LiveRooms, access: ServerAccess, signing: PolicySigning) -> None:
        self._live = live
        self._access = access
        self._signing = signing

    async def find(self, room: LiveRoom) -> PolicyServer | None:
        """The policy server that the room uses, if it uses one; hold the room's lock."""
        await self._live.load_entries(room, (POLICY,))
        entry = room.state[POLICY]
        policy = read_policy(entry.pdu.content) if entry is not None else None
        if policy is None:
            return None
        standing = await self._access.find_standing(room.room_id, policy.name)
        return policy if standing is not None and standing.is_in_room else None

    async def countersign(self, policy: PolicyServer, pdu: Pdu) -> Pdu:
        """The event with the policy server's signature.

        Raises `PolicyRefusal` when it does not give one, `FederationError` when it is not there.
        """
        try:
            answer = await self._signing.sign(policy.name, pdu.encoded)
        except FederationError as error:
            raise as_refusal(error) from error
        try:
            signed = with_policy_signature(pdu, policy, answer)
        except MatrixError as error:
            raise PolicyRefusal(f"{policy.name} did not sign the event") from error
        if not has_policy_signature(signed, policy):
            raise PolicyRefusal(f"{policy.name} signed the event with another key than the room's")
        return signed

    async def review(self, room_id: str, pdus: Sequence[Pdu]) -> AsyncIterator[Reviewed]:
        """Look at events of other servers, each by the policy server that the room then has.

        They come in batches; each must have entered the room before the next is asked for.
        """
        for batch in await self._batches(room_id, pdus):
            policy = await self._find_now(room_id)
            if policy is None:
                yield Reviewed(batch)
            else:
                yield await self._review(policy, batch)

    async def _batches(self, room_id: str, pdus: Sequence[Pdu]) -> list[list[Pdu]]:
        """The events, parted after those that may give the room another policy server."""
        room = await self._live.get(room_id)
        async with room.lock:
            await self._live.load_entries(room, (POLICY,))
            has_policy = room.state[POLICY] is not None
        if not has_policy and all(is_subject_to_policy(pdu) for pdu in pdus):
            return [list(pdus)]
        batches: list[list[Pdu]] = [[]]
        for pdu in pdus:
            batches[-1].append(pdu)
            if pdu.is_state and pdu.type in (POLICY[0], MEMBER):
                batches.append([])
        return [batch for batch in batches if batch]

    async def _find_now(self, room_id: str) -> PolicyServer | None:
        room = await self._live.get(room_id)
        async with room.lock:
            return await self.find(room)

    async def _review(self, policy: PolicyServer, batch: Sequence[Pdu]) -> Reviewed:
        unsigned = [
            pdu
            for pdu in batch
            if is_subject_to_policy(pdu) and not has_policy_signature(pdu, policy)
        ]
        unwanted: dict[EventId, str] = {
            pdu.event_id: "its policy server was asked about too many events at once"
            for pdu in unsigned[MOST_ASKED:]
        }
        places = asyncio.Semaphore(MOST_ASKED_AT_ONCE)

        async def ask(pdu: Pdu) -> Pdu:
            try:
                async with places:
                    return await self.countersign(policy, pdu)
            except MatrixError as error:
                unwanted[pdu.event_id] = f"not wanted by {policy.name}: {error.message}"
                return pdu

        asked = await asyncio.gather(*(ask(pdu) for pdu in unsigned[:MOST_ASKED]))
        signed = {pdu.event_id: pdu for pdu in asked}
        return Reviewed([signed.get(pdu.event_id, pdu) for pdu in batch], unwanted)


def as_refusal(error: FederationError) -> MatrixError:
    """What a policy server said no with, to be handed on; other failures stay what they are."""
    status, errcode = error.answer_status or 0, error.answer_errcode
    if errcode is None or status not in (400, 403, 404, 429):
        return error
    if errcode.startswith("M_") and errcode not in HANDED_ON:
        return PolicyRefusal(error.message)
    return PolicyRefusal(error.message, status, error.answer)
