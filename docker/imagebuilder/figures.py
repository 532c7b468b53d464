"""What an image takes: how large it is, how long it starts, how much memory it holds."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from imagebuilder.container import Container
from imagebuilder.conversation import TEXT, Talk, talk
from imagebuilder.workshop import Product

MIB = 1_048_576


class DidNotTalk(Exception):
    """The image does not do what it should."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one image on one machine. Times are in seconds, memory in KiB."""

    first_start: float
    """Until it serves: with its database made and all migrations applied."""
    later_start: float
    idle: int
    """What its processes share is divided among them (PSS)."""
    after_talking: int
    stop: float


def measure(product: Product, database_url: str = "") -> Figures:
    """Run an image, have two users talk, stop it and start it again.

    Raises `Failed` or `DidNotTalk`.
    """
    with tempfile.TemporaryDirectory(prefix="hearth-image-") as folder:
        Path(folder).chmod(0o711)
        container = Container(product, Path(folder) / "container", database_url)
        with container:
            first_start = container.first_start
            idle = memory_of(container)
            check_talk(talk(container.url))
            if (said := container.run("/usr/bin/hearth", "health").strip()) != "ok":
                raise DidNotTalk(f"hearth health says {said}")
            after_talking = memory_of(container)
            stop = container.stop()
            later_start = container.start()
            container.stop()
        return Figures(first_start, later_start, idle, after_talking, stop)


def check_talk(had: Talk) -> None:
    """Raises `DidNotTalk` unless what was sent has come through."""
    if had.received != (TEXT,):
        raise DidNotTalk(f"Bob has received {had.received}.")
    if not had.thumbnail.startswith((b"\x89PNG", b"\xff\xd8")) or had.thumbnail == had.picture:
        raise DidNotTalk("There is no thumbnail.")


def memory_of(container: Container) -> int:
    """How much memory all processes of a container hold, in KiB."""
    return sum(proportional_set(pid) for pid in container.processes())


def proportional_set(pid: int) -> int:
    """The PSS of a process, in KiB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("Pss:")))


def described(product: Product, figures: Figures) -> str:
    """A row of the table in docs/packaging.md."""
    image = product.image
    cells = [
        f"`{image.name}`",
        image.architecture.platform,
        f"{image.compressed_bytes / MIB:.1f}",
        f"{image.unpacked_bytes / MIB:.1f}",
        f"{figures.first_start:.1f}",
        f"{figures.later_start:.1f}",
        f"{figures.stop:.1f}",
        f"{figures.idle / 1024:.1f}",
        f"{figures.after_talking / 1024:.1f}",
    ]
    return f"| {' | '.join(cells)} |"
