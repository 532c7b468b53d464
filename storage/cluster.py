"""The private PostgreSQL cluster that a server keeps in its data directory.

Below `<data_dir>/postgres` lie `data` (PostgreSQL's own directory), `postgres.log` and two lock
files; `cluster_places` has what may lie there besides. Every server that uses the cluster holds
`users.lock` shared: the last one to leave stops it, whoever started it, and a server that was
killed leaves its hold by dying. `start.lock` is held while one of them looks, initialises and
starts.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from storage.cluster_account import (
    Account,
    as_argument,
    as_user,
    can_reach,
    find_account,
    reachable,
)
from storage.cluster_conf import HBA, ClusterSettings, render
from storage.cluster_errors import ClusterError
from storage.cluster_places import MAKING, PGDATA, directory_of, major_of, remove_contents, settle
from storage.durable import make_directory, sync_directory
from storage.postgres_binaries import (
    Binaries,
    BinariesNotFound,
    find_binaries,
)

__all__ = ["Cluster", "ClusterSettings"]

logger = logging.getLogger(__name__)

ROLE = "hearth"
SOCKET_LOCK = ".s.PGSQL.5432.lock"
# sun_path holds 108 bytes on Linux and 104 elsewhere, PostgreSQL's ".s.PGSQL.5432" included.
LONGEST_SOCKET_DIR = 104 - len("/.s.PGSQL.5432") - 1
LOG_KEPT_BYTES = 1 << 20
STOP_SECONDS = 60
RESTART_PAUSE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Postmaster:
    """A running postmaster, as its pid file tells."""

    pid: int
    socket_dir: str
    is_ready: bool


class Cluster:
    """One private cluster; several servers may share it.

    `place` is `PGDATA`, or `MAKING` for one that is to follow it (`storage/cluster_moves.py`).
    """

    def __init__(self, data_dir: Path, settings: ClusterSettings, place: str = PGDATA) -> None:
        self._directory = directory_of(data_dir)
        self._place = place
        self._pgdata = self._directory / place
        self._settings = settings
        self._users_lock: IO[bytes] | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._postmaster: Postmaster | None = None
        # A thread that starts PostgreSQL goes on when its task is cancelled; stopping waits for it.
        self._busy = threading.Lock()

    @property
    def dsn(self) -> str:
        """The libpq URL of the server's database."""
        if self._postmaster is None:
            raise ClusterError("The private PostgreSQL is not running.")
        return f"postgresql://{ROLE}@/{ROLE}?host={self._postmaster.socket_dir}"

    @property
    def _users_path(self) -> Path:
        return self._directory / f"{self._place.replace(PGDATA, 'users')}.lock"

    @property
    def _own_socket_dir(self) -> Path:
        return self._directory / self._place.replace(PGDATA, "socket")

    @property
    def log_path(self) -> Path:
        """The file that PostgreSQL writes its complaints to."""
        return self._directory / "postgres.log"

    @property
    def pid(self) -> int | None:
        """The process number of the postmaster, where the cluster is known to run."""
        return None if self._postmaster is None else self._postmaster.pid

    async def start(self) -> None:
        """Start the cluster, or join it where it runs; make it on the first start.

        Raises `ClusterError`.
        """
        await asyncio.to_thread(self._start)

    async def stop(self) -> None:
        """Leave the cluster, and stop it unless another server still uses it."""
        await asyncio.to_thread(self._stop)

    async def watch(self) -> None:
        """Start PostgreSQL again whenever it has died; until cancelled or `stop`."""
        while (postmaster := self._postmaster) is not None:
            await _exit_of(postmaster.pid)
            if self._postmaster is None:
                return
            logger.error("PostgreSQL (pid %d) is gone; starting it again", postmaster.pid)
            try:
                await asyncio.to_thread(self._start_again)
            except ClusterError as error:
                logger.error("PostgreSQL does not start: %s", error)
                await asyncio.sleep(RESTART_PAUSE_SECONDS)

    async def discard(self) -> None:
        """Stop the cluster, if it runs, and delete all of it."""
        if self.find_running():
            await self.start()
        await self.stop()
        if self._pgdata.exists():
            await asyncio.to_thread(remove_contents, self._pgdata)
            self._pgdata.rmdir()
        self._users_path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._own_socket_dir.rmdir()

    @contextlib.contextmanager
    def unused(self) -> Iterator[None]:
        """Keeps the cluster from being started; who wants to waits for the end of the block.

        Raises `ClusterError` if somebody uses it.
        """
        make_directory(self._directory, 0o755)
        try:
            lock = _locked_file(self._users_path, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ClusterError("The database is in use; stop the server first.") from None
        with lock:
            yield

    def find_running(self) -> bool:
        """Whether the cluster runs now; if so, `dsn` tells where, without joining it."""
        self._postmaster = self._read_pid_file()
        return self._postmaster is not None

    # -- starting ---------------------------------------------------------------------------

    def _start_again(self) -> None:
        with self._busy:
            if self._users_lock is not None:
                self._start_or_join()

    def _start(self) -> None:
        with self._busy:
            self._start_or_join()

    def _start_or_join(self) -> None:
        make_directory(self._directory, 0o755)
        if self._users_lock is None:
            self._users_lock = _locked_file(self._users_path, fcntl.LOCK_SH)
        with _locked_file(self._directory / "start.lock", fcntl.LOCK_EX):
            try:
                if self._place == PGDATA:
                    settle(self._directory)
                if (postmaster := self._read_pid_file()) is None:
                    self._launch()
                elif not postmaster.is_ready:
                    logger.info("waiting for the PostgreSQL that is starting already")
                self._postmaster = self._wait_until_ready()
            except BinariesNotFound as error:
                raise ClusterError(str(error)) from error

    def _launch(self) -> None:
        account = self._account()
        binaries = reachable(self._binaries(), account)
        self._clear_stale_locks(account)
        if not (self._pgdata / "PG_VERSION").exists():
            self._initialise(binaries, account)
        conf = render(self._settings, binaries.major, self._socket_dir(account))
        self._write_owned("postgresql.conf", conf, account)
        self._write_owned("pg_hba.conf", HBA, account)
        self._rotate_log()
        title = f"cluster_name={self._identity()}"
        with (
            as_argument(self._pgdata, account) as (pgdata, pass_fds),
            self.log_path.open("ab") as log,
        ):
            self._child = subprocess.Popen(  # noqa: S603 - our own arguments
                [binaries.program("postgres"), "-D", pgdata, "-c", title],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=binaries.environment(),
                pass_fds=pass_fds,
                start_new_session=True,
                **as_user(account),
            )

    def _initialise(self, binaries: Binaries, account: Account) -> None:
        """Make the cluster with its role and its database; it gets its place when it is whole."""
        if self._pgdata.exists() and any(self._pgdata.iterdir()):
            raise ClusterError(
                f"{self._pgdata} holds files but no database (an initialisation was interrupted?);"
                " move it away and start again."
            )
        making = self._directory / MAKING
        remove_contents(making)
        making.mkdir(mode=0o700, exist_ok=True)
        os.chown(making, account.uid, account.gid)
        arguments = ["--username", ROLE, "--auth=trust", "--encoding=UTF8", "--wal-segsize=1"]
        arguments += ["--data-checksums", *_locale_arguments(binaries.major)]
        if not self._settings.durable:
            arguments.append("--no-sync")
        try:
            self._run(binaries, account, making, ["initdb", *arguments])
            # The database that initdb makes anyway gets our name: a second one costs 7 MB.
            rename = f"ALTER DATABASE postgres RENAME TO {ROLE};\n"
            self._run(binaries, account, making, ["postgres", "--single"], ["template1"], rename)
        except ClusterError:
            remove_contents(making)
            raise
        if making != self._pgdata:
            making.replace(self._pgdata)
        sync_directory(self._directory)

    def _run(
        self,
        binaries: Binaries,
        account: Account,
        directory: Path,
        before: list[str],
        after: list[str] | None = None,
        text: str = "",
    ) -> None:
        program, *arguments = before
        with as_argument(directory, account) as (pgdata, pass_fds):
            done = subprocess.run(  # noqa: S603 - our own arguments
                [binaries.program(program), *arguments, "-D", pgdata, *(after or [])],
                input=text,
                capture_output=True,
                text=True,
                check=False,
                cwd="/",
                env=binaries.environment(),
                pass_fds=pass_fds,
                **as_user(account),
            )
        if done.returncode != 0:
            said = " ".join(done.stderr.split()) or f"it ended with status {done.returncode}"
            raise ClusterError(f"{binaries.program(program)} failed: {said}")

    def _wait_until_ready(self) -> Postmaster:
        """Wait for a postmaster that accepts connections; recovery after a crash takes its time."""
        said_at = time.monotonic()
        while True:
            postmaster = self._read_pid_file()
            if postmaster is not None and postmaster.is_ready:
                return postmaster
            child_ended = self._child is None or self._child.poll() is not None
            if postmaster is None and child_ended:
                _remove_runtime_dir(self._socket_dir(self._account()))
                raise ClusterError(f"PostgreSQL did not start: {self._last_words()}")
            if time.monotonic() - said_at > 10:
                said_at = time.monotonic()
                logger.info("PostgreSQL is still starting (recovering after a crash?)")
            time.sleep(0.02)

    def _last_words(self) -> str:
        lines = self.log_path.read_text(errors="replace").splitlines()[-3:]
        # Without time and process id, the line's prefix in `cluster_conf.render`.
        told = "; ".join(line.partition("] ")[2] or line for line in lines)
        return f"{told or 'it said nothing'} (see {self.log_path})"

    # -- what is there already --------------------------------------------------------------

    def _read_pid_file(self) -> Postmaster | None:
        """The postmaster that runs over this directory, if one does."""
        try:
            lines = (self._pgdata / "postmaster.pid").read_text().splitlines()
            pid = int(lines[0])
        except (FileNotFoundError, ValueError, IndexError):
            return None
        if not self._is_ours(pid):
            return None
        padded = [*lines, *[""] * 8]
        return Postmaster(pid, padded[4], padded[7].strip() == "ready")

    def _identity(self) -> str:
        """A name for this cluster in the titles of its processes, whatever its path is."""
        status = self._pgdata.stat()
        return f"hearth_{status.st_dev:x}_{status.st_ino:x}"

    def _is_ours(self, pid: int) -> bool:
        """Whether process `pid` belongs to this cluster.

        The command line is asked because anybody may read it: the working directory of another
        user's process is closed even to root in most containers.
        """
        try:
            title = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            return False
        return self._identity().encode() in title

    def _clear_stale_locks(self, account: Account) -> None:
        """Remove the pid file and the socket's lock of a dead postmaster.

        PostgreSQL would refuse to start where another process has the number now (in a container
        the same few numbers come again at each start), or where the dead one is still a zombie.
        Its backends are waited for first: they end when they see that the postmaster is gone.
        """
        pid_file = self._pgdata / "postmaster.pid"
        if not pid_file.exists():
            return
        until = time.monotonic() + STOP_SECONDS
        while survivors := [pid for pid in _all_pids() if self._is_ours(pid)]:
            if time.monotonic() > until:
                raise ClusterError(
                    f"PostgreSQL processes {survivors} of an earlier run do not end; stop them."
                )
            time.sleep(0.05)
        (self._socket_dir(account) / SOCKET_LOCK).unlink(missing_ok=True)
        pid_file.unlink(missing_ok=True)

    def _binaries(self) -> Binaries:
        return find_binaries(self._settings.binaries, major_of(self._pgdata))

    # -- users, directories -----------------------------------------------------------------

    def _account(self) -> Account:
        # One that is to follow another belongs to the same user.
        places = (self._pgdata, self._directory / PGDATA)
        owner = next((place.stat().st_uid for place in places if place.exists()), None)
        return find_account(self._settings.run_as, owner, self._pgdata)

    def _socket_dir(self, account: Account) -> Path:
        """A short directory for the socket that only `account` (and root) can enter."""
        preferred = self._own_socket_dir
        if len(os.fsencode(preferred)) <= LONGEST_SOCKET_DIR and can_reach(preferred, account):
            chosen = preferred
        else:
            digest = hashlib.sha256(os.fsencode(self._pgdata)).hexdigest()[:12]
            chosen = _runtime_dir() / f"hearth-{digest}"
        with contextlib.suppress(FileExistsError):
            chosen.mkdir(mode=0o700)
            os.chown(chosen, account.uid, account.gid)
        status = chosen.stat(follow_symlinks=False)
        if status.st_uid != account.uid or status.st_mode & 0o777 != 0o700:
            raise ClusterError(
                f"{chosen} must belong to {account.name} with mode 0700, as the place of "
                "PostgreSQL's socket; remove it and start again."
            )
        return chosen

    def _write_owned(self, name: str, text: str, account: Account) -> None:
        path = self._pgdata / name
        partial = path.with_suffix(".new")
        partial.unlink(missing_ok=True)
        # "x": the directory is another user's, who may have put a link there for root to follow.
        with partial.open("x") as written:
            os.fchown(written.fileno(), account.uid, account.gid)
            os.fchmod(written.fileno(), 0o600)
            written.write(text)
        partial.replace(path)

    def _rotate_log(self) -> None:
        if self.log_path.exists() and self.log_path.stat().st_size > LOG_KEPT_BYTES:
            self.log_path.replace(self.log_path.with_suffix(".log.1"))

    # -- stopping ---------------------------------------------------------------------------

    def _stop(self) -> None:
        with self._busy:
            self._leave()

    def _leave(self) -> None:
        users_lock, self._users_lock = self._users_lock, None
        postmaster, self._postmaster = self._postmaster, None
        if users_lock is None:
            return
        with users_lock:
            try:
                fcntl.flock(users_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            if postmaster is not None:
                self._shut_down(postmaster)

    def _shut_down(self, postmaster: Postmaster) -> None:
        """End the postmaster: fast (connections are cut, a checkpoint is written), or at once."""
        for request in (signal.SIGINT, signal.SIGQUIT):
            with contextlib.suppress(ProcessLookupError):
                os.kill(postmaster.pid, request)
            until = time.monotonic() + STOP_SECONDS
            while time.monotonic() < until:
                if self._child is not None:
                    self._child.poll()
                if not self._is_ours(postmaster.pid):
                    _remove_runtime_dir(Path(postmaster.socket_dir))
                    return
                time.sleep(0.02)
        raise ClusterError(f"PostgreSQL (pid {postmaster.pid}) does not stop.")


# -- the machine ------------------------------------------------------------------------------


async def _exit_of(pid: int) -> None:
    """Wait until process `pid`, which need not be a child, has ended."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def _locked_file(path: Path, operation: int) -> IO[bytes]:
    """The file, open and locked; closing it lets go."""
    opened = path.open("ab")
    try:
        fcntl.flock(opened, operation)
    except BaseException:
        opened.close()
        raise
    return opened


def _runtime_dir() -> Path:
    """A short place for sockets."""
    if os.geteuid() == 0 and Path("/run").is_dir():
        return Path("/run")
    own = Path(os.environ.get("XDG_RUNTIME_DIR", "/nonexistent"))
    return own if own.is_dir() and os.access(own, os.W_OK) else Path("/tmp")  # noqa: S108


def _remove_runtime_dir(socket_dir: Path) -> None:
    """Remove a socket's directory that is not inside the cluster's own."""
    if socket_dir.name.startswith("hearth-"):
        with contextlib.suppress(OSError):
            socket_dir.rmdir()


def _locale_arguments(major: int) -> list[str]:
    """Order by code point, letters as Unicode has them; the same on every machine."""
    if major >= 17:
        return ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    return ["--locale=C", "--lc-ctype=C.UTF-8"]


def _all_pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]
