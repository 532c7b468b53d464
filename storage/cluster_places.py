"""The directories that a private cluster may have, and how one follows another.

`data` is the cluster in use. A cluster is made in `data.making`, which is nobody's before it is
whole. One that is to follow another is then called `data.next`: that rename decides, and whoever
starts the cluster does the rest. The former one is kept, as `data.` and its major version.
"""

from pathlib import Path

from storage.durable import sync_directory

PGDATA = "data"
MAKING = "data.making"
NEXT = "data.next"


def directory_of(data_dir: Path) -> Path:
    """The directory of a private cluster, with all that belongs to it."""
    return data_dir.resolve() / "postgres"


def major_of(pgdata: Path) -> int | None:
    """The major version of PostgreSQL that made a cluster, or None if there is no cluster."""
    try:
        return int((pgdata / "PG_VERSION").read_text())
    except FileNotFoundError:
        return None


def name_next(directory: Path) -> None:
    """Have the cluster that was made follow the one in use; neither of them may run."""
    (directory / MAKING).replace(directory / NEXT)
    sync_directory(directory)
    settle(directory)


def settle(directory: Path) -> None:
    """Give the cluster that is to follow its place, if there is one."""
    following, current = directory / NEXT, directory / PGDATA
    if not following.exists():
        return
    if current.exists():
        current.rename(_name_to_keep(directory))
        sync_directory(directory)
    following.rename(current)
    sync_directory(directory)


def _name_to_keep(directory: Path) -> Path:
    name = f"{PGDATA}.{major_of(directory / PGDATA)}"
    names = (name, *(f"{name}-{number}" for number in range(2, 1_000)))
    return next(directory / one for one in names if not (directory / one).exists())


def remove_contents(directory: Path) -> None:
    """Empty a directory, if it is there."""
    if not directory.exists():
        return
    for entry in directory.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            remove_contents(entry)
            entry.rmdir()
        else:
            entry.unlink()
