"""What clients are told of their rooms."""

from dataclasses import dataclass
from typing import Annotated

from homeserver.config.sections.ranges import Range


@dataclass(frozen=True, slots=True)
class Sync:
    """What clients are told of their rooms."""

    first_events: Annotated[int, Range(1, 1000)] = 1000
    """The most events of a room that /sync shows a client to which the room is new, if it asks for
    more: it fetches what came before when somebody looks at it."""
