"""A file that something is made of, by its hash, and where such files are kept."""

import hashlib
from dataclasses import dataclass
from pathlib import Path


class WrongContent(Exception):
    """A file is not the one that was locked."""


@dataclass(frozen=True, slots=True, order=True)
class Artifact:
    """A Debian package or a wheel."""

    name: str
    version: str
    sha256: str


class Store:
    """A directory of files that are named by their hashes."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def has(self, artifact: Artifact) -> bool:
        """Whether the file is here."""
        return self._path(artifact.sha256).is_file()

    def read(self, artifact: Artifact) -> bytes:
        """The file's bytes.

        Raises `WrongContent` if they have been changed.
        """
        data = self._path(artifact.sha256).read_bytes()
        check(artifact, data)
        return data

    def add(self, data: bytes) -> str:
        """Keep a file; its hash."""
        digest = hashlib.sha256(data).hexdigest()
        target = self._path(digest)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_suffix(".partial")
        partial.write_bytes(data)
        partial.rename(target)
        return digest

    def _path(self, digest: str) -> Path:
        return self._directory / digest


def check(artifact: Artifact, data: bytes) -> None:
    """Raises `WrongContent` if these are not the artifact's bytes."""
    found = hashlib.sha256(data).hexdigest()
    if found != artifact.sha256:
        raise WrongContent(
            f"{artifact.name} {artifact.version} has the hash {found}, not {artifact.sha256}."
        )
