"""Which shared libraries programs and extension modules need, all the way down."""

import posixpath
from collections.abc import Iterable

from imagebuilder.elf import is_elf, needs_of
from imagebuilder.tree import File, Tree, files, resolve


class LibraryMissing(Exception):
    """A library that something needs is in none of the packages."""


def objects_in(tree: Tree) -> list[str]:
    """The paths of all programs, libraries and extension modules."""
    return [path for path, file in files(tree) if is_elf(file.data)]


def libraries_for(roots: Iterable[str], tree: Tree, folders: Iterable[str]) -> set[str]:
    """The paths of what the objects at `roots` need, links on the way included.

    A library is looked for where the object says and then in `folders`.
    Raises `LibraryMissing`.
    """
    everywhere = tuple(folders)
    waiting = list(roots)
    seen = set(waiting)
    kept: set[str] = set()
    while waiting:
        path = waiting.pop()
        node = tree[path]
        if not isinstance(node, File):
            continue
        for passed in found_needs(path, node, tree, everywhere):
            kept.update(passed)
            if passed[-1] not in seen:
                seen.add(passed[-1])
                waiting.append(passed[-1])
    return kept


def found_needs(
    path: str, file: File, tree: Tree, everywhere: tuple[str, ...]
) -> Iterable[list[str]]:
    """For each library that an object needs, the way to it."""
    needs = needs_of(file.data)
    own = [folder.replace("${ORIGIN}", "$ORIGIN") for folder in needs.search_path]
    here = posixpath.dirname("/" + path)
    places = [folder.replace("$ORIGIN", here) for folder in own] + list(everywhere)
    for library in needs.libraries:
        ways = (resolve(tree, f"{place}/{library}") for place in places)
        way = next(filter(None, ways), None)
        if way is None:
            raise LibraryMissing(f"{path} needs {library}, which no package brings.")
        yield way
