"""The configuration files of the private cluster: lean in memory, durable on disk.

They are written anew at each start from the settings; `postgresql.auto.conf` (ALTER SYSTEM)
still wins, for the operator who knows better.
"""

import os
from dataclasses import dataclass
from pathlib import Path

HBA = """\
# Only the socket is open, and its directory to no other user than the server's (mode 0700).
local all all trust
"""


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """How the private cluster runs."""

    binaries: str = "auto"
    """"auto", "package", "system" or the bin directory of an installation."""
    run_as: str = ""
    """The user that PostgreSQL runs as when we are root; empty: hearth, postgres or nobody."""
    shared_buffers_mb: int = 16
    max_connections: int = 20
    max_wal_mb: int = 64
    durable: bool = True
    """Wait for the disk at each commit. Only tests, whose data nobody wants back, turn it off."""


def render(settings: ClusterSettings, major: int, socket_dir: Path) -> str:
    """The text of `postgresql.conf`.

    Each process that PostgreSQL does not start and each slot that it does not keep is memory
    for the machine. Locks are the exception: a migration touches many tables at once, and too
    few slots end it with "out of shared memory".
    """
    durable = "on" if settings.durable else "off"
    values = {
        "listen_addresses": "''",
        "unix_socket_directories": "'" + str(socket_dir).replace("'", "''") + "'",
        "unix_socket_permissions": "0700",
        "max_connections": settings.max_connections,
        "superuser_reserved_connections": 1,
        "shared_buffers": f"{settings.shared_buffers_mb}MB",
        "huge_pages": "off",
        "work_mem": "2MB",
        "maintenance_work_mem": "16MB",
        "temp_buffers": "1MB",
        "max_locks_per_transaction": 128,
        "effective_cache_size": f"{_page_cache_mb()}MB",
        "random_page_cost": 1.1,
        "jit": "off",
        "max_worker_processes": 0,
        "max_parallel_workers": 0,
        "max_parallel_workers_per_gather": 0,
        "max_parallel_maintenance_workers": 0,
        "autovacuum_max_workers": 1,
        "autovacuum_naptime": "5min",
        "track_activity_query_size": 256,
        "fsync": durable,
        "full_page_writes": durable,
        "synchronous_commit": durable,
        "wal_level": "minimal",
        "max_wal_senders": 0,
        "max_replication_slots": 0,
        "max_logical_replication_workers": 0,
        "wal_buffers": "256kB",
        "wal_compression": "on",
        "min_wal_size": "4MB",
        "max_wal_size": f"{settings.max_wal_mb}MB",
        "checkpoint_timeout": "15min",
        "timezone": "'UTC'",
        "log_timezone": "'UTC'",
        "log_destination": "'stderr'",
        "logging_collector": "off",
        "log_min_messages": "warning",
        "log_checkpoints": "off",
        "log_line_prefix": "'%m [%p] '",
    }
    if major >= 18:
        values |= {"io_method": "sync", "autovacuum_worker_slots": 1}
    lines = [f"{name} = {value}" for name, value in values.items()]
    head = "# Written at each start; put changes into hearth's configuration or use ALTER SYSTEM."
    return "\n".join([head, *lines, ""])


def _page_cache_mb() -> int:
    """What the planner may suppose of the page cache: half of the machine's memory."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(48, memory // 2**21)
