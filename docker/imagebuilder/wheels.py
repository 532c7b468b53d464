"""Python packages: fetched by pip for any machine, by their hashes; wheels taken apart."""

import io
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from imagebuilder.architectures import Architecture
from imagebuilder.artifact import Artifact, Store, check
from imagebuilder.requirements import Requirement
from imagebuilder.tree import File, Tree, normal_path

PYTHON = "3.11"
ABIS = ("cp311", "abi3", "none")


class WheelMissing(Exception):
    """There is no wheel of a package for a machine."""


@dataclass(frozen=True, slots=True)
class Index:
    """Python packages for one architecture, through the machine's own pip and its mirrors."""

    architecture: Architecture
    store: Store

    def choose(
        self, requirements: Iterable[Requirement], *, source: bool = False
    ) -> list[Artifact]:
        """What pip takes for the machine, among the files with the hashes of the lock file."""
        wanted = list(requirements)
        pinned = [locked_line(one.name, one.version, one.hashes) for one in wanted]
        fetched = self._download(pinned, source=source)
        return [Artifact(one.name, one.version, fetched[one.name]) for one in wanted]

    def fetch(self, artifacts: Iterable[Artifact], *, source: bool = False) -> None:
        """Bring wheels, or source packages, into the store.

        Raises `WheelMissing` or `WrongContent`.
        """
        wanted = [artifact for artifact in artifacts if not self.store.has(artifact)]
        pinned = [locked_line(one.name, one.version, (one.sha256,)) for one in wanted]
        self._download(pinned, source=source)
        for artifact in wanted:
            check(artifact, self.store.read(artifact))

    def _download(self, pinned: list[str], *, source: bool) -> dict[str, str]:
        """Have pip bring packages into the store; their hashes by their names."""
        if not pinned:
            return {}
        with tempfile.TemporaryDirectory() as folder:
            lock = Path(folder) / "requirements.txt"
            lock.write_text("".join(pinned))
            done = subprocess.run(  # noqa: S603 - our own arguments
                [
                    *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"),
                    *("--disable-pip-version-check", "--require-hashes"),
                    *(["--no-binary=:all:"] if source else self._binaries()),
                    *("--dest", folder, "--requirement", str(lock)),
                ],
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode != 0:
                said = done.stderr.strip()
                raise WheelMissing(f"pip does not get it all for {self.architecture.name}: {said}")
            packages = (path for path in Path(folder).iterdir() if path != lock)
            return {name_of(path): self.store.add(path.read_bytes()) for path in packages}

    def _binaries(self) -> list[str]:
        """The options that make pip take wheels for the architecture."""
        options = ["--only-binary=:all:", f"--python-version={PYTHON}", "--implementation=cp"]
        options += [f"--platform={platform}" for platform in self.architecture.wheel_platforms]
        return [*options, *(f"--abi={abi}" for abi in ABIS)]


def locked_line(name: str, version: str, hashes: tuple[str, ...]) -> str:
    """A package as pip reads it."""
    return " ".join([f"{name}=={version}", *(f"--hash=sha256:{one}" for one in hashes)]) + "\n"


def name_of(package: Path) -> str:
    """The package's name as the lock file has it."""
    return package.name.partition("-")[0].replace("_", "-").lower()


def unpack(wheel: bytes) -> Tree:
    """The modules and data of a wheel, relative to the folder of packages."""
    found: Tree = {}
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        for member in archive.infolist():
            path = PurePosixPath(member.filename)
            if member.is_dir() or path.is_absolute() or ".." in path.parts:
                continue
            executable = bool(member.external_attr >> 16 & 0o100)
            found[normal_path(f"/{path}")] = File(archive.read(member), executable)
    return found
