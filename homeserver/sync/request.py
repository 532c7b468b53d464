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
    use_state_after: bool
