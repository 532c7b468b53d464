"""A tree as a layer of an image: a tar that comes out the same whenever it is made.

Source: OCI image specification, "Image Layer Filesystem Changeset".
"""

import gzip
import hashlib
import io
import posixpath
import tarfile
from dataclasses import dataclass

from imagebuilder.tree import Directory, File, Link, Node, Tree

TIME = 0
"""All files are from the beginning of time, so that only their content counts."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A compressed layer and its hashes."""

    name: str
    blob: bytes
    diff_id: str
    """The hash of the tar, by which an image knows its content."""
    unpacked_bytes: int

    @property
    def digest(self) -> str:
        """The hash of the compressed tar, by which it is stored and sent."""
        return sha256(self.blob)


def build_layer(name: str, tree: Tree) -> Layer:
    """The layer that brings what is in the tree."""
    tar = write_tar(tree)
    size = sum(len(node.data) for node in tree.values() if isinstance(node, File))
    return Layer(name, gzip.compress(tar, compresslevel=9, mtime=TIME), sha256(tar), size)


def write_tar(tree: Tree) -> bytes:
    """A tar with everything in the tree and the directories on the way, sorted by path."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for path, node in sorted({**parents(tree), **tree}.items()):
            add(archive, path, node)
    return written.getvalue()


def add(archive: tarfile.TarFile, path: str, node: Node) -> None:
    """Add one file, link or directory."""
    member = tarfile.TarInfo(path)
    member.mtime = TIME
    match node:
        case Directory(mode=mode, owner=owner):
            member.type, member.mode = tarfile.DIRTYPE, mode
            member.uid = member.gid = owner
            archive.addfile(member)
        case Link(target=target):
            member.type, member.linkname, member.mode = tarfile.SYMTYPE, target, 0o777
            archive.addfile(member)
        case File(data=data, executable=executable):
            member.size, member.mode = len(data), 0o755 if executable else 0o644
            archive.addfile(member, io.BytesIO(data))


def parents(tree: Tree) -> Tree:
    """The directories that the paths of a tree lie in."""
    found: Tree = {}
    for path in tree:
        folder = posixpath.dirname(path)
        while folder and folder not in found:
            found[folder] = Directory()
            folder = posixpath.dirname(folder)
    return found


def sha256(data: bytes) -> str:
    """A digest as OCI writes it."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
