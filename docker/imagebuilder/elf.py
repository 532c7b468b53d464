"""Programs and shared libraries (ELF): what they need, and how to make them smaller.

Source: System V ABI, "Object files" and "Program loading and dynamic linking".
"""

import struct
from dataclasses import dataclass

MAGIC = b"\x7fELF"
CLASS_64 = 2
LITTLE_ENDIAN = 1
PT_LOAD = 1
PT_DYNAMIC = 2
DT_NULL, DT_NEEDED, DT_STRTAB, DT_RPATH, DT_RUNPATH = 0, 1, 5, 15, 29


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the parts of the two sizes of header are."""

    header: str
    """Of the ELF header, what follows the first 16 bytes."""
    segment: str
    segment_fields: tuple[int, int, int, int]
    """The places of type, offset, address and size in the file."""
    entry: str
    """Of the dynamic section."""
    section_offset_at: int
    """Where the ELF header has the offset of the section headers."""
    section_count_at: int


LAYOUT_64 = Layout("<HHIQQQIHHHHHH", "<IIQQQQQQ", (0, 2, 3, 5), "<qQ", 0x28, 0x3C)
LAYOUT_32 = Layout("<HHIIIIIHHHHHH", "<IIIIIIII", (0, 1, 2, 4), "<iI", 0x20, 0x30)


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of the file that is loaded, or tells how to load."""

    kind: int
    offset: int
    address: int
    size: int


@dataclass(frozen=True, slots=True)
class Needs:
    """What an object asks the dynamic linker for."""

    libraries: tuple[str, ...]
    search_path: tuple[str, ...]
    """Folders to look in first; `$ORIGIN` is the object's own."""


def is_elf(data: bytes) -> bool:
    """Whether these are the bytes of a program or library."""
    return data[:4] == MAGIC and len(data) > 64 and data[5] == LITTLE_ENDIAN


def machine_of(data: bytes) -> int:
    """The number of the architecture."""
    return int(struct.unpack_from("<H", data, 18)[0])


def needs_of(data: bytes) -> Needs:
    """The libraries that an object needs, and where it wants them looked for."""
    libraries: list[int] = []
    search_paths: list[int] = []
    names = 0
    for tag, value in dynamic_entries(data):
        if tag == DT_NEEDED:
            libraries.append(value)
        elif tag in {DT_RPATH, DT_RUNPATH}:
            search_paths.append(value)
        elif tag == DT_STRTAB:
            names = offset_of(data, value)
    folders = [folder for at in search_paths for folder in text_at(data, names + at).split(":")]
    return Needs(tuple(text_at(data, names + at) for at in libraries), tuple(folders))


def stripped(data: bytes) -> bytes:
    """The object without what is not loaded: debugging information, symbols, section headers.

    Nothing that is loaded moves. The usual tool rearranges the file, and so spoils objects that
    other tools (`patchelf`) have rewritten before.
    """
    layout = layout_of(data)
    end = max((segment.offset + segment.size for segment in segments_of(data)), default=len(data))
    kept = bytearray(data[: max(end, end_of_program_headers(data))])
    width = 8 if layout is LAYOUT_64 else 4
    kept[layout.section_offset_at : layout.section_offset_at + width] = bytes(width)
    kept[layout.section_count_at : layout.section_count_at + 4] = bytes(4)
    return bytes(kept)


def layout_of(data: bytes) -> Layout:
    """Which size of header the object has."""
    return LAYOUT_64 if data[4] == CLASS_64 else LAYOUT_32


def program_headers(data: bytes) -> tuple[int, int, int]:
    """Where the program headers begin, how long one is, and how many there are."""
    fields = struct.unpack_from(layout_of(data).header, data, 16)
    return fields[4], fields[8], fields[9]


def end_of_program_headers(data: bytes) -> int:
    """The offset behind the last one."""
    start, size, count = program_headers(data)
    return start + size * count


def segments_of(data: bytes) -> list[Segment]:
    """All segments, in the file's order."""
    layout = layout_of(data)
    start, size, count = program_headers(data)
    found = []
    for number in range(count):
        fields = struct.unpack_from(layout.segment, data, start + number * size)
        found.append(Segment(*(fields[place] for place in layout.segment_fields)))
    return found


def dynamic_entries(data: bytes) -> list[tuple[int, int]]:
    """Tags and values of the dynamic section; none for a program that is linked statically."""
    found = []
    for segment in segments_of(data):
        if segment.kind != PT_DYNAMIC:
            continue
        chunk = data[segment.offset : segment.offset + segment.size]
        width = struct.calcsize(layout_of(data).entry)
        whole = chunk[: len(chunk) // width * width]
        for tag, value in struct.iter_unpack(layout_of(data).entry, whole):
            if tag == DT_NULL:
                break
            found.append((tag, value))
    return found


def offset_of(data: bytes, address: int) -> int:
    """Where in the file is what is loaded to an address.

    Raises `ValueError` if nothing is.
    """
    for segment in segments_of(data):
        if segment.kind == PT_LOAD and 0 <= address - segment.address < segment.size:
            return segment.offset + address - segment.address
    raise ValueError(f"nothing is loaded to {address:#x}")


def text_at(data: bytes, offset: int) -> str:
    """The text that ends with a zero byte."""
    return data[offset : data.index(b"\0", offset)].decode()
