"""Files that our users send: at once, or under an ID that was reserved before.

Source: client-server API, "Content repository"; MSC2246.
"""

import secrets
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from federation.protocol.errors import CannotOverwriteMedia, Forbidden, LimitExceeded, NotFound
from federation.protocol.identifiers import ServerName
from homeserver.clock import Clock
from homeserver.config.sections.media import Media as MediaSettings
from homeserver.media.awaited_uploads import AwaitedUploads
from homeserver.media.contents import Contents
from homeserver.media.incoming import Received
from homeserver.media.quotas import Quotas
from storage.database import Pool
from storage.media import (
    OURS,
    Media,
    NewMedia,
    add_media,
    count_reserved,
    fill_reserved,
    find_media,
    reserve_media_id,
)

MEBIBYTE = 1_048_576
MOST_AT_ONCE = 10
"""Uploads of one user that are under way."""
TRY_AGAIN_MS = 5_000


class ArrivingBody(Protocol):
    """A request's body."""

    @property
    def length(self) -> int | None:
        """How many bytes the client says that it sends; None if it does not say."""

    def chunks(self, max_bytes: int) -> AsyncIterator[bytes]:
        """The body, piece by piece. Raises `TooLarge` above so many bytes."""


@dataclass(frozen=True, slots=True)
class Label:
    """What a user calls a file."""

    content_type: str
    name: str | None


@dataclass(frozen=True, slots=True)
class Reserved:
    """A URI that waits for its content."""

    uri: str
    expires_ts: int


class Uploads:
    """Takes files of our users."""

    __slots__ = (
        "_awaited",
        "_clock",
        "_contents",
        "_db",
        "_quotas",
        "_server_name",
        "_settings",
        "_under_way",
    )

    def __init__(
        self,
        db: Pool,
        clock: Clock,
        contents: Contents,
        awaited: AwaitedUploads,
        quotas: Quotas,
        settings: MediaSettings,
        server_name: ServerName,
    ) -> None:
        self._db = db
        self._clock = clock
        self._contents = contents
        self._awaited = awaited
        self._quotas = quotas
        self._settings = settings
        self._server_name = server_name
        self._under_way = Counter[int]()

    @property
    def max_bytes(self) -> int:
        """The size of the largest file that is taken."""
        return self._settings.max_upload_mb * MEBIBYTE

    async def upload(self, user_nid: int, body: ArrivingBody, label: Label) -> str:
        """Keep a file; its URI.

        Raises `TooLarge`, `UserLimitExceeded`, `LimitExceeded`, `QuarantinedContent`, and what
        `body` raises.
        """
        with self._one_more(user_nid):
            await self._quotas.check(user_nid, body.length or 0)
            async with self._contents.receive(body.chunks(self.max_bytes)) as received:
                content = await self._contents.keep(received)
        new = self._new_media(user_nid, label)
        async with self._quotas.counting(user_nid, content.size) as db:
            await add_media(db, new, content.content_nid)
        return self._uri(new.media_id)

    async def add_made(self, received: Received, content_type: str) -> str:
        """Keep a file that the server itself has made or fetched for its users; its URI."""
        content = await self._contents.keep(received)
        new = self._new_media(None, Label(content_type, None))
        await add_media(self._db, new, content.content_nid)
        return self._uri(new.media_id)

    async def reserve(self, user_nid: int) -> Reserved:
        """Reserve a URI for a file that comes later. Raises `LimitExceeded`."""
        now = self._clock()
        pending, first_ts = await count_reserved(self._db, user_nid, now)
        if pending >= self._settings.max_reserved:
            raise LimitExceeded((first_ts or now) - now)
        media_id = new_media_id()
        expires_ts = now + self._settings.reservation_lifetime_s * 1000
        await reserve_media_id(
            self._db, media_id, user_nid, now, expires_ts, needs_token=self._needs_token
        )
        return Reserved(self._uri(media_id), expires_ts)

    async def fill(
        self, user_nid: int, server_name: str, media_id: str, body: ArrivingBody, label: Label
    ) -> None:
        """Keep the file of a URI that was reserved.

        Raises `NotFound` (never reserved, or expired), `Forbidden` (by somebody else),
        `CannotOverwriteMedia`, and what `upload` raises.
        """
        media = await self._get_reserved(user_nid, server_name, media_id)
        with self._one_more(user_nid):
            await self._quotas.check(user_nid, body.length or 0)
            async with self._contents.receive(body.chunks(self.max_bytes)) as received:
                content = await self._contents.keep(received)
        async with self._quotas.counting(user_nid, content.size) as db:
            is_filled = await fill_reserved(
                db,
                media.media_nid,
                content.content_nid,
                label.content_type,
                label.name,
                self._clock(),
            )
        if not is_filled:
            raise CannotOverwriteMedia("Something else was uploaded meanwhile")
        await self._awaited.arrived(media_id)

    async def _get_reserved(self, user_nid: int, server_name: str, media_id: str) -> Media:
        is_ours = server_name == self._server_name
        media = await find_media(self._db, OURS, media_id) if is_ours else None
        if media is None or media.is_quarantined:
            raise NotFound("Unknown media ID")
        if media.user_nid != user_nid:
            raise Forbidden("Somebody else has created this media ID")
        if media.content is not None:
            raise CannotOverwriteMedia("Media already uploaded")
        if media.expires_ts is None or media.expires_ts <= self._clock():
            raise NotFound("The media ID has expired")
        return media

    def _new_media(self, user_nid: int | None, label: Label) -> NewMedia:
        return NewMedia(
            origin=OURS,
            media_id=new_media_id(),
            user_nid=user_nid,
            content_type=label.content_type,
            upload_name=label.name,
            created_ts=self._clock(),
            needs_token=self._needs_token,
        )

    @property
    def _needs_token(self) -> bool:
        return self._settings.freeze_unauthenticated

    @contextmanager
    def _one_more(self, user_nid: int) -> Iterator[None]:
        """An upload that is under way. Raises `LimitExceeded`."""
        if self._under_way[user_nid] >= MOST_AT_ONCE:
            raise LimitExceeded(TRY_AGAIN_MS)
        self._under_way[user_nid] += 1
        try:
            yield
        finally:
            self._under_way[user_nid] -= 1
            if not self._under_way[user_nid]:
                del self._under_way[user_nid]

    def _uri(self, media_id: str) -> str:
        return f"mxc://{self._server_name}/{media_id}"


def new_media_id() -> str:
    """An ID that nobody can guess."""
    return secrets.token_urlsafe(18)
