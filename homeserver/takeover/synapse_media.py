"""Synapse's media: where its files are, what its database says of them, and taking both over.

Files are linked, not copied, where both stores are in one file system: that costs no space, and
Synapse's directory stays as it is. What is here already is passed over, so an import that was
interrupted goes on where it was. Thumbnails and previews of URLs are made anew when they are
asked for.

The layout: `local_content/aa/bb/rest` for the media ID `aabbrest`, and
`remote_content/SERVER/aa/bb/rest` for what the database calls the file's `filesystem_id`.
"""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from federation.protocol.content_disposition import clean_name, clean_type
from federation.protocol.identifiers import is_valid_mxc
from homeserver.clock import Clock
from homeserver.media.contents import Contents, QuarantinedContent
from homeserver.media.incoming import hash_file
from storage.database import Database, Pool
from storage.media import OURS, Imported, import_media, known_media
from storage.names import Names

BATCH = 200


@dataclass(frozen=True, slots=True)
class SynapseFile:
    """A file as Synapse knows it; `origin` is empty for its own, and `user_id` for others'."""

    origin: str
    media_id: str
    filesystem_id: str
    user_id: str | None
    content_type: str | None
    upload_name: str | None
    created_ts: int
    last_access_ts: int
    needs_token: bool
    quarantined_by: str | None
    is_protected: bool


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an import is."""

    taken: int = 0
    known: int = 0
    missing: int = 0
    """Files that Synapse's database has and its directory has not."""

    def __add__(self, other: "Progress") -> "Progress":
        return Progress(
            self.taken + other.taken, self.known + other.known, self.missing + other.missing
        )


SELECT_LOCAL = """
    SELECT '', media_id, media_id, user_id, media_type, upload_name, coalesce(created_ts, 0),
           coalesce(last_access_ts, created_ts, 0), coalesce(authenticated, false),
           quarantined_by, coalesce(safe_from_quarantine, false)
      FROM local_media_repository
     WHERE media_id > $1 AND url_cache IS NULL AND media_length IS NOT NULL
     ORDER BY media_id
     LIMIT $2
"""
SELECT_REMOTE = """
    SELECT media_origin, media_id, filesystem_id, NULL, media_type, upload_name,
           coalesce(created_ts, 0), coalesce(last_access_ts, created_ts, 0),
           coalesce(authenticated, false), quarantined_by, false
      FROM remote_media_cache
     WHERE (media_origin, media_id) > ($1, $2)
     ORDER BY media_origin, media_id
     LIMIT $3
"""


async def local_files(synapse: Database) -> AsyncIterator[list[SynapseFile]]:
    """What was uploaded at Synapse, some at a time."""
    last = ""
    while rows := await synapse.fetch(SELECT_LOCAL, last, BATCH):
        yield [SynapseFile(*row) for row in rows]
        last = rows[-1][1]


async def remote_files(synapse: Database) -> AsyncIterator[list[SynapseFile]]:
    """What Synapse has fetched from other servers, some at a time."""
    last = ("", "")
    while rows := await synapse.fetch(SELECT_REMOTE, *last, BATCH):
        yield [SynapseFile(*row) for row in rows]
        last = rows[-1][0], rows[-1][1]


def path_of(directory: Path, file: SynapseFile) -> Path:
    """Where a file is below Synapse's media directory."""
    name = file.filesystem_id
    above = ("local_content",) if file.origin == OURS else ("remote_content", file.origin)
    return directory.joinpath(*above, name[:2], name[2:4], name[4:])


class SynapseMedia:
    """Takes Synapse's media over."""

    __slots__ = ("_clock", "_contents", "_db", "_directory", "_names", "_server_name")

    def __init__(
        self,
        db: Pool,
        names: Names,
        clock: Clock,
        contents: Contents,
        directory: Path,
        server_name: str,
    ) -> None:
        self._db = db
        self._names = names
        self._clock = clock
        self._contents = contents
        self._directory = directory
        self._server_name = server_name

    async def take(
        self, batches: AsyncIterator[list[SynapseFile]], report: Callable[[Progress], None]
    ) -> Progress:
        """Take files over, batch by batch; how many, and how many were not there."""
        progress = Progress()
        async for batch in batches:
            progress = await self._take_batch(
                [one for one in batch if self._is_sound(one)], progress
            )
            report(progress)
        return progress

    async def _take_batch(self, batch: Sequence[SynapseFile], progress: Progress) -> Progress:
        known = await known_media(self._db, [(one.origin, one.media_id) for one in batch])
        new = [one for one in batch if (one.origin, one.media_id) not in known]
        user_nids = await self._names.users.get_nids({one.user_id for one in new if one.user_id})
        found: list[Imported] = []
        missing = 0
        for one in new:
            content_nid = await self._find_content(one)
            missing += content_nid is None
            if content_nid is not None:
                found.append(self._imported(one, content_nid, user_nids))
        await import_media(self._db, found)
        return progress + Progress(len(found), len(known), missing)

    async def _find_content(self, one: SynapseFile) -> int | None:
        """The number of a file's content, which is in the store by then; None if it is lost."""
        source = path_of(self._directory, one)
        async with self._contents.place() as place:
            try:
                await asyncio.to_thread(link_or_copy, source, place)
            except FileNotFoundError:
                return None
            try:
                content = await self._contents.keep(await asyncio.to_thread(hash_file, place))
            except QuarantinedContent as error:
                return error.content_nid
            return content.content_nid

    def _imported(self, one: SynapseFile, content_nid: int, user_nids: dict[str, int]) -> Imported:
        return Imported(
            origin=one.origin,
            media_id=one.media_id,
            content_nid=content_nid,
            user_nid=None if one.user_id is None else user_nids[one.user_id],
            content_type=clean_type(one.content_type),
            upload_name=clean_name(one.upload_name),
            created_ts=one.created_ts,
            last_access_ts=one.last_access_ts,
            needs_token=one.needs_token,
            quarantined_by=one.quarantined_by,
            is_protected=one.is_protected,
        )

    def _is_sound(self, one: SynapseFile) -> bool:
        """Whether the names are such that they lead nowhere else."""
        uri = f"mxc://{one.origin or self._server_name}/{one.media_id}"
        return is_valid_mxc(uri) and one.filesystem_id.replace("-", "").replace("_", "").isalnum()


def link_or_copy(source: Path, target: Path) -> None:
    """Have the file in a second place. Raises `FileNotFoundError`."""
    if not source.is_file():
        raise FileNotFoundError(source)
    target.unlink()
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
