"""Sending to other servers as a part of the server: in one process at a time."""

import asyncio

from federation.outbound.sender import Sender
from homeserver.duty import Duty
from homeserver.other_servers.distribution import Distribution


class Sending:
    """Runs the sender while the duty is this process's."""

    def __init__(self, duty: Duty, sender: Sender, distribution: Distribution) -> None:
        self._duty = duty
        self.sender = sender
        self._distribution = distribution

    async def run(self) -> None:
        """Send whenever no other process does, until cancelled."""
        await self._duty.hold(self._send_from)

    async def _send_from(self, position: int) -> None:
        """Send everything after a position, until another process takes over."""
        async with self.sender.running(position):
            await self._distribute(position)

    async def _distribute(self, position: int) -> None:
        distributing = asyncio.create_task(self._distribution.run(position))
        replaced = asyncio.create_task(self.sender.replaced.wait())
        try:
            await asyncio.wait((distributing, replaced), return_when=asyncio.FIRST_COMPLETED)
            if distributing.done():
                await distributing
        finally:
            for task in (distributing, replaced):
                task.cancel()
            await asyncio.gather(distributing, replaced, return_exceptions=True)
