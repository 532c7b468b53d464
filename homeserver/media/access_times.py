"""When media were asked for last, to the hour: all that deleting unused ones needs.

A medium costs a write at most once an hour; what was noted is written once a minute, in one
statement.
"""

import asyncio
import logging

from homeserver.clock import Clock
from storage.database import DatabaseUnavailable, Pool
from storage.media import Media, set_accessed

log = logging.getLogger("hearth.media")

GRAIN_MS = 3_600_000
WRITE_EVERY_S = 60


class AccessTimes:
    """Gathers which media were asked for."""

    __slots__ = ("_clock", "_db", "_noted")

    def __init__(self, db: Pool, clock: Clock) -> None:
        self._db = db
        self._clock = clock
        self._noted: set[int] = set()

    def note(self, media: Media) -> None:
        """Somebody asks for a medium."""
        if media.last_access_ts <= self._clock() - GRAIN_MS:
            self._noted.add(media.media_nid)

    async def write(self) -> None:
        """Write what was noted; without a database it is kept for the next time."""
        if not self._noted:
            return
        noted, self._noted = self._noted, set()
        try:
            await set_accessed(self._db, sorted(noted), self._clock())
        except DatabaseUnavailable:
            log.warning("Could not note that %d media were asked for", len(noted))
            self._noted |= noted

    async def run(self) -> None:
        """Write once a minute, until cancelled."""
        while True:
            await asyncio.sleep(WRITE_EVERY_S)
            await self.write()
