"""The store in a bucket that speaks S3: at Amazon, or a MinIO, Garage or Ceph of one's own.

Files go up in parts and come down in chunks, so memory stays constant here too. What only works on
files of the file system (thumbnails) gets a copy for as long as it takes.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import S3Store

from homeserver.config.sections.media import S3
from homeserver.media.incoming import Incoming
from homeserver.media.store import CHUNK_BYTES, Kept

if TYPE_CHECKING:
    from obstore import GetResult
    from obstore.store import S3Config

PART_BYTES = 8 * 1_048_576
PARTS_AT_ONCE = 2
LISTED_AT_ONCE = 500


class ObjectStore:
    """Files in a bucket, below a prefix."""

    __slots__ = ("_bucket", "_incoming")

    def __init__(self, bucket: S3Store, incoming: Incoming) -> None:
        self._bucket = bucket
        self._incoming = incoming

    async def put(self, source: Path, key: str) -> None:
        """Upload a file."""
        with translated():
            await obstore.put_async(
                self._bucket,
                key,
                source,
                chunk_size=PART_BYTES,
                max_concurrency=PARTS_AT_ONCE,
            )

    async def has(self, key: str) -> bool:
        """Whether the file is there."""
        try:
            with translated():
                await obstore.head_async(self._bucket, key)
        except FileNotFoundError:
            return False
        return True

    async def read(self, key: str, start: int, length: int) -> AsyncGenerator[bytes, None]:
        """A part of a file."""
        if not length:
            if not await self.has(key):
                raise FileNotFoundError(key)
            yield b""
            return
        with translated():
            found = await obstore.get_async(
                self._bucket, key, options={"range": (start, start + length)}
            )
            async for chunk in found.stream(min_chunk_size=CHUNK_BYTES):
                yield bytes(chunk)

    @asynccontextmanager
    async def as_path(self, key: str) -> AsyncIterator[Path]:
        """A copy of the file."""
        with translated():
            found = await obstore.get_async(self._bucket, key)
        async with self._incoming.receive(chunks_of(found)) as received:
            yield received.path

    async def delete(self, keys: Sequence[str]) -> None:
        """Delete files."""
        for key in keys:
            try:
                with translated():
                    await obstore.delete_async(self._bucket, key)
            except FileNotFoundError:
                continue

    async def list_kept(self, after: str) -> AsyncGenerator[Sequence[Kept], None]:
        """The files in the order of their keys."""
        found = obstore.list(self._bucket, offset=after or None, chunk_size=LISTED_AT_ONCE)
        with translated():
            async for batch in found:
                yield [
                    Kept(one["path"], int(one["last_modified"].timestamp() * 1000)) for one in batch
                ]


async def chunks_of(found: "GetResult") -> AsyncIterator[bytes]:
    """What is in a file."""
    with translated():
        async for chunk in found.stream(min_chunk_size=CHUNK_BYTES):
            yield bytes(chunk)


@contextmanager
def translated() -> Iterator[None]:
    """Turns what the library raises into `OSError`."""
    try:
        yield
    except NotFoundError as error:
        raise FileNotFoundError(str(error)) from error
    except BaseError as error:
        raise OSError(f"The bucket says: {error}") from error


def open_bucket(settings: S3) -> S3Store:
    """The bucket; nothing is connected yet. Credentials not given come from the environment."""
    config: S3Config = {"virtual_hosted_style_request": settings.bucket_in_host_name}
    if settings.endpoint:
        config["endpoint"] = settings.endpoint
    if settings.region:
        config["region"] = settings.region
    if settings.access_key_id:
        config["access_key_id"] = settings.access_key_id
        config["secret_access_key"] = settings.secret_access_key
    return S3Store(
        settings.bucket,
        prefix=settings.prefix or None,
        config=config,
        client_options={"allow_http": settings.endpoint.startswith("http://")},
    )
