"""Thumbnails of pictures, made in a process of their own that cannot hurt the server.

See `decoding/nursery.py` for that process, `decoding/pictures.py` for what it does.
"""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from federation.inbound.reading_ports import Thumbnail
from federation.protocol.errors import LimitExceeded, MatrixError, TooLarge, Unknown
from homeserver.config.sections.media import Media
from homeserver.media.decoding.libvips import find_libvips
from homeserver.media.decoding.limits import Limits
from homeserver.media.decoding.workers import Crew, Workers, WorkFailed, close_all

PICTURES = frozenset(
    {
        "image/jpeg",
        "image/jpg",
        "image/png",
        "image/apng",
        "image/gif",
        "image/webp",
        "image/avif",
    }
)
"""Media types of which there are thumbnails. What a file really is shows when it is decoded."""
JOBS = "homeserver.media.decoding.pictures"
MAX_THUMBNAIL_BYTES = 16 * 1_048_576
MAX_WAITING = 64
IDLE_S = 30.0
RETRY_AFTER_MS = 2000
ONE_PIXEL = bytes.fromhex("474946383961010001008000000000000000002c00000000010001000002024401003b")
"""A GIF."""
READ = os.O_RDONLY | os.O_CLOEXEC
WRITE_ANEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC


class NoThumbnail(Unknown):
    """There is no thumbnail of this, and there never will be."""


@dataclass(frozen=True, slots=True)
class MadeThumbnail:
    """What a thumbnail turned out to be; `size` is in bytes."""

    content_type: str
    width: int
    height: int
    size: int


@dataclass(frozen=True, slots=True)
class PictureSize:
    """What a picture is, by its header."""

    content_type: str
    width: int
    height: int


class Thumbnailer:
    """Makes thumbnails of files."""

    def __init__(self, workers: Workers, max_pixels: int) -> None:
        self._workers = workers
        self._max_pixels = max_pixels

    async def make(
        self, source: Path, target: Path, media_type: str, wanted: Thumbnail
    ) -> MadeThumbnail | None:
        """Make a thumbnail of a size that `kept_size` gives; None if the source is to be served.

        It is where it is itself no larger than what is wanted. What the target has then, or after
        an error, is worth nothing. Raises `NoThumbnail`, `TooLarge`, `LimitExceeded`.
        """
        if media_type.partition(";")[0].strip().lower() not in PICTURES:
            raise NoThumbnail("There are thumbnails of pictures only")
        asked = {
            "width": wanted.width,
            "height": wanted.height,
            "method": wanted.method,
            "animated": bool(wanted.animated),
            "max_pixels": self._max_pixels,
        }
        found = await self._run("make_thumbnail", asked, source, target)
        if found.get("suffices"):
            return None
        return MadeThumbnail(*(found[name] for name in MadeThumbnail.__slots__))

    async def measure(self, source: Path) -> PictureSize:
        """Type and size of a picture. Raises as `make` does."""
        found = await self._run("measure", {}, source)
        return PictureSize(found["content_type"], found["width"], found["height"])

    async def try_out(self) -> bool:
        """Look at a picture of one pixel; whether the process that did so is fully confined.

        Raises `NoThumbnail` if there is no libvips.
        """
        with tempfile.NamedTemporaryFile() as picture:
            picture.write(ONE_PIXEL)
            picture.flush()
            return bool((await self._run("measure", {}, Path(picture.name)))["is_filtered"])

    async def close(self) -> None:
        """End the processes."""
        await self._workers.close()

    async def _run(
        self, job: str, wanted: dict[str, object], source: Path, *targets: Path
    ) -> dict[str, Any]:
        files = open_all([(source, READ), *((target, WRITE_ANEW) for target in targets)])
        try:
            return await self._workers.run(job, wanted, files)
        except WorkFailed as failure:
            raise error_of(failure) from failure


def open_all(paths: Sequence[tuple[Path, int]]) -> list[int]:
    """Open files for reading or writing; all of them or none."""
    files: list[int] = []
    try:
        for path, flags in paths:
            files.append(os.open(path, flags, 0o600))
    except OSError:
        close_all(files)
        raise
    return files


def error_of(failure: WorkFailed) -> MatrixError:
    """What the client is told."""
    if failure.reason == "busy":
        return LimitExceeded(RETRY_AFTER_MS)
    if failure.reason in {"too_large", "died"}:
        return TooLarge(str(failure))
    return NoThumbnail("Cannot generate thumbnails for the requested content")


def build_thumbnailer(settings: Media) -> Thumbnailer:
    """A thumbnailer; nothing is started before the first picture."""
    return Thumbnailer(Workers(thumbnail_crew(settings)), settings.max_megapixels * 1_000_000)


def thumbnail_crew(settings: Media) -> Crew:
    """The processes that make thumbnails, as configured."""
    return Crew(
        module=JOBS,
        arguments=(find_libvips(),),
        limits=Limits(
            memory_bytes=settings.thumbnail_memory_mb * 1_048_576,
            seconds=settings.thumbnail_timeout_s,
            file_bytes=MAX_THUMBNAIL_BYTES,
        ),
        at_a_time=settings.thumbnails_at_a_time,
        max_waiting=MAX_WAITING,
        idle_s=IDLE_S,
    )
