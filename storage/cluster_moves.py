"""A new private cluster beside the one there is, which follows it once it has everything.

The one there is stays as it is until then: who is interrupted begins anew, or goes on with it.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from storage.cluster import Cluster, ClusterSettings
from storage.cluster_errors import ClusterError
from storage.cluster_places import MAKING, PGDATA, directory_of, major_of, name_next
from storage.postgres_binaries import BinariesNotFound, find_binaries

STOPS_WITHIN_S = 120
"""How long the PostgreSQL that was started for a backup may take to stop on a slow disk."""


def is_usable(data_dir: Path, settings: ClusterSettings) -> bool:
    """Whether the PostgreSQL is here that made the cluster, if there is one already."""
    major = present_major(data_dir)
    if major is None:
        return True
    try:
        find_binaries(settings.binaries, major)
    except BinariesNotFound:
        return False
    return True


def present_major(data_dir: Path) -> int | None:
    """The major version of PostgreSQL that made the cluster, or None if there is none."""
    return major_of(directory_of(data_dir) / PGDATA)


def was_used_since(data_dir: Path, began_s: float, ended_s: float) -> bool:
    """Whether the cluster was started after one time, or still at work well after another.

    PostgreSQL writes one file at each start, and another when it stops.
    """
    pgdata = directory_of(data_dir) / PGDATA
    started = (pgdata / "postmaster.opts").stat().st_mtime
    stopped = (pgdata / "global" / "pg_control").stat().st_mtime
    return started > began_s or stopped > ended_s + STOPS_WITHIN_S


@asynccontextmanager
async def following_cluster(data_dir: Path, settings: ClusterSettings) -> AsyncIterator[str]:
    """The URL of a new database; its cluster follows the present one if the block ends well.

    It is one of the newest PostgreSQL here. Raises `ClusterError` if the present one is in use.
    """
    directory = directory_of(data_dir)
    present, made = Cluster(data_dir, settings), Cluster(data_dir, settings, MAKING)
    with present.unused():
        if present.find_running():
            raise ClusterError("The database is in use; stop the server first.")
        await made.discard()
        try:
            await made.start()
            yield made.dsn
        except BaseException:
            await made.discard()
            raise
        await made.stop()
        if made.find_running():
            raise ClusterError("The new database is in use; stop what uses it, and begin anew.")
        await asyncio.to_thread(name_next, directory)
        await made.discard()


def former_clusters(data_dir: Path) -> list[Path]:
    """Clusters that others have followed, and that nobody needs any more if all is well."""
    return sorted(directory_of(data_dir).glob(f"{PGDATA}.[0-9]*"))
