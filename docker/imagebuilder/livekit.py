"""The image of LiveKit, which carries group calls: one program, built by Go for any machine.

Go's own client fetches the source of all modules that docker/livekit-server lists, and checks it
against the hashes there; the program tells which modules it was built of, and by which hashes.
"""

import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from imagebuilder import recipe
from imagebuilder.architectures import Architecture
from imagebuilder.assemble import ROOTFS
from imagebuilder.oci import Running
from imagebuilder.tree import Directory, File, Tree, merged, read_directory, without

NAME = "livekit"
VERSION = "1.13.5"
MODULES = Path(__file__).parents[1] / "livekit-server"
"""What is built: a Go module that names the server as its tool."""
PACKAGE = "github.com/livekit/livekit-server/cmd/server"
PROGRAM = "usr/bin/livekit-server"
LINKED = "-ldflags=-s -w -buildid="
"""Without symbols, and the same wherever it is built."""
RUNNING = Running(
    entrypoint=(f"/{PROGRAM}", "--config", "/config/livekit.yaml"),
    arguments=(),
    environment={"PATH": "/usr/bin", "SSL_CERT_FILE": f"/{recipe.CERTIFICATES}"},
    user=recipe.UID,
    ports=("7880/tcp", "7881/tcp", "7882/udp"),
    data=None,
)


class GoFailed(Exception):
    """There is no Go, or it does not build."""


@dataclass(frozen=True, slots=True)
class GoModule:
    """One of the modules that a program was built of."""

    path: str
    version: str
    sum: str
    """Go's hash of the module's files (`h1:`)."""


def build_program(architecture: Architecture, directory: Path) -> Path:
    """Have Go build the server, or find it built. Raises `GoFailed`."""
    folder = directory / f"{NAME}-{VERSION}-{source_digest()[:12]}-{architecture.name}"
    program = folder / "server"
    if program.is_file():
        return program
    if shutil.which("go") is None:
        raise GoFailed("There is no Go, which builds LiveKit.")
    environment = {
        **os.environ,
        "CGO_ENABLED": "0",
        "GOARCH": architecture.oci,
        "GOARM": "7",
        "GOOS": "linux",
    }
    made = folder.resolve() / "made"
    built = ("-trimpath", "-buildvcs=false", LINKED, "-o", str(made), PACKAGE)
    run_go("build", "-C", str(MODULES), *built, environment=environment)
    made.rename(program)
    return program


def source_digest() -> str:
    """A hash of what names the modules, and of those that are here."""
    digest = hashlib.sha256()
    for path in sorted(MODULES.rglob("*")):
        if path.is_file():
            digest.update(f"{path.relative_to(MODULES)}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def modules_of(program: Path) -> list[GoModule]:
    """What a program says of its modules, but for those that are here."""
    lines = [
        line.split("\t")[1:] for line in said_by_go("version", "-m", str(program)).splitlines()
    ]
    return [GoModule(*line[1:4]) for line in lines if line[:1] == ["dep"] and len(line) == 4]


def build_tree(program: bytes, certificates: bytes) -> Tree:
    """What the image holds."""
    return merged(
        without(read_directory(ROOTFS), ("usr/*",)),
        {
            PROGRAM: File(program, executable=True),
            recipe.CERTIFICATES: File(certificates),
            **{name: Directory() for name in ("config", "dev", "proc", "run", "sys")},
            "tmp": Directory(0o1777),
        },
    )


def said_by_go(*arguments: str) -> str:
    """What Go prints. Raises `GoFailed`."""
    return run_go(*arguments, environment=dict(os.environ))


def run_go(*arguments: str, environment: dict[str, str]) -> str:
    """Run Go; what it prints. Raises `GoFailed`."""
    done = subprocess.run(  # noqa: S603 - our own arguments
        ["go", *arguments],  # noqa: S607 - the one that is installed
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise GoFailed(f"go {arguments[0]} failed: {done.stderr.strip()}")
    return done.stdout
