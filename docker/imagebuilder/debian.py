"""Debian packages as files: an `ar` archive that holds a compressed tar.

Source: deb(5). Only the files are taken; no script of the package runs.
"""

import gzip
import io
import lzma
import tarfile
from collections.abc import Callable, Iterator

from imagebuilder.tree import Directory, File, Link, Node, Tree, normal_path

AR_MAGIC = b"!<arch>\n"
HEADER_BYTES = 60
DECOMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".xz": lzma.decompress,
    ".gz": gzip.decompress,
    "": bytes,
}


class NotAPackage(Exception):
    """The bytes are not those of a Debian package."""


def unpack(package: bytes) -> Tree:
    """The files that a package installs.

    Raises `NotAPackage`.
    """
    for name, data in members(package):
        if name.startswith("data.tar"):
            suffix = name.removeprefix("data.tar")
            if suffix not in DECOMPRESS:
                raise NotAPackage(f"{name} is compressed in a way that is not known here.")
            return dict(read_tar(DECOMPRESS[suffix](data)))
    raise NotAPackage("The package holds no files.")


def members(archive: bytes) -> Iterator[tuple[str, bytes]]:
    """Name and content of each member of an `ar` archive."""
    if not archive.startswith(AR_MAGIC):
        raise NotAPackage("This is no Debian package.")
    at = len(AR_MAGIC)
    while at + HEADER_BYTES <= len(archive):
        header = archive[at : at + HEADER_BYTES]
        size = int(header[48:58])
        at += HEADER_BYTES
        yield header[:16].decode().rstrip(" /"), archive[at : at + size]
        at += size + size % 2


def read_tar(data: bytes) -> Iterator[tuple[str, Node]]:
    """Path and node of everything in a tar but ordinary directories."""
    seen: dict[str, File] = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for member in archive:
            path = normal_path(member.name)
            if member.issym():
                yield path, Link(member.linkname)
            elif member.islnk():
                yield path, seen[normal_path(member.linkname)]
            elif member.isfile() and (content := archive.extractfile(member)) is not None:
                seen[path] = File(content.read(), bool(member.mode & 0o100))
                yield path, seen[path]
            elif member.isdir() and member.mode & 0o1000:
                yield path, Directory(member.mode & 0o7777)
