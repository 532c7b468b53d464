"""`python -m imagebuilder`: build images, lock what they are made of, run them."""

import argparse
import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

from imagebuilder import recipe
from imagebuilder.apt import PackageMissing
from imagebuilder.architectures import ALL
from imagebuilder.artifact import WrongContent
from imagebuilder.closure import LibraryMissing
from imagebuilder.container import CannotRun, Failed, check_can_run
from imagebuilder.figures import DidNotTalk, described, measure
from imagebuilder.livekit import GoFailed
from imagebuilder.lock import NotLocked, read_lock
from imagebuilder.sdists import CannotCompile
from imagebuilder.tree import write_directory
from imagebuilder.wheels import WheelMissing
from imagebuilder.workshop import Product, Workshop

DOCKER = Path(__file__).parents[1]
SUMS = "SHA256SUMS"
MIB = 1_048_576
TOLD_PLAINLY = (
    PackageMissing,
    WheelMissing,
    WrongContent,
    LibraryMissing,
    NotLocked,
    CannotCompile,
    CannotRun,
    Failed,
    DidNotTalk,
    GoFailed,
)


def main() -> None:
    """Do what the command line asks for."""
    options = command_line().parse_args()
    workshop = Workshop(DOCKER.parent, options.cache)
    try:
        options.run(workshop, options)
    except TOLD_PLAINLY as error:
        sys.exit(f"imagebuilder: {error}")


def command_line() -> argparse.ArgumentParser:
    """The commands and their options."""
    parser = argparse.ArgumentParser(prog="imagebuilder", description=__doc__)
    parser.add_argument("--cache", type=Path, default=DOCKER / ".cache", help="what was fetched")
    commands = parser.add_subparsers(required=True)
    build = commands.add_parser("build", help="make archives, bundles and bills of materials")
    build.add_argument("--out", type=Path, default=DOCKER / "out")
    build.set_defaults(run=run_build)
    livekit = commands.add_parser("livekit", help="make the image of LiveKit")
    livekit.add_argument("--out", type=Path, default=DOCKER / "out")
    livekit.set_defaults(run=run_livekit)
    rootfs = commands.add_parser("rootfs", help="write what an image holds into a directory")
    rootfs.add_argument("directory", type=Path)
    rootfs.set_defaults(run=run_rootfs)
    run = commands.add_parser("run", help="run images: two users talk; print what it took")
    run.add_argument("--database-url", default="", help="for an image without PostgreSQL")
    run.set_defaults(run=run_images)
    lock = commands.add_parser("lock", help="lock the newest packages")
    lock.set_defaults(run=run_lock)
    for command in (build, livekit, rootfs, run, lock):
        command.add_argument("--arch", choices=ALL, action="append", help="all unless given")
    for command in (build, rootfs, run):
        command.add_argument(
            "--image", choices=recipe.IMAGES, action="append", help="all unless given"
        )
        command.add_argument(
            "--newest",
            action="store_true",
            help="take the Debian packages that the mirrors have now, not those that are locked",
        )
    return parser


def run_lock(workshop: Workshop, options: argparse.Namespace) -> None:
    """`lock`."""
    for name in options.arch or ALL:
        lock = workshop.renew_lock(ALL[name])
        print(
            f"{name}: {len(lock.debian)} Debian packages, {len(lock.wheels)} wheels, "
            f"{len(lock.sdists)} source packages"
        )


def run_build(workshop: Workshop, options: argparse.Namespace) -> None:
    """`build`."""
    for product in products(workshop, options):
        write(product, options.out)


def run_livekit(workshop: Workshop, options: argparse.Namespace) -> None:
    """`livekit`."""
    for name in options.arch or ALL:
        write(workshop.build_livekit(ALL[name], read_lock(ALL[name])), options.out)


def write(product: Product, directory: Path) -> None:
    """Write an image, list the hashes anew, and say what the image is."""
    product.write(directory)
    write_sums(directory)
    image = product.image
    print(
        f"{image.reference} {image.architecture.platform}: "
        f"{image.compressed_bytes / MIB:.1f} MiB, unpacked {image.unpacked_bytes / MIB:.1f} MiB"
        f"\n  {image.digest}",
        flush=True,
    )


def run_rootfs(workshop: Workshop, options: argparse.Namespace) -> None:
    """`rootfs`."""
    for product in products(workshop, options):
        write_directory(product.tree, options.directory)


def run_images(workshop: Workshop, options: argparse.Namespace) -> None:
    """`run`."""
    for name in options.arch or ALL:
        check_can_run(ALL[name])
    options.image = options.image or [recipe.COMPLETE]
    for product in products(workshop, options):
        print(described(product, measure(product, options.database_url)), flush=True)


def products(workshop: Workshop, options: argparse.Namespace) -> Iterator[Product]:
    """The images that are asked for."""
    for name in options.arch or ALL:
        architecture = ALL[name]
        lock = workshop.newest(architecture) if options.newest else read_lock(architecture)
        yield from workshop.build(architecture, options.image or list(recipe.IMAGES), lock)


def write_sums(directory: Path) -> None:
    """The hashes of all files, as `sha256sum -c` reads them."""
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in sorted(directory.iterdir())
        if path.name != SUMS
    ]
    (directory / SUMS).write_text("".join(lines))


if __name__ == "__main__":
    main()
