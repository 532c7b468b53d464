"""Group calls: everything around LiveKit in one place."""

from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from homeserver.calls.homeserver_tokens import HomeserverTokens
from homeserver.calls.leaves import Leaves, Word
from homeserver.calls.livekit import LiveKit
from homeserver.calls.removals import Removals
from homeserver.calls.signed_tokens import ApiKey
from homeserver.calls.token_service import TokenService
from homeserver.calls.webhooks import read_webhook, verify_webhook
from homeserver.clock import Clock


@dataclass(frozen=True, slots=True)
class Calls:
    """The services that endpoints of calls use."""

    livekit: LiveKit
    token_service: TokenService
    homeserver_tokens: HomeserverTokens
    leaves: Leaves
    removals: Removals
    key: ApiKey
    clock: Clock

    async def take_webhook(self, body: bytes, authorization: str) -> None:
        """Take note of what LiveKit tells. Raises `Unauthorized` if it is somebody else."""
        verify_webhook(body, authorization, self.key, self.clock() // 1000)
        told = read_webhook(body)
        if told is None:
            return
        await self.leaves.heard(told.word, told.key)
        if told.word is Word.CONNECTED:
            await self.removals.connected(told.key)

    def jobs(self) -> list[Coroutine[Any, Any, None]]:
        """What runs beside the requests for as long as the server does."""
        return [self.leaves.run(), self.removals.run()]

    async def close(self) -> None:
        """Close the connections."""
        await self.livekit.close()
