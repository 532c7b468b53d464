"""How much a user may upload.

Source: client-server API, "Security considerations" of the content repository, and
`M_USER_LIMIT_EXCEEDED`.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from federation.protocol.errors import UserLimitExceeded
from homeserver.clock import Clock
from homeserver.config.sections.media import Media as MediaSettings
from homeserver.config.sections.media import UploadLimit
from storage.database import Database, Pool
from storage.media import bytes_uploaded, lock_uploads

MEBIBYTE = 1_048_576


class Quotas:
    """Adds up what users have uploaded, where the operator has set limits."""

    __slots__ = ("_clock", "_db", "_info_uri", "_limits")

    def __init__(self, db: Pool, clock: Clock, settings: MediaSettings, base_url: str) -> None:
        self._db = db
        self._clock = clock
        self._limits = settings.upload_limits
        self._info_uri = settings.upload_limit_info_url or base_url

    async def check(self, user_nid: int, size: int) -> None:
        """Refuse what would go beyond a limit. Raises `UserLimitExceeded`."""
        for limit in self._limits:
            await self._check(self._db, user_nid, size, limit)

    @asynccontextmanager
    async def counting(self, user_nid: int, size: int) -> AsyncIterator[Database]:
        """Where a file is added, if it still fits.

        Under a limit the uploads of a user come here one after the other, each in a transaction,
        so that two cannot take the same room. Raises `UserLimitExceeded`.
        """
        if not self._limits:
            yield self._db
            return
        async with self._db.transaction() as db:
            await lock_uploads(db, user_nid)
            for limit in self._limits:
                await self._check(db, user_nid, size, limit)
            yield db

    async def _check(self, db: Database, user_nid: int, size: int, limit: UploadLimit) -> None:
        since_ts = self._clock() - limit.period_s * 1000 if limit.period_s else 0
        if await bytes_uploaded(db, user_nid, since_ts) + size > limit.max_mb * MEBIBYTE:
            raise UserLimitExceeded(describe(limit), self._info_uri)


def describe(limit: UploadLimit) -> str:
    """The limit in words for the user."""
    if not limit.period_s:
        return f"You may keep at most {limit.max_mb} MiB of files here"
    hours = limit.period_s / 3600
    return f"You may upload at most {limit.max_mb} MiB in {hours:g} hours"
