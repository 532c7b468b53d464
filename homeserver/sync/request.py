"""What a client asks of /sync."""

from dataclasses import dataclass

from federation.protocol.filters import SyncFilter
from homeserver.rooms.viewer import Viewer
from homeserver.sync.token import SyncToken


@dataclass(frozen=True, slots=True)
class SyncRequest:
    """The parameters of GET /sync; `since` is None for an initial sync."""

    viewer: Viewer
    since: SyncToken | None
    timeout_ms: int
    wanted: SyncFilter
    full_state: bool
    state_after: str | None
    """The name under which the state at the end of timelines is told; None for that at the start.

    Source: MSC4222 for the unstable name.
    """
