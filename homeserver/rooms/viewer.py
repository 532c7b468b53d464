"""For whom events are made ready."""

from dataclasses import dataclass

from federation.protocol.identifiers import UserId


@dataclass(frozen=True, slots=True)
class Viewer:
    """A user at a device; `device_nid` is 0 where no device asks."""

    user_id: UserId
    user_nid: int
    device_nid: int
