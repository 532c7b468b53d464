"""What the figures of a moment are taken from: the services, the database, the kernel."""

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from homeserver.config.cluster import private_cluster
from homeserver.http.dispatch import Dispatcher
from homeserver.observe.memory import Memory, descendants, memory_of
from homeserver.observe.request_times import RequestTimes
from storage.backups import LastBackup, find_last_backup
from storage.changes import Change, EventAdded
from storage.database import DatabaseUnavailable, Pool
from storage.measures import (
    Backlog,
    StoredMedia,
    backlog_of_destinations,
    newest_migration,
    stored_media,
)
from storage.stream import Stream

if TYPE_CHECKING:
    from homeserver.services import Services

MEDIA_EVERY_S = 600.0
"""How often the sizes of all files are added up."""


@dataclass(frozen=True, slots=True)
class DatabaseReading:
    """What the database was asked for."""

    migration: int
    backlog: Sequence[Backlog]
    media: StoredMedia
    last_backup: LastBackup | None


@dataclass(frozen=True, slots=True)
class Reading:
    """What takes time to find out; everything else is read where it is rendered."""

    problem: str | None
    database: DatabaseReading | None
    """None while the database does not answer."""
    memory: Mapping[str, Memory]


@dataclass(frozen=True, slots=True)
class Watched:
    """The parts of the server that are looked at."""

    services: "Services"
    stream: Stream
    cache_bytes: int
    """The budget of all caches."""


class CommittedEvents:
    """Counts the events that this process commits; a listener of the stream."""

    __slots__ = ("_suffix", "local", "remote")

    def __init__(self, server_name: str) -> None:
        self._suffix = f":{server_name}"
        self.local = 0
        self.remote = 0

    async def heard(self, changes: Sequence[Change], own: bool) -> None:
        """Take note of what was committed."""
        if not own:
            return
        for change in changes:
            if isinstance(change, EventAdded):
                if change.event.sender.endswith(self._suffix):
                    self.local += 1
                else:
                    self.remote += 1


class Readings:
    """Takes readings, one at a time however many ask."""

    def __init__(self, watched: Watched, now_s: Callable[[], float] = time.monotonic) -> None:
        self.watched = watched
        self.requests = RequestTimes()
        self.events = CommittedEvents(watched.services.settings.server.name)
        self.dispatcher: Dispatcher | None = None
        """Set when the listeners are there."""
        self._now_s = now_s
        self._turn = asyncio.Lock()
        self._media = (0.0, StoredMedia(0, 0))
        watched.stream.listen(self.events.heard)

    async def take(self) -> Reading:
        """The figures of this moment."""
        async with self._turn:
            problem = await self.watched.services.health.find_problem()
            database = await self._ask_database() if problem is None else None
            memory = await asyncio.to_thread(self._measure_memory)
        return Reading(problem, database, memory)

    async def _ask_database(self) -> DatabaseReading | None:
        db, settings = self.watched.services.db, self.watched.services.settings
        try:
            return DatabaseReading(
                await newest_migration(db),
                await backlog_of_destinations(db, settings.metrics.named_destinations),
                await self._stored_media(db),
                await find_last_backup(db),
            )
        except DatabaseUnavailable:
            return None

    async def _stored_media(self, db: Pool) -> StoredMedia:
        until_s, media = self._media
        if self._now_s() >= until_s:
            media = await stored_media(db)
            self._media = (self._now_s() + MEDIA_EVERY_S, media)
        return media

    def _measure_memory(self) -> Mapping[str, Memory]:
        """By part: the server, its private PostgreSQL, and the processes that decode media."""
        postgres = self._postgres_processes()
        others = [one for one in descendants(os.getpid()) if one not in postgres]
        return {
            "server": memory_of([os.getpid()]),
            "postgresql": memory_of(postgres),
            "media": memory_of(others),
        }

    def _postgres_processes(self) -> list[int]:
        settings = self.watched.services.settings
        if settings.database.url:
            return []
        cluster = private_cluster(settings)
        if not cluster.find_running() or cluster.pid is None:
            return []
        return [cluster.pid, *descendants(cluster.pid)]
