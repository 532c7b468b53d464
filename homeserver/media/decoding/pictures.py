"""What children of the nursery do with pictures: say how large one is, and make a smaller one.

The header is looked at first: what would take too much is not decoded. JPEG and WebP are reduced
while they are decoded, and the rest is computed line by line, so that memory hardly grows with the
picture. Metadata is left out, except that the picture is put upright and into sRGB before.
"""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from ctypes import c_void_p
from dataclasses import dataclass
from typing import Any

from homeserver.media.decoding.nursery import Refused
from homeserver.media.decoding.vips import CENTRE, KEEP_NOTHING, Picture, Vips

FORMATS = {
    "jpegload_source": "image/jpeg",
    "pngload_source": "image/png",
    "gifload_source": "image/gif",
    "webpload_source": "image/webp",
    "heifload_source": "image/avif",
}
SERVED_AS_THEY_ARE = {"image/jpeg", "image/png", "image/gif", "image/webp"}
"""Source: client-server API, GET /media/thumbnail, `Content-Type`."""
MAX_FRAMES = 100
MAX_ANIMATED_PIXELS = 16_000_000
"""Of all frames that are written together."""
JPEG = ("Q", 80, "optimize_coding", 1)
WEBP = ("Q", 70, "effort", 1)
OPAQUE = 255.0
ICON_PIXELS = 128 * 128
"""Thumbnails of PNG files up to this size stay PNG: icons and drawings keep their edges, and little
would be saved."""

library: list[Vips] = []
"""The library, once it is loaded."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself."""

    content_type: str
    width: int
    height: int
    frames: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which thumbnail, and of how many pixels the picture may be."""

    width: int
    height: int
    method: str
    animated: bool
    max_pixels: int


def prepare(arguments: Sequence[str]) -> None:
    """Load libvips from the path given."""
    library.append(Vips(arguments[0]))


def measure(wanted: Mapping[str, Any], files: Sequence[int]) -> Callable[[], Mapping[str, Any]]:
    """Tell type and size of the first file."""
    vips = library[0]
    source = vips.source(files[0])
    del wanted

    def work() -> Mapping[str, Any]:
        header = read_header(vips.open(source))
        return {name: getattr(header, name) for name in ("content_type", "width", "height")}

    return work


def make_thumbnail(
    wanted: Mapping[str, Any], files: Sequence[int]
) -> Callable[[], Mapping[str, Any]]:
    """Make the thumbnail of the first file in the second one; `suffices` if there is no need."""
    vips = library[0]
    source, target = vips.source(files[0]), vips.target(files[1])
    asked = Wanted(**wanted)

    def work() -> Mapping[str, Any]:
        header = read_header(vips.open(source))
        check_size(header, asked)
        if suffices(header, asked):
            return {"suffices": True}
        frames = frames_of(header, asked)
        if frames > 1:
            made = animated_thumbnail(vips, source, header, asked, frames)
            made.write("vips_webpsave_target", target, *WEBP, "keep", KEEP_NOTHING)
            content_type = "image/webp"
        else:
            made = still_thumbnail(vips, source, asked)
            content_type = write_still(made, target, header)
        size = os.fstat(files[1]).st_size
        return {
            "content_type": content_type,
            "width": made.width,
            "height": made.height // frames,
            "size": size,
        }

    return work


def read_header(picture: Picture) -> Header:
    """What the file is. Raises `Refused` for what is no picture of the web."""
    content_type = FORMATS.get(picture.text("vips-loader"))
    if content_type is None:
        raise Refused("undecodable", "not a picture of a known kind")
    width, height = picture.width, picture.page_height
    if picture.is_turned:
        width, height = height, width
    frames = picture.pages if content_type in {"image/gif", "image/webp"} else 1
    return Header(content_type, width, height, frames)


def check_size(header: Header, wanted: Wanted) -> None:
    """Raises `Refused` if the picture has too many pixels."""
    if header.width * header.height > wanted.max_pixels:
        size = f"{header.width} x {header.height}"
        raise Refused("too_large", f"The picture has too many pixels: {size}")


def suffices(header: Header, wanted: Wanted) -> bool:
    """Whether the file itself is what is wanted."""
    is_small = header.width <= wanted.width and header.height <= wanted.height
    moves_unwanted = header.frames > 1 and not wanted.animated
    return is_small and not moves_unwanted and header.content_type in SERVED_AS_THEY_ARE


def frames_of(header: Header, wanted: Wanted) -> int:
    """How many frames the thumbnail has: as many of the first ones as can be afforded."""
    if not wanted.animated:
        return 1
    read, written = header.width * header.height, wanted.width * wanted.height
    affordable = min(MAX_FRAMES, wanted.max_pixels // read, MAX_ANIMATED_PIXELS // written)
    return max(1, min(header.frames, affordable))


def still_thumbnail(vips: Vips, source: c_void_p, wanted: Wanted) -> Picture:
    """The first frame, smaller."""
    crop = ("crop", CENTRE) if wanted.method == "crop" else ()
    return vips.thumbnail(source, wanted.width, "height", wanted.height, *crop)


def animated_thumbnail(
    vips: Vips, source: c_void_p, header: Header, wanted: Wanted, frames: int
) -> Picture:
    """The first frames below each other, each one smaller."""
    pages = ("option_string", f"n={frames}")
    if wanted.method == "scale":
        return vips.thumbnail(source, wanted.width, "height", wanted.height, *pages)
    # The library would crop the frames as if they were one tall picture.
    factor = min(1.0, max(wanted.width / header.width, wanted.height / header.height))
    width, height = (math.ceil(side * factor) for side in (header.width, header.height))
    return cropped_frames(vips.thumbnail(source, width, "height", height, *pages), wanted, frames)


def cropped_frames(strip: Picture, wanted: Wanted, frames: int) -> Picture:
    """The middle of each frame of a strip."""
    all_frames, frame_height = strip.in_memory(), strip.height // frames
    width, height = min(strip.width, wanted.width), min(frame_height, wanted.height)
    left, top = (strip.width - width) // 2, (frame_height - height) // 2
    cut = [
        all_frames.made("vips_extract_area", left, top + number * frame_height, width, height)
        for number in range(frames)
    ]
    joined = strip.vips.joined(cut)
    joined.set_int("page-height", height)
    return joined


def write_still(made: Picture, target: c_void_p, source: Header) -> str:
    """Write a picture as PNG or JPEG; which of them it was.

    As PNG if one can look through it, or if it is a small one of a PNG.
    """
    # The pixels are needed twice.
    pixels = made.in_memory()
    is_icon = source.content_type == "image/png" and made.width * made.height <= ICON_PIXELS
    if is_icon or (pixels.has_alpha and alpha_of(pixels).minimum() < OPAQUE):
        pixels.write("vips_pngsave_target", target, "keep", KEEP_NOTHING)
        return "image/png"
    pixels.write("vips_jpegsave_target", target, *JPEG, "keep", KEEP_NOTHING)
    return "image/jpeg"


def alpha_of(picture: Picture) -> Picture:
    """How opaque the pixels are."""
    return picture.made("vips_extract_band", picture.bands - 1)


JOBS = {"measure": measure, "make_thumbnail": make_thumbnail}
