"""Keeping the store small and in agreement with the database.

Names go first, then contents without a name, then files without a content; each step leaves its
traces in the database, so whatever interrupts it is made up for by the next run.
"""

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass

from federation.protocol.identifiers import UserId
from homeserver.clock import Clock
from homeserver.config.sections.media import Media as MediaSettings
from homeserver.media.incoming import Incoming
from homeserver.media.store import Store
from storage.backups import deleting_files
from storage.database import Pool
from storage.media_contents import delete_unused_contents, known_keys
from storage.media_upkeep import (
    delete_excess_remote,
    delete_expired_reservations,
    delete_media_of_user,
    delete_named_media,
    delete_unused_media,
    keys_after,
)
from storage.names import Names

MEBIBYTE = 1_048_576
DAY_MS = 24 * 3_600_000
GRACE_MS = 3_600_000
"""A content that nothing refers to stays for so long: somebody may be about to name it."""
STRAY_AFTER_MS = DAY_MS
"""A file that no content has for so long is nobody's."""
BATCH = 500
MOST_BATCHES = 200
MOST_SWEPT = 200_000
"""Files that one run compares with the database; the next run goes on."""


@dataclass(frozen=True, slots=True)
class Disagreement:
    """What the store and the database do not agree on."""

    missing: list[str]
    """Keys of contents whose file is not there."""
    stray: list[str]
    """Keys of files that no content has."""


class Upkeep:
    """Deletes media."""

    __slots__ = ("_clock", "_db", "_incoming", "_names", "_settings", "_store")

    def __init__(
        self,
        db: Pool,
        names: Names,
        clock: Clock,
        store: Store,
        incoming: Incoming,
        settings: MediaSettings,
    ) -> None:
        self._db = db
        self._names = names
        self._clock = clock
        self._store = store
        self._incoming = incoming
        self._settings = settings

    async def delete_unused(self) -> None:
        """Forget what nobody has asked for in the time that the operator sets."""
        now, settings = self._clock(), self._settings
        await repeat(lambda: delete_expired_reservations(self._db, now - DAY_MS, BATCH))
        if settings.remote_unused_days:
            await self.delete_unused_since(now - settings.remote_unused_days * DAY_MS, ours=False)
        if settings.local_unused_days:
            await self.delete_unused_since(now - settings.local_unused_days * DAY_MS, ours=True)
        if settings.remote_cache_mb:
            most = settings.remote_cache_mb * MEBIBYTE
            await repeat(lambda: delete_excess_remote(self._db, now, most, BATCH))

    async def delete_unused_since(self, before_ts: int, *, ours: bool) -> int:
        """Forget our own media, or those of others, that nobody has asked for since; how many."""
        now = self._clock()
        return await repeat(
            lambda: delete_unused_media(self._db, now, ours=ours, before_ts=before_ts, limit=BATCH)
        )

    async def delete_named(self, origin: str, media_id: str) -> bool:
        """Forget a medium; whether it was there."""
        return await delete_named_media(self._db, self._clock(), origin, media_id)

    async def delete_of_user(self, user_id: UserId) -> int:
        """Forget all that a user has uploaded, but for what is quarantined; how many."""
        user_nid = await self._names.users.find_nid(user_id)
        if user_nid is None:
            return 0
        now = self._clock()
        return await repeat(lambda: delete_media_of_user(self._db, now, user_nid, BATCH))

    async def delete_files(self, grace_ms: int = GRACE_MS) -> int:
        """Delete contents that have lost their last name, and their files; how many files.

        None while a backup is made, which has still to copy what the database had when it began.
        """
        deleted = 0
        while True:
            async with deleting_files(self._db) as may_delete:
                if not may_delete:
                    return deleted
                now = self._clock()
                looked_at, keys = await delete_unused_contents(self._db, now - grace_ms, now, BATCH)
                await self._store.delete(keys)
            deleted += len(keys)
            if looked_at < BATCH:
                return deleted

    async def sweep(self, after: str = "") -> str:
        """Delete files that crashes have left; where to go on, empty if that was all."""
        await self._incoming.delete_dead()
        before_ts, swept = self._clock() - STRAY_AFTER_MS, 0
        async with aclosing(self._store.list_kept(after)) as batches:
            async for batch in batches:
                known = await known_keys(self._db, [kept.key for kept in batch])
                await self._store.delete(
                    [
                        kept.key
                        for kept in batch
                        if kept.key not in known and kept.put_ts < before_ts
                    ]
                )
                swept += len(batch)
                if swept >= MOST_SWEPT:
                    return max(kept.key for kept in batch)
        return ""

    async def compare(self, progress: Callable[[int], None]) -> Disagreement:
        """What is missing in the store, and what nobody knows there; changes nothing."""
        files: set[str] = set()
        stray: list[str] = []
        async with aclosing(self._store.list_kept("")) as batches:
            async for batch in batches:
                keys = [kept.key for kept in batch]
                known = await known_keys(self._db, keys)
                stray += [key for key in keys if key not in known]
                files |= known
                progress(len(batch))
        missing: list[str] = []
        last = ""
        while keys := list(await keys_after(self._db, last, BATCH)):
            missing += [key for key in keys if key not in files]
            last = keys[-1]
        return Disagreement(missing, stray)


async def repeat(delete: Callable[[], Awaitable[int]]) -> int:
    """Delete batch by batch until fewer are found than a batch has; how many in all."""
    total = 0
    for _ in range(MOST_BATCHES):
        deleted = await delete()
        total += deleted
        if deleted < BATCH:
            break
    return total
