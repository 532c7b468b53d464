"""Python as bytecode: files start faster, take less room, and nothing has to be written.

The Python of the images compiles, in its build for the machine that we are on: bytecode is the same
for all architectures, but not for all versions.
"""

import pickle
import subprocess
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from imagebuilder.architectures import Architecture
from imagebuilder.tree import File, Tree, files, write_directory

WORKER = Path(__file__).with_name("compile_worker.py")
TAG = "cpython-311"
NO_DOCSTRINGS = 2
AS_WRITTEN = 0


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python for this machine, unpacked from the packages of the images."""

    root: Path
    architecture: Architecture

    def compile(self, sources: list[tuple[str, bytes, int]]) -> list[tuple[str, bytes]]:
        """The bytecode of sources, each with its path in the image and level of optimisation."""
        libraries = self.root / "usr/lib" / self.architecture.triplet
        # Not by the path that programs name: there it may be a link that leads out of the folder.
        loader = libraries / PurePosixPath(self.architecture.loader).name
        done = subprocess.run(  # noqa: S603 - our own arguments
            [
                *(str(loader), "--library-path", str(libraries)),
                *(str(self.root / "usr/bin/python3.11"), "-s", "-S", "-P", str(WORKER)),
            ],
            input=pickle.dumps(sources),
            # Hashes of texts decide the order of sets.
            env={"PYTHONHASHSEED": "0", "PYTHONHOME": str(self.root / "usr")},
            stdout=subprocess.PIPE,
            check=True,
        )
        results: list[tuple[str, bytes]] = pickle.loads(done.stdout)  # noqa: S301 - our child
        return results


def unpack_interpreter(tree: Tree, architecture: Architecture, directory: Path) -> Interpreter:
    """Put a Python for this machine into a directory."""
    write_directory(tree, directory)
    return Interpreter(directory, architecture)


def compiled(
    tree: Tree, interpreter: Interpreter, keep_source: tuple[str, ...], keep_text: tuple[str, ...]
) -> Tree:
    """The tree with bytecode in the place of Python's sources.

    What fits `keep_source` has both, what fits `keep_text` keeps its docstrings; elsewhere neither
    docstrings nor assertions are left.
    """
    sources = {path: file for path, file in files(tree) if path.endswith(".py")}
    levels = {path: level_of(path, (*keep_source, *keep_text)) for path in sources}
    wanted = [(path, node.data, levels[path]) for path, node in sorted(sources.items())]
    result: Tree = {path: node for path, node in tree.items() if path not in sources}
    for path, code in interpreter.compile(wanted):
        if fits(path, keep_source):
            result[path] = sources[path]
            result[cached_path(path)] = File(code)
        else:
            result[f"{path}c"] = File(code)
    return result


def level_of(path: str, with_text: tuple[str, ...]) -> int:
    """How far to optimise a module."""
    return AS_WRITTEN if fits(path, with_text) else NO_DOCSTRINGS


def fits(path: str, patterns: tuple[str, ...]) -> bool:
    """Whether one of the patterns fits."""
    return any(fnmatchcase(path, pattern) for pattern in patterns)


def cached_path(path: str) -> str:
    """Where Python looks for the bytecode of a source that is there."""
    source = PurePosixPath(path)
    return str(source.parent / "__pycache__" / f"{source.stem}.{TAG}.pyc")
