"""When and from where devices were used last.

A request costs one look into a set: the first request of a device in a minute is noted, and once a
minute everything noted is written in one statement.
"""

import asyncio
import logging

from homeserver.clock import Clock
from storage.database import DatabaseUnavailable, Pool
from storage.devices import Sighting, set_last_seen

log = logging.getLogger("hearth.users")

WRITE_EVERY_S = 60
MAX_AGENT_LENGTH = 300


class LastSeen:
    """Gathers sightings of devices and writes them now and then."""

    __slots__ = ("_clock", "_db", "_seen")

    def __init__(self, db: Pool, clock: Clock) -> None:
        self._db = db
        self._clock = clock
        self._seen: dict[int, Sighting] = {}

    def is_noted(self, device_nid: int) -> bool:
        """Whether the device was noted since the last write."""
        return device_nid in self._seen

    def note(self, device_nid: int, ip: str, agent: str | None) -> None:
        """Remember that a device is being used; 0, which stands for no device, is ignored."""
        if device_nid and device_nid not in self._seen:
            kept_agent = agent[:MAX_AGENT_LENGTH].replace("\0", "") if agent else None
            self._seen[device_nid] = Sighting(device_nid, self._clock(), ip, kept_agent)

    async def write(self) -> None:
        """Write what was noted; without a database it is kept for the next time."""
        if not self._seen:
            return
        noted, self._seen = self._seen, {}
        try:
            await set_last_seen(self._db, noted.values())
        except DatabaseUnavailable:
            log.warning("Could not note when %d devices were last seen", len(noted))
            self._seen = noted | self._seen

    async def run(self) -> None:
        """Write once a minute, until cancelled."""
        while True:
            await asyncio.sleep(WRITE_EVERY_S)
            await self.write()
