"""Debian packages of any architecture, through the machine's own apt and its mirrors.

apt gets lists and a cache of its own, so nothing on the machine changes and no root is needed; it
checks the signatures of the mirrors' lists, and the packages by them.
"""

import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from imagebuilder.architectures import Architecture
from imagebuilder.artifact import Artifact, Store, check


class PackageMissing(Exception):
    """The machine's mirrors do not have a package."""


class Apt:
    """The packages of one architecture."""

    def __init__(self, architecture: Architecture, directory: Path, store: Store) -> None:
        self._architecture = architecture
        self._directory = directory / architecture.debian
        self._store = store
        self._is_fresh = False

    def newest(self, names: Iterable[str]) -> list[Artifact]:
        """What the mirrors have now of the packages of these names."""
        wanted = sorted(names)
        self._update()
        listed = self._run("apt-cache", "--no-all-versions", "show", *wanted).stdout
        found = {artifact.name: artifact for artifact in records(listed)}
        if missing := [name for name in wanted if name not in found]:
            raise PackageMissing(
                f"The mirrors have no {', '.join(missing)} for {self._architecture.debian};"
                " Debian 12 must be among the sources of apt."
            )
        return [found[name] for name in wanted]

    def fetch(self, artifacts: Iterable[Artifact]) -> None:
        """Bring packages into the store.

        Raises `PackageMissing` or `WrongContent`.
        """
        wanted = [artifact for artifact in artifacts if not self._store.has(artifact)]
        if not wanted:
            return
        self._update()
        with tempfile.TemporaryDirectory() as folder:
            exact = [f"{artifact.name}={artifact.version}" for artifact in wanted]
            done = self._run("apt-get", "download", *exact, folder=folder)
            if done.returncode != 0:
                raise PackageMissing(
                    f"The mirrors do not have all that is locked for {self._architecture.debian};"
                    f" renew the lock with `make images-lock`. {' '.join(done.stderr.split())}"
                )
            packages = {path.name.partition("_")[0]: path for path in Path(folder).glob("*.deb")}
            for artifact in wanted:
                data = packages[artifact.name].read_bytes()
                check(artifact, data)
                self._store.add(data)

    def _update(self) -> None:
        if self._is_fresh:
            return
        for made in ("state/lists/partial", "cache/archives/partial"):
            (self._directory / made).mkdir(parents=True, exist_ok=True)
        (self._directory / "state" / "status").touch()
        # One of the machine's other sources may have nothing for this architecture: what counts is
        # whether the packages are found.
        self._run("apt-get", "update")
        self._is_fresh = True

    def _run(
        self, program: str, *arguments: str, folder: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        options = {
            "APT::Architecture": self._architecture.debian,
            "APT::Architectures": self._architecture.debian,
            "APT::Sandbox::User": "root",
            "Acquire::Languages": "none",
            "Acquire::Retries": "3",
            "Dir::State": self._directory / "state",
            "Dir::State::status": self._directory / "state" / "status",
            "Dir::Cache": self._directory / "cache",
        }
        given = [f"-o{name}={value}" for name, value in options.items()]
        return subprocess.run(  # noqa: S603 - names of packages from the recipe or the lock
            [program, "-q", *given, *arguments],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )


def records(listed: str) -> Iterator[Artifact]:
    """The packages in what `apt-cache show` prints."""
    for paragraph in listed.split("\n\n"):
        fields = dict(
            line.split(": ", 1)
            for line in paragraph.splitlines()
            if ": " in line[1:] and line[0] != " "
        )
        if {"Package", "Version", "SHA256"} <= fields.keys():
            yield Artifact(fields["Package"], fields["Version"], fields["SHA256"])
