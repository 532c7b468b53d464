"""Pictures for tests, harmless and hostile: PNG and GIF by hand, the rest with libvips."""

import os
import struct
import zlib
from functools import cache
from pathlib import Path

from homeserver.media.decoding.libvips import find_libvips
from homeserver.media.decoding.vips import Picture, Vips

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
Colour = tuple[int, ...]


@cache
def vips() -> Vips:
    return Vips(find_libvips())


def png(width: int, height: int, left: Colour = RED, right: Colour = BLUE) -> bytes:
    """A picture of two halves; colours of four numbers have opacity."""
    middle = width // 2
    row = b"\0" + bytes(left) * middle + bytes(right) * (width - middle)
    return png_of(width, height, row * height, colour_type=2 if len(left) == 3 else 6)


def png_of(
    width: int,
    height: int,
    rows: bytes,
    *,
    depth: int = 8,
    colour_type: int = 2,
    interlaced: int = 0,
) -> bytes:
    """A PNG with the rows given, whether they fit its header or not."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, interlaced)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(name, data) for name, data in chunks)


def png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def gif(width: int, height: int, frames: int, *, delay_cs: int = 10) -> bytes:
    """An animation of frames in one colour each, red, green and blue in turn."""
    palette = bytes(RED + GREEN + BLUE + (255, 255, 255))
    loop = b"\x21\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00"
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0b10010001, 0, 0) + palette + loop
    control = b"\x21\xf9\x04\x04" + struct.pack("<HBB", delay_cs, 0, 0)
    place = b"\x2c" + struct.pack("<HHHHB", 0, 0, width, height, 0)
    pixels = [gif_pixels(colour, width * height) for colour in range(3)]
    return head + b"".join(control + place + pixels[i % 3] for i in range(frames)) + b"\x3b"


def gif_pixels(colour: int, count: int) -> bytes:
    """Pixels in codes of three bits: after each two of them the table is emptied (code 4)."""
    codes = [code for _ in range((count + 1) // 2) for code in (4, colour, colour)]
    bits = sum(code << (3 * i) for i, code in enumerate([*codes[: 3 * (count // 2)], 5]))
    data = bits.to_bytes((3 * len(codes) + 14) // 8, "little")
    blocks = [data[i : i + 255] for i in range(0, len(data), 255)]
    return b"\x02" + b"".join(bytes([len(block)]) + block for block in blocks) + b"\0"


def opened(path: Path) -> Picture:
    return vips().open(vips().source(os.open(path, os.O_RDONLY)))


def converted(
    data: bytes, saver: str, folder: Path, *options: str | int, orientation: int = 1
) -> bytes:
    """A picture in another format: `saver` is the name of a function of libvips."""
    source, target = folder / "unconverted", folder / "converted"
    source.write_bytes(data)
    picture = opened(source).in_memory()
    picture.set_int("orientation", orientation)
    file = os.open(target, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    picture.write(saver, vips().target(file), *options)
    return target.read_bytes()


def jpeg(data: bytes, folder: Path, *, orientation: int = 1) -> bytes:
    return converted(data, "vips_jpegsave_target", folder, "Q", 95, orientation=orientation)


def webp(data: bytes, folder: Path) -> bytes:
    return converted(data, "vips_webpsave_target", folder, "lossless", 1, "effort", 0, "keep", 0)


def pixel(path: Path, x: int, y: int) -> Colour:
    """What a file shows at a place."""
    picture = opened(path)
    raw = converted(path.read_bytes(), "vips_rawsave_target", path.parent)
    place = (y * picture.width + x) * picture.bands
    return tuple(raw[place : place + picture.bands])
