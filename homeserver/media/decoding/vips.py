"""libvips, as far as thumbnails need it, by its C interface.

Only a child of the nursery calls it, does one piece of work and ends: nothing is ever freed. The
functions take options as pairs of a name and a value, closed by NULL; one that fails has said why.
A file that ends early is decoded as far as it goes, as browsers do.
Source: libvips, "Using vips from C".
"""

import ctypes
from ctypes import byref, c_char_p, c_double, c_int, c_void_p
from typing import Any

from homeserver.media.decoding.nursery import Refused

DECODERS = ("Jpeg", "Png", "Nsgif", "Webp", "Heif")
"""Those that are let at files; libvips has many more."""
KEEP_NOTHING = 0
"""`VipsForeignKeep`: no metadata in what is written."""
NEVER_ENLARGE = 2
"""`VipsSize`."""
CENTRE = 1
"""`VipsInteresting`: what is kept when a picture is cropped."""
END = c_void_p(None)
Option = str | int

FOUND = (
    "vips_source_new_from_descriptor",
    "vips_target_new_to_descriptor",
    "vips_image_new_from_source",
    "vips_image_copy_memory",
)
"""Functions that answer a pointer."""


class Picture:
    """An image of libvips: a plan that is carried out when it is written."""

    __slots__ = ("pointer", "vips")

    def __init__(self, vips: "Vips", pointer: int | None) -> None:
        """Raises `Refused` where there is none."""
        if not pointer:
            raise vips.refusal()
        self.vips = vips
        self.pointer = c_void_p(pointer)

    @property
    def width(self) -> int:
        """In pixels."""
        return self._number("vips_image_get_width")

    @property
    def height(self) -> int:
        """In pixels, of all pages below each other."""
        return self._number("vips_image_get_height")

    @property
    def pages(self) -> int:
        """How many pages, or frames, the file has."""
        return self._number("vips_image_get_n_pages")

    @property
    def page_height(self) -> int:
        """Of one page, in pixels."""
        return self._number("vips_image_get_page_height")

    @property
    def is_turned(self) -> bool:
        """Whether width and height change places when the picture is put upright."""
        return self._number("vips_image_get_orientation_swap") != 0

    @property
    def has_alpha(self) -> bool:
        """Whether pixels can be transparent."""
        return self._number("vips_image_hasalpha") != 0

    @property
    def bands(self) -> int:
        """How many numbers a pixel has."""
        return self._number("vips_image_get_bands")

    def text(self, name: str) -> str:
        """A field of the metadata, empty if it is not there."""
        found = c_char_p()
        if self.vips.lib.vips_image_get_string(self.pointer, name.encode(), byref(found)):
            return ""
        return (found.value or b"").decode("utf-8", "replace")

    def set_int(self, name: str, value: int) -> None:
        """Set a number of the metadata."""
        self.vips.lib.vips_image_set_int(self.pointer, name.encode(), c_int(value))

    def in_memory(self) -> "Picture":
        """The picture with all its pixels computed."""
        return Picture(self.vips, self.vips.lib.vips_image_copy_memory(self.pointer))

    def made(self, function: str, *numbers: int, options: tuple[Option, ...] = ()) -> "Picture":
        """The picture that a function makes of this one."""
        out = c_void_p()
        done = self.vips.lib[function]
        if done(self.pointer, byref(out), *map(c_int, numbers), *arguments(options)):
            raise self.vips.refusal()
        return Picture(self.vips, out.value)

    def minimum(self) -> float:
        """The lowest number of all pixels."""
        found = c_double()
        if self.vips.lib.vips_min(self.pointer, byref(found), END):
            raise self.vips.refusal()
        return found.value

    def write(self, function: str, target: c_void_p, *options: Option) -> None:
        """Compute the picture and write it."""
        if self.vips.lib[function](self.pointer, target, *arguments(options)):
            raise self.vips.refusal()

    def _number(self, function: str) -> int:
        number: int = self.vips.lib[function](self.pointer)
        return number


class Vips:
    """The library, with no decoders but those for pictures of the web."""

    __slots__ = ("lib",)

    def __init__(self, path: str) -> None:
        """Raises `OSError` if the library is not there."""
        self.lib: Any = ctypes.CDLL(path)
        for name in FOUND:
            # Not `lib[name]`, which is a new object each time.
            getattr(self.lib, name).restype = c_void_p
        self.lib.vips_error_buffer.restype = c_char_p
        if self.lib.vips_init(b"hearth"):
            raise OSError(str(self.refusal()))
        self.lib.vips_concurrency_set(1)
        self.lib.vips_cache_set_max(0)
        self.lib.vips_operation_block_set(b"VipsForeignLoad", 1)
        for decoder in DECODERS:
            self.lib.vips_operation_block_set(f"VipsForeignLoad{decoder}".encode(), 0)

    def source(self, file: int) -> c_void_p:
        """An open file to read from."""
        return c_void_p(self.lib.vips_source_new_from_descriptor(file))

    def target(self, file: int) -> c_void_p:
        """An open file to write to."""
        return c_void_p(self.lib.vips_target_new_to_descriptor(file))

    def open(self, source: c_void_p) -> Picture:
        """A picture of which the header has been read. Raises `Refused`."""
        return Picture(self, self.lib.vips_image_new_from_source(source, b"", END))

    def thumbnail(self, source: c_void_p, width: int, *options: Option) -> Picture:
        """A smaller picture, upright, in the colours of the web. Raises `Refused`."""
        out = c_void_p()
        colours = ("size", NEVER_ENLARGE, "output_profile", "srgb")
        plan = self.lib.vips_thumbnail_source
        if plan(source, byref(out), c_int(width), *arguments((*colours, *options))):
            raise self.refusal()
        return Picture(self, out.value)

    def joined(self, pictures: list[Picture]) -> Picture:
        """Pictures below each other."""
        pointers = (c_void_p * len(pictures))(*(picture.pointer for picture in pictures))
        out = c_void_p()
        join = self.lib.vips_arrayjoin
        if join(pointers, byref(out), c_int(len(pictures)), *arguments(("across", 1))):
            raise self.refusal()
        return Picture(self, out.value)

    def refusal(self) -> Refused:
        """What the library says is wrong."""
        said = (self.lib.vips_error_buffer() or b"").decode("utf-8", "replace")
        return Refused("undecodable", said.strip().partition("\n")[0])


def arguments(options: tuple[Option, ...]) -> list[Any]:
    """Options as C takes them."""
    return [*(one.encode() if isinstance(one, str) else c_int(one) for one in options), END]
