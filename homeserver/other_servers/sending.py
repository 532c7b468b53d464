"""Sending to other servers as a part of the server: in one process at a time.

The process that sends is named in the database by the number under which it holds an advisory
lock for as long as it lives. So nothing has to be renewed, and when it dies the next one may begin
at once.
"""

import asyncio
import contextlib
import logging

from federation.outbound.sender import Sender
from federation.protocol.errors import MatrixError
from homeserver.other_servers.distribution import Distribution
from storage.database import Database
from storage.outgoing import give_up_sending, take_sending

log = logging.getLogger("hearth.sending")

TRY_EVERY_S = 10.0
"""How often a process that does not send asks whether it is to."""


class Sending:
    """Runs the sender; `number` is this process's among the stream's peers."""

    def __init__(
        self, db: Database, number: int, sender: Sender, distribution: Distribution
    ) -> None:
        self._db = db
        self._number = number
        self.sender = sender
        self._distribution = distribution

    async def run(self) -> None:
        """Send whenever no other process does, until cancelled."""
        while True:
            position = await self._take()
            if position is not None:
                await self._send_from(position)
            else:
                await asyncio.sleep(TRY_EVERY_S)

    async def _take(self) -> int | None:
        try:
            return await take_sending(self._db, self._number)
        except MatrixError as error:
            log.warning("Nothing can be sent just now: %s", error)
            return None

    async def _send_from(self, position: int) -> None:
        """Send everything after a position, until another process takes over."""
        try:
            async with self.sender.running(position):
                await self._distribute(position)
        finally:
            with contextlib.suppress(MatrixError):
                await give_up_sending(self._db, self._number)

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
