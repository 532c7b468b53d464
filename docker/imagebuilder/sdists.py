"""Python packages that there is no wheel of, compiled from their source for the other machine.

The compiler is the one that Debian has for the purpose, and the headers are those of the images'
Python. A package brings the C code that Cython made, so nothing but a compiler is needed.
"""

import io
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from imagebuilder.architectures import Architecture
from imagebuilder.tree import File, Tree, matching, normal_path, write_directory

FLAGS = ("-shared", "-fPIC", "-O2", "-DNDEBUG", "-fwrapv", "-fsigned-char", "-w")


class CannotCompile(Exception):
    """There is no compiler, or it fails."""


@dataclass(frozen=True, slots=True)
class Extension:
    """An extension module and what it is made of."""

    module: str
    """Its path without a suffix."""
    source: str
    include: str


class Compiler:
    """Compiles for an architecture; results are kept in a directory."""

    def __init__(self, architecture: Architecture, headers: Tree, kept: Path) -> None:
        self._architecture = architecture
        self._headers = headers
        self._kept = kept
        self._program = f"{architecture.triplet}-gcc"

    def build(self, sdist: bytes, extensions: tuple[Extension, ...]) -> Tree:
        """What a wheel of the package would hold.

        Raises `CannotCompile`.
        """
        source: Tree = dict(read_sdist(sdist))
        packages = {extension.module.partition("/")[0] for extension in extensions}
        built: Tree = matching(source, [f"{package}/*.py" for package in packages])
        for package in packages:
            built[f"{package}/LICENSE"] = source["LICENSE"]
        for extension in extensions:
            suffix = f"cpython-311-{self._architecture.triplet}.so"
            built[f"{extension.module}.{suffix}"] = File(self._compile(source, extension))
        return built

    def _compile(self, source: Tree, extension: Extension) -> bytes:
        identity = (self._version(), sorted(source.items()), sorted(self._headers.items()))
        key = sha256(repr((identity, extension, FLAGS)).encode()).hexdigest()
        kept = self._kept / key
        if not kept.is_file():
            self._kept.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self._kept) as folder:
                write_directory(source, Path(folder))
                write_directory(self._headers, Path(folder) / "headers")
                made = Path(folder) / "made.so"
                self._run(extension, Path(folder), made)
                made.rename(kept)
        return kept.read_bytes()

    def _run(self, extension: Extension, folder: Path, made: Path) -> None:
        headers = folder / "headers/usr/include"
        includes = [folder / extension.include, headers / "python3.11", headers]
        done = subprocess.run(  # noqa: S603 - our own arguments
            [
                *(self._program, *FLAGS, f"-ffile-prefix-map={folder}=."),
                *(f"-I{include}" for include in includes),
                *(extension.source, "-o", str(made)),
            ],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise CannotCompile(f"{extension.module} cannot be compiled: {done.stderr.strip()}")

    def _version(self) -> str:
        if shutil.which(self._program) is None:
            raise CannotCompile(
                f"There is no {self._program}; Debian has it in gcc-{self._architecture.triplet}."
            )
        return subprocess.run(  # noqa: S603 - our own arguments
            [self._program, "--version"], capture_output=True, text=True, check=True
        ).stdout


def read_sdist(sdist: bytes) -> Iterator[tuple[str, File]]:
    """The files of a source package, relative to its folder."""
    with tarfile.open(fileobj=io.BytesIO(sdist)) as archive:
        for member in archive:
            _, _, path = member.name.partition("/")
            if member.isfile() and path and (content := archive.extractfile(member)) is not None:
                yield normal_path(f"/{path}"), File(content.read())
