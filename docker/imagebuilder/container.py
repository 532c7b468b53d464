"""Runs an image as a router does, by crun and without a daemon: for tests and for figures.

Programs of another architecture run under qemu, which the kernel is told by binfmt_misc. crun has
to see control groups of the second version: they are mounted for it alone.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from imagebuilder.architectures import BY_MACHINE, Architecture
from imagebuilder.bundle import ROOTFS, runtime_config
from imagebuilder.tree import write_directory
from imagebuilder.workshop import Product

BINFMT = Path("/proc/sys/fs/binfmt_misc")
EMULATORS = {"arm64": "qemu-aarch64", "armv7": "qemu-arm"}
"""By architecture, as Debian's package qemu-user-static names them."""
REGISTRATIONS = Path("/usr/lib/binfmt.d")
CGROUP2 = (
    'umount -R /sys/fs/cgroup 2>/dev/null; mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec "$@"'
)
CONFIG = """\
[server]
name = "image.test"
public_baseurl = "http://127.0.0.1:{port}"

[[listen]]
address = "127.0.0.1"
port = {port}

[database]
url = {database_url}

[registration]
enabled = true
token_required = false
"""
STARTED_WITHIN_S = 300.0
STOPPED_WITHIN_S = 90.0
PAUSE_S = 0.05


class CannotRun(Exception):
    """Containers cannot be run here; the message says what is missing."""


class Failed(Exception):
    """A container did not do what it should; the message has its log."""


def check_can_run(architecture: Architecture) -> None:
    """Raises `CannotRun` unless images of an architecture can be run on this machine."""
    if os.geteuid() != 0:
        raise CannotRun("only root can make containers that change the user")
    for program in ("crun", "unshare"):
        if shutil.which(program) is None:
            raise CannotRun(f"{program} is not installed")
    tried = subprocess.run(  # noqa: S603 - our own arguments
        ["unshare", "-m", "sh", "-c", CGROUP2, "sh", "true"],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    if tried.returncode != 0:
        raise CannotRun(f"no control groups can be mounted here: {tried.stderr.strip()}")
    if BY_MACHINE.get(os.uname().machine) is not architecture:
        teach_kernel(architecture)


def teach_kernel(architecture: Architecture) -> None:
    """Have the kernel run programs of another architecture. Raises `CannotRun`."""
    emulator = EMULATORS[architecture.name]
    registration = REGISTRATIONS / f"{emulator}.conf"
    try:
        if not (BINFMT / "register").exists():
            subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", BINFMT], check=True)  # noqa: S603, S607
        if not (BINFMT / emulator).exists():
            (BINFMT / "register").write_text(registration.read_text())
    except (OSError, subprocess.CalledProcessError) as error:
        raise CannotRun(f"qemu-user-static with binfmt_misc is needed: {error}") from error


class Container:
    """A running image, in a directory of its own; what it keeps stays there when it has ended."""

    def __init__(self, product: Product, directory: Path, database_url: str = "") -> None:
        image = product.image
        self._directory = directory
        self._name = f"{image.name}-{image.architecture.name}-{os.getpid()}"
        self._user = image.running.user
        self.port = free_port()
        self.log = directory / "log"
        self.first_start = 0.0
        """How long the first start took, in seconds."""
        self._process: subprocess.Popen[bytes] | None = None
        self.data = directory / "data"
        for made in (directory / "config", self.data):
            made.mkdir(parents=True)
        os.chown(self.data, self._user, self._user)
        text = CONFIG.format(port=self.port, database_url=json.dumps(database_url))
        (directory / "config" / "hearth.toml").write_text(text)
        write_directory(product.tree, directory / ROOTFS)
        config = runtime_config(image)
        sources = {"/config": directory / "config", "/data": self.data}
        for mount in config["mounts"]:
            mount["source"] = str(sources.get(mount["destination"], mount["source"]))
        (directory / "config.json").write_text(json.dumps(config))

    def __enter__(self) -> "Container":
        self.first_start = self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process is not None and self._process.poll() is None:
            self._crun("delete", "--force", self._name)
            self._process.wait(STOPPED_WITHIN_S)

    @property
    def url(self) -> str:
        """Where clients reach the server."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> float:
        """Start it; after how many seconds the server says that it is well. Raises `Failed`."""
        begun = time.monotonic()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own arguments
                [*self._crun_command("run"), "--bundle", str(self._directory), self._name],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        while not self.answers():
            waited = time.monotonic() - begun
            if self._process.poll() is not None or waited > STARTED_WITHIN_S:
                raise Failed(f"{self._name} did not start:\n{self.log.read_text()}")
            time.sleep(PAUSE_S)
        return time.monotonic() - begun

    def answers(self) -> bool:
        """Whether something listens at its port."""
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def run(self, *arguments: str) -> str:
        """What a program says that is run inside. Raises `Failed`."""
        # crun takes the environment of the container from its configuration, but not the user.
        done = self._crun("exec", f"--user={self._user}:{self._user}", self._name, *arguments)
        if done.returncode != 0:
            raise Failed(f"{arguments}: {done.stdout}{done.stderr}")
        return done.stdout

    def stop(self) -> float:
        """Stop it as runtimes do; after how many seconds it has ended well. Raises `Failed`."""
        if self._process is None:
            raise Failed("It has not been started.")
        begun = time.monotonic()
        self._crun("kill", self._name, str(signal.SIGTERM.value))
        if (status := self._process.wait(STOPPED_WITHIN_S)) != 0:
            raise Failed(f"{self._name} ended with {status}:\n{self.log.read_text()}")
        return time.monotonic() - begun

    def processes(self) -> list[int]:
        """The numbers of its processes, as this machine has them."""
        state = json.loads(self._crun("state", self._name).stdout)
        return [state["pid"], *descendants(state["pid"])]

    def _crun(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(  # noqa: S603 - our own arguments
            self._crun_command(*arguments), capture_output=True, text=True, check=False
        )

    def _crun_command(self, *arguments: str) -> Sequence[str]:
        crun = ["crun", "--cgroup-manager=disabled", f"--root={self._directory / 'state'}"]
        return ["unshare", "-m", "sh", "-c", CGROUP2, "sh", *crun, *arguments]


def descendants(pid: int) -> list[int]:
    """The numbers of all processes that any thread of a process has started, directly or not."""
    children = " ".join(path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children"))
    return [
        number for child in map(int, children.split()) for number in (child, *descendants(child))
    ]


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
