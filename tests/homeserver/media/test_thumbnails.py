"""Thumbnails: of the right size and shape, upright, without metadata; hostile files do no harm."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.inbound.reading_ports import Thumbnail
from federation.protocol.errors import MatrixError, TooLarge
from homeserver.config.sections.media import Media
from homeserver.media.thumbnail_sizes import BOXES, UNREDUCED, kept_size
from homeserver.media.thumbnails import (
    MadeThumbnail,
    NoThumbnail,
    Thumbnailer,
    build_thumbnailer,
)
from tests.homeserver.media import pictures
from tests.homeserver.media.pictures import BLUE, GREEN, RED

SCALED = Thumbnail(320, 240, "scale", animated=None)
CROPPED = Thumbnail(96, 96, "crop", animated=None)
SCRIPT = b"<script>alert(document.domain)</script>"


@pytest.fixture(scope="module")
async def thumbnailer() -> AsyncIterator[Thumbnailer]:
    made = build_thumbnailer(Media())
    yield made
    await made.close()


class Desk:
    """Makes thumbnails of bytes."""

    def __init__(self, thumbnailer: Thumbnailer, folder: Path) -> None:
        self.thumbnailer = thumbnailer
        self.folder = folder
        self.target = folder / "thumbnail"

    async def make(
        self, data: bytes, wanted: Thumbnail = SCALED, media_type: str = "image/png"
    ) -> MadeThumbnail | None:
        source = self.folder / "source"
        source.write_bytes(data)
        return await self.thumbnailer.make(source, self.target, media_type, wanted)

    def looks_like(self, x: int, y: int, colour: pictures.Colour) -> bool:
        found = pictures.pixel(self.target, x, y)
        return all(abs(a - b) < 16 for a, b in zip(found, colour, strict=False))


@pytest.fixture
def desk(thumbnailer: Thumbnailer, tmp_path: Path) -> Desk:
    return Desk(thumbnailer, tmp_path)


async def test_scaling_keeps_the_shape(desk: Desk) -> None:
    made = await desk.make(pictures.png(1000, 500))
    assert made == MadeThumbnail("image/jpeg", 320, 160, desk.target.stat().st_size)
    assert desk.looks_like(10, 80, RED)
    assert desk.looks_like(310, 80, BLUE)


async def test_cropping_takes_the_middle(desk: Desk) -> None:
    made = await desk.make(pictures.png(1000, 500), CROPPED)
    assert made is not None
    assert (made.width, made.height) == (96, 96)
    assert desk.looks_like(5, 48, RED)
    assert desk.looks_like(90, 48, BLUE)


async def test_nothing_is_enlarged(desk: Desk) -> None:
    assert await desk.make(pictures.png(320, 240)) is None
    made = await desk.make(pictures.png(40, 500), CROPPED)
    assert made is not None
    assert (made.width, made.height) == (40, 96)


async def test_what_can_be_looked_through_stays_so(desk: Desk) -> None:
    made = await desk.make(pictures.png(800, 600, (*RED, 255), (*BLUE, 0)))
    assert made is not None
    assert made.content_type == "image/png"
    assert pictures.pixel(desk.target, 10, 10)[3] == 255
    assert pictures.pixel(desk.target, 310, 10)[3] == 0


async def test_an_opaque_picture_with_opacities_becomes_a_jpeg(desk: Desk) -> None:
    made = await desk.make(pictures.png(800, 600, (*RED, 255), (*BLUE, 255)))
    assert made is not None
    assert made.content_type == "image/jpeg"


async def test_a_small_picture_of_a_png_is_a_png(desk: Desk) -> None:
    made = await desk.make(pictures.png(1000, 500), Thumbnail(96, 96, "scale", animated=None))
    assert made is not None
    assert made.content_type == "image/png"
    assert desk.looks_like(5, 20, RED)


async def test_a_photo_is_put_upright_and_its_metadata_left_out(desk: Desk, tmp_path: Path) -> None:
    photo = pictures.jpeg(pictures.png(800, 400), tmp_path, orientation=6)
    assert b"Exif" in photo
    made = await desk.make(photo, media_type="image/jpeg")
    assert made is not None
    assert (made.width, made.height) == (120, 240)
    assert desk.looks_like(60, 10, RED)
    assert desk.looks_like(60, 230, BLUE)
    assert b"Exif" not in desk.target.read_bytes()


@pytest.mark.parametrize("saver", ["jpeg", "webp", "heif"])
async def test_the_formats_of_the_web_are_read(desk: Desk, tmp_path: Path, saver: str) -> None:
    options = ("compression", 4, "effort", 0) if saver == "heif" else ()
    data = pictures.converted(
        pictures.png(800, 600), f"vips_{saver}save_target", tmp_path, *options
    )
    made = await desk.make(data)
    assert made is not None
    assert (made.width, made.height) == (320, 240)
    assert desk.looks_like(10, 10, RED)


async def test_an_animation_moves_if_that_is_wanted(desk: Desk) -> None:
    moving = Thumbnail(64, 48, "scale", animated=True)
    made = await desk.make(pictures.gif(128, 96, 6), moving, "image/gif")
    assert made is not None
    assert (made.content_type, made.width, made.height) == ("image/webp", 64, 48)
    webp = desk.target.read_bytes()
    assert webp.count(b"ANMF") == 6
    duration = webp[webp.index(b"ANMF") + 20 :][:3]
    assert int.from_bytes(duration, "little") == 100


async def test_an_animation_is_cropped_frame_by_frame(desk: Desk) -> None:
    moving = Thumbnail(40, 40, "crop", animated=True)
    made = await desk.make(pictures.gif(120, 80, 3), moving, "image/gif")
    assert made is not None
    assert (made.width, made.height) == (40, 40)
    assert desk.target.read_bytes().count(b"ANMF") == 3
    assert desk.looks_like(20, 20, RED)


@pytest.mark.parametrize("animated", [False, None])
async def test_an_animation_stands_still_otherwise(desk: Desk, animated: bool | None) -> None:
    small = Thumbnail(320, 240, "scale", animated=animated)
    made = await desk.make(pictures.gif(100, 80, 6), small, "image/gif")
    assert made is not None
    assert (made.content_type, made.width, made.height) == ("image/jpeg", 100, 80)
    assert desk.looks_like(50, 40, RED)


async def test_a_small_animation_is_served_as_it_is(desk: Desk) -> None:
    moving = Thumbnail(320, 240, "scale", animated=True)
    assert await desk.make(pictures.gif(100, 80, 6), moving, "image/gif") is None


async def test_the_header_tells_type_and_size(desk: Desk, tmp_path: Path) -> None:
    photo = tmp_path / "photo"
    photo.write_bytes(pictures.jpeg(pictures.png(80, 40), tmp_path, orientation=6))
    size = await desk.thumbnailer.measure(photo)
    assert (size.content_type, size.width, size.height) == ("image/jpeg", 40, 80)


async def test_what_is_declared_as_something_else_is_not_decoded(desk: Desk) -> None:
    for media_type in ("text/html", "application/octet-stream", "image/svg+xml", "video/mp4"):
        with pytest.raises(NoThumbnail):
            await desk.make(pictures.png(800, 600), media_type=media_type)


async def test_the_content_counts_not_the_declared_type(desk: Desk, tmp_path: Path) -> None:
    photo = pictures.jpeg(pictures.png(800, 600), tmp_path)
    made = await desk.make(photo, media_type="image/gif")
    assert made is not None
    assert desk.target.read_bytes().startswith(b"\xff\xd8\xff")


# Hostile files


async def test_a_png_of_900_megapixels_is_refused_by_its_header(desk: Desk) -> None:
    with pytest.raises(TooLarge, match="too many pixels"):
        await desk.make(pictures.png_of(30_000, 30_000, b"\0" * 1000))


async def test_a_png_that_unfolds_in_memory_is_refused(desk: Desk) -> None:
    # Interlaced, it has to be held whole: 380 MB from 380 kB.
    bomb = pictures.png_of(
        6_900, 6_900, b"\0" * (6_900 * 6_910 * 8), depth=16, colour_type=6, interlaced=1
    )
    with pytest.raises(MatrixError):
        await desk.make(bomb)


async def test_a_gif_of_thousands_of_frames_is_cut(desk: Desk) -> None:
    bomb = pictures.gif(100, 100, 5_000)
    moving = Thumbnail(96, 96, "scale", animated=True)
    assert await desk.make(bomb, moving, "image/gif") is not None
    assert desk.target.read_bytes().count(b"ANMF") == 100
    assert await desk.make(bomb, CROPPED, "image/gif") is not None


async def test_a_huge_gif_is_refused(desk: Desk) -> None:
    small = pictures.gif(0x1234, 1, 3)
    with pytest.raises(TooLarge, match="too many pixels"):
        await desk.make(small.replace(b"\x34\x12\x01\x00", b"\xff" * 4), CROPPED, "image/gif")


async def test_a_webp_of_250_megapixels_is_refused(desk: Desk, tmp_path: Path) -> None:
    bomb = pictures.webp(pictures.png(16_000, 4), tmp_path)
    place = bomb.index(b"VP8L") + 9
    bits = int.from_bytes(bomb[place : place + 4], "little")
    # 14 bits each: width - 1 and height - 1.
    taller = (bits & ~(0x3FFF << 14)) | (15_999 << 14)
    with pytest.raises(MatrixError):
        await desk.make(bomb[:place] + taller.to_bytes(4, "little") + bomb[place + 4 :])


@pytest.mark.parametrize("kind", ["gif", "jpeg", "png", "webp"])
async def test_a_truncated_file_shows_what_is_there_or_nothing(
    desk: Desk, tmp_path: Path, kind: str
) -> None:
    whole = pictures.png(800, 600)
    if kind == "gif":
        whole = pictures.gif(400, 300, 4)
    elif kind != "png":
        whole = pictures.converted(whole, f"vips_{kind}save_target", tmp_path)
    for length in (3, 30, len(whole) // 2):
        try:
            made = await desk.make(whole[:length], CROPPED)
        except NoThumbnail:
            continue
        assert made is not None
        assert made.content_type in {"image/jpeg", "image/png"}


@pytest.mark.parametrize(
    "data",
    [
        b'<svg xmlns="http://www.w3.org/2000/svg" width="900" height="900">' + SCRIPT + b"</svg>",
        b'<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]><svg>&x;</svg>',
        b"%PDF-1.4\n" + SCRIPT,
        b"P6 900 900 255\n" + b"\0" * 2_430_000,
        b"",
    ],
    ids=["svg", "entity", "pdf", "ppm", "empty"],
)
async def test_what_is_no_picture_of_the_web_is_refused(desk: Desk, data: bytes) -> None:
    with pytest.raises(NoThumbnail):
        await desk.make(data)


async def test_nothing_of_a_file_of_two_natures_is_left(desk: Desk, tmp_path: Path) -> None:
    photo = pictures.jpeg(pictures.png(800, 600), tmp_path)
    payload = b"%PDF-1.4 <html>" + SCRIPT
    comment = b"\xff\xfe" + (len(payload) + 2).to_bytes(2, "big") + payload
    animation = bytearray(pictures.gif(0x2F2A, 2, 1))
    for polyglot in (
        photo[:2] + comment + photo[2:] + payload,
        bytes(animation) + b"*/=1;" + SCRIPT,
    ):
        assert await desk.make(polyglot, media_type="image/jpeg") is not None
        assert b"alert" not in desk.target.read_bytes()
        assert b"PDF" not in desk.target.read_bytes()


# Which thumbnails there are

sides = st.integers(min_value=1, max_value=UNREDUCED)
wishes = st.builds(Thumbnail, sides, sides, st.sampled_from(["crop", "scale"]), st.none())


@given(wanted=wishes)
def test_what_is_made_is_never_smaller_than_what_is_wanted(wanted: Thumbnail) -> None:
    kept = kept_size(wanted)
    assert kept.width >= wanted.width
    assert kept.height >= wanted.height
    assert kept_size(kept) == kept


def test_there_are_few_sizes() -> None:
    wanted = [
        Thumbnail(width, height, method, None)
        for method in ("crop", "scale")
        for width in range(1, 2000, 37)
        for height in range(1, 2000, 37)
    ]
    assert len({kept_size(one) for one in wanted}) < 100
    assert {(one.width, one.height) for one in map(kept_size, wanted) if one.method == "scale"} == {
        *BOXES
    }


async def test_the_process_that_decodes_is_fully_confined(thumbnailer: Thumbnailer) -> None:
    assert await thumbnailer.try_out()


async def test_errors_are_those_that_clients_expect(desk: Desk) -> None:
    with pytest.raises(MatrixError) as refused:
        await desk.make(b"nonsense")
    assert (refused.value.status, refused.value.errcode) == (400, "M_UNKNOWN")
    with pytest.raises(MatrixError) as too_large:
        await desk.make(pictures.png_of(30_000, 30_000, b""))
    assert (too_large.value.status, too_large.value.errcode) == (413, "M_TOO_LARGE")


async def test_green_is_green(desk: Desk, tmp_path: Path) -> None:
    await desk.make(pictures.jpeg(pictures.png(800, 600, GREEN, GREEN), tmp_path))
    assert desk.looks_like(5, 5, GREEN)
