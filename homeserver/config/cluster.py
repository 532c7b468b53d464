"""The private cluster as the configuration wants it."""

from homeserver.config.sections.storage import Database
from homeserver.config.settings import Settings
from storage.cluster import Cluster, ClusterSettings

BESIDE_THE_POOL = 3
"""Connections that a server opens besides its pool: the committer's, the listener's, one spare."""


def private_cluster(settings: Settings) -> Cluster:
    """The cluster in the data directory; for when `database.url` is empty."""
    return Cluster(settings.server.data_dir, cluster_settings(settings.database))


def cluster_settings(database: Database) -> ClusterSettings:
    """How the cluster runs; it has room for two servers and somebody with psql."""
    return ClusterSettings(
        binaries=database.binaries,
        run_as=database.run_as,
        shared_buffers_mb=database.shared_buffers_mb,
        max_connections=2 * (database.pool_size + BESIDE_THE_POOL) + 4,
        max_wal_mb=database.max_wal_mb,
    )
