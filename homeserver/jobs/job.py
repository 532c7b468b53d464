"""What a background job is."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from homeserver.config.settings import Settings
from homeserver.media.upkeep import Upkeep
from homeserver.users.deactivation import Deactivation
from homeserver.users.devices import Devices
from storage.database import Pool
from storage.jobs import State


@dataclass(frozen=True, slots=True)
class JobContext:
    """The services that jobs call."""

    db: Pool
    settings: Settings
    deactivation: Deactivation
    devices: Devices
    media: Upkeep


Run = Callable[[JobContext, int, State], Awaitable[State]]
"""Does a job's work, given the time and the state that the last run left; gives the next state."""


@dataclass(frozen=True, slots=True)
class Job:
    """Work that is to be done every `every_s` seconds by one of the server's processes.

    A run may be cut off at any moment and must leave the rest of its work to the next one.
    """

    name: str
    every_s: int
    run: Run
