"""Tokens for LiveKit, signed, with a note of who got them."""

from collections.abc import Mapping
from typing import Any

from federation.protocol.identifiers import UserId
from homeserver.calls.removals import Removals
from homeserver.calls.signed_tokens import ApiKey
from homeserver.clock import Clock
from storage.call_participants import Participant


class TokenIssuer:
    """Gives out tokens for places in calls."""

    def __init__(self, key: ApiKey, lifetime_s: int, removals: Removals, clock: Clock) -> None:
        self._key = key
        self._lifetime_s = lifetime_s
        self._removals = removals
        self._clock = clock

    async def issue(
        self, participant: Participant, user_id: UserId, room_id: str, grant: Mapping[str, Any]
    ) -> str:
        """A token with the claims of a grant; whoever leaves the Matrix room is cut off."""
        await self._removals.given(participant, user_id, room_id)
        return self._key.sign(grant, now_s=self._clock() // 1000, lifetime_s=self._lifetime_s)
