"""The lock of an architecture: exactly which packages its images are made of."""

import json
from collections.abc import Set
from dataclasses import asdict, dataclass
from operator import itemgetter
from pathlib import Path

from imagebuilder.architectures import Architecture
from imagebuilder.artifact import Artifact

LOCKS = Path(__file__).parents[1] / "locks"


class NotLocked(Exception):
    """There is no lock for an architecture."""


@dataclass(frozen=True, slots=True)
class Lock:
    """The packages of an architecture's images."""

    debian: tuple[Artifact, ...]
    wheels: tuple[Artifact, ...] = ()
    sdists: tuple[Artifact, ...] = ()
    """Source packages of Python, compiled when an image is made."""

    def only(self, names: Set[str]) -> "Lock":
        """The packages of these names."""
        kinds = (self.debian, self.wheels, self.sdists)
        return Lock(*(tuple(one for one in kind if one.name in names) for kind in kinds))


def read_lock(architecture: Architecture, directory: Path = LOCKS) -> Lock:
    """What is locked for an architecture.

    Raises `NotLocked`.
    """
    path = directory / f"{architecture.name}.json"
    try:
        kinds = json.loads(path.read_text())
    except FileNotFoundError:
        raise NotLocked(f"There is no {path.name}; make it with `make images-lock`.") from None
    return Lock(**{kind: tuple(Artifact(**one) for one in kinds[kind]) for kind in kinds})


def write_lock(lock: Lock, architecture: Architecture, directory: Path = LOCKS) -> None:
    """Keep what an architecture's images are made of."""
    kinds = {
        kind: sorted(artifacts, key=itemgetter("name")) for kind, artifacts in asdict(lock).items()
    }
    directory.mkdir(exist_ok=True)
    (directory / f"{architecture.name}.json").write_text(json.dumps(kinds, indent=1) + "\n")
