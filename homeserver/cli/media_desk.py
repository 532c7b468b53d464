"""The media of a server whose process is somewhere else, or does not run."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from federation.protocol.identifiers import ServerName, UserId, build_user_id
from homeserver.building.media import build_store
from homeserver.cli.database import pool_of
from homeserver.cli.errors import CommandError
from homeserver.clock import Clock, system_clock
from homeserver.config.settings import Settings
from homeserver.media.contents import Contents
from homeserver.media.incoming import Incoming
from homeserver.media.quarantine import Quarantine
from homeserver.media.upkeep import Upkeep
from homeserver.takeover.synapse_media import (
    Progress,
    SynapseMedia,
    local_files,
    remote_files,
)
from storage.database import Pool, open_pool
from storage.names import Names

CACHE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class MediaDesk:
    """What the media commands work with; its process is a neighbour of the server's."""

    db: Pool
    names: Names
    clock: Clock
    contents: Contents
    quarantine: Quarantine
    upkeep: Upkeep
    server_name: ServerName

    async def user_nid(self, name: str) -> int:
        """The number of a user: a user ID or the part before the colon. Raises `CommandError`."""
        user_id = UserId(name) if name.startswith("@") else build_user_id(name, self.server_name)
        user_nid = await self.names.users.find_nid(user_id)
        if user_nid is None:
            raise CommandError(f"There is no user {user_id}.")
        return user_nid

    async def take_from_synapse(
        self,
        directory: Path,
        database_url: str,
        report: Callable[[Progress], None],
        *,
        remote: bool,
    ) -> Progress:
        """Take Synapse's files over."""
        synapse = await open_pool(database_url, 1)
        takeover = SynapseMedia(
            self.db, self.names, self.clock, self.contents, directory, self.server_name
        )
        try:
            done = await takeover.take(local_files(synapse), report)
            if remote:
                others = await takeover.take(remote_files(synapse), report)
                done = done + others
        finally:
            await synapse.close()
        return done


@asynccontextmanager
async def media_desk(settings: Settings) -> AsyncIterator[MediaDesk]:
    """The media of the server that the settings describe; its database gets its shape first."""
    async with pool_of(settings) as pool:
        yield _desk(settings, pool)


def _desk(settings: Settings, pool: Pool) -> MediaDesk:
    names, server_name = Names(pool, CACHE_BYTES), ServerName(settings.server.name)
    incoming = Incoming(settings.media.directory / "incoming")
    store = build_store(settings.media, incoming)
    return MediaDesk(
        db=pool,
        names=names,
        clock=system_clock,
        contents=Contents(pool, system_clock, store, incoming),
        quarantine=Quarantine(pool, names, system_clock, server_name),
        upkeep=Upkeep(pool, names, system_clock, store, incoming, settings.media),
        server_name=server_name,
    )
