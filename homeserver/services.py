"""What the server can do, by name: handed to every endpoint, filled in by `app.py`."""

from dataclasses import dataclass

from homeserver.clock import Clock
from homeserver.config.settings import Settings
from storage.committer import Committer
from storage.database import Pool
from storage.names import Names


@dataclass(frozen=True, slots=True)
class Services:
    """The services that endpoints call, one attribute each."""

    settings: Settings
    clock: Clock
    db: Pool
    names: Names
    committer: Committer
