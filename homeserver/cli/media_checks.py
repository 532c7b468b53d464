"""Whether the files of media are where the database says, as far as a few of them tell."""

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from homeserver.building.media import build_store
from homeserver.cli.finding import Finding, State
from homeserver.config.settings import Settings
from homeserver.media.incoming import Incoming
from storage.backups import newest_files

if TYPE_CHECKING:
    import asyncpg

    from homeserver.media.store import Store

SAMPLE = 20
PATIENCE_S = 15


@dataclass(frozen=True, slots=True)
class Sample:
    """How many files were looked for, the newest ones, and how many of them are not there."""

    looked_for: int
    missing: int


async def look_for_files(connection: "asyncpg.Connection", store: "Store") -> Sample:
    """Look for the newest files of the database in the store. Raises `OSError`."""
    keys = await newest_files(connection, SAMPLE)
    try:
        async with asyncio.timeout(PATIENCE_S):
            are_there = await asyncio.gather(*map(store.has, keys))
            # A bucket that does not exist has no file either: only asked for all, it complains.
            async with aclosing(store.list_kept("")) as listed:
                await anext(listed, None)
    except TimeoutError as error:
        raise OSError(f"The store does not answer within {PATIENCE_S} s") from error
    return Sample(len(keys), are_there.count(False))


async def check_media(settings: Settings, connection: "asyncpg.Connection") -> Finding:
    """The store answers, and has what the database knows of."""
    subject, media = "media", settings.media
    where = f"the bucket {media.s3.bucket}" if media.s3.bucket else str(media.directory)
    store = build_store(media, Incoming(media.directory / "incoming"))
    try:
        sample = await look_for_files(connection, store)
    except OSError as error:
        return Finding(subject, State.FAIL, f"{error}; check the section [media].")
    if sample.missing:
        message = (
            f"{sample.missing} of the {sample.looked_for} newest files are not in {where}; put "
            "them back, then see `hearth media check`."
        )
        return Finding(subject, State.FAIL, message)
    there = f"the {sample.looked_for} newest files are there"
    found = there if sample.looked_for else "there are none yet"
    return Finding(subject, State.OK, f"Files are kept in {where}: {found}.")
