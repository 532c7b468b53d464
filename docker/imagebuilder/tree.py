"""A file system in memory: what an image holds, before it is written anywhere.

Paths are relative to the root and have no dots: `usr/bin/python3`. As nothing is on a disk, no
root is needed to make an image: owners are numbers in the archive that is written in the end.
"""

import os
import posixpath
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

MERGED = ("bin", "sbin", "lib", "lib32", "lib64")
"""The folders at the root that are links into /usr."""
MOST_LINKS = 40


@dataclass(frozen=True, slots=True)
class File:
    """A regular file."""

    data: bytes
    executable: bool = False


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link."""

    target: str


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory that something is special about, or that is empty."""

    mode: int = 0o755
    owner: int = 0


Node = File | Link | Directory
Tree = dict[str, Node]


def normal_path(path: str) -> str:
    """The path below the root, with what lies in /lib or /bin where it really is, in /usr."""
    relative = posixpath.normpath("/" + path).lstrip("/")
    first, _, rest = relative.partition("/")
    return f"usr/{relative}" if first in MERGED and rest else relative


def merged_links() -> Tree:
    """The links at the root that let /bin and /lib be found."""
    return {name: Link(f"usr/{name}") for name in ("bin", "sbin", "lib")}


def resolve(tree: Tree, path: str) -> list[str]:
    """The path and those that the links there lead to; the last one is no link.

    Empty if it leads nowhere.
    """
    passed = [normal_path(path)]
    while isinstance(node := tree.get(passed[-1]), Link):
        if len(passed) > MOST_LINKS:
            return []
        folder = posixpath.dirname(passed[-1])
        passed.append(normal_path(posixpath.join("/", folder, node.target)))
    return passed if node is not None else []


def read(tree: Tree, path: str) -> bytes:
    """What is in the file there, through links.

    Raises `KeyError`.
    """
    passed = resolve(tree, path)
    node = tree.get(passed[-1]) if passed else None
    if not isinstance(node, File):
        raise KeyError(path)
    return node.data


def files(tree: Tree) -> Iterator[tuple[str, File]]:
    """The regular files, by path."""
    for path in sorted(tree):
        if isinstance(node := tree[path], File):
            yield path, node


def select(tree: Tree, is_kept: Callable[[str], bool]) -> Tree:
    """What a condition on paths holds for."""
    return {path: node for path, node in tree.items() if is_kept(path)}


def matching(tree: Tree, patterns: Iterable[str]) -> Tree:
    """What one of the patterns fits; `*` goes across folders."""
    wanted = tuple(patterns)
    return select(tree, lambda path: any(fnmatchcase(path, pattern) for pattern in wanted))


def without(tree: Tree, patterns: Iterable[str]) -> Tree:
    """What none of the patterns fits."""
    unwanted = tuple(patterns)
    return select(tree, lambda path: not any(fnmatchcase(path, pattern) for pattern in unwanted))


def merged(*trees: Tree) -> Tree:
    """All trees in one; later ones win."""
    return {path: node for tree in trees for path, node in tree.items()}


def below(prefix: str, tree: Tree) -> Tree:
    """The tree, moved below a folder."""
    return {normal_path(f"{prefix}/{path}"): node for path, node in tree.items()}


def read_directory(directory: Path) -> Tree:
    """The files below a directory of this machine."""
    found: Tree = {}
    for path in sorted(directory.rglob("*")):
        if path.is_file():
            executable = bool(path.stat().st_mode & 0o100)
            found[normal_path(str(path.relative_to(directory)))] = File(
                path.read_bytes(), executable
            )
    return found


def write_directory(tree: Tree, directory: Path) -> None:
    """Put the tree below a directory of this machine; owners count if we are root."""
    for path, node in sorted(tree.items()):
        target = directory / path
        target.parent.mkdir(parents=True, exist_ok=True)
        match node:
            case Directory(mode=mode, owner=owner):
                target.mkdir(exist_ok=True)
                target.chmod(mode)
                if os.geteuid() == 0:
                    os.chown(target, owner, owner)
            case Link(target=pointed):
                target.symlink_to(pointed)
            case File(data=data, executable=executable):
                target.write_bytes(data)
                target.chmod(0o755 if executable else 0o644)
