"""A duty as a part of the server: work that one process of several does at a time, for all."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from federation.protocol.errors import MatrixError
from storage.database import Database
from storage.duties import give_up_duty, has_duty, note_duty_done, take_duty

log = logging.getLogger("hearth.duty")

TRY_EVERY_S = 10.0
"""How often a process that does not do the work asks whether it is to."""

Work = Callable[[int], Awaitable[None]]
"""Does it from a position of the stream on, until another process does or it is cancelled."""


class Duty:
    """One duty, seen by one process; `number` is this process's among the stream's peers."""

    def __init__(self, db: Database, name: str, number: int) -> None:
        self._db = db
        self.name = name
        self.number = number
        self.is_ours = False
        """Whether this process does the work, as far as it knows."""

    async def hold(self, work: Work) -> None:
        """Do the work whenever no other process does, until cancelled."""
        while True:
            try:
                position = await take_duty(self._db, self.name, self.number)
                if position is not None:
                    await self._do(work, position)
            except* MatrixError as errors:
                # A group, where the work was done by several tasks.
                for error in errors.exceptions:
                    log.warning("%s cannot be done just now: %s", self.name.capitalize(), error)
            await asyncio.sleep(TRY_EVERY_S)

    async def is_still_ours(self) -> bool:
        """Whether no other process has taken over. Raises `DatabaseUnavailable`."""
        self.is_ours = await has_duty(self._db, self.name, self.number)
        return self.is_ours

    async def note_done(self, position: int) -> bool:
        """Note up to where it is done; False if another process has taken over."""
        return await note_duty_done(self._db, self.name, self.number, position)

    async def _do(self, work: Work, position: int) -> None:
        self.is_ours = True
        try:
            await work(position)
        finally:
            self.is_ours = False
            with contextlib.suppress(MatrixError):
                await give_up_duty(self._db, self.name, self.number)
