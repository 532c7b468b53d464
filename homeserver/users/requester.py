"""Who makes a request, as the access token says."""

from dataclasses import dataclass

from federation.protocol.identifiers import DeviceId, UserId


@dataclass(frozen=True, slots=True)
class Requester:
    """The user, device and token behind a request.

    `user_nid` and `device_nid` are the database's numbers; a token without a device has
    `device_id` None and `device_nid` 0. `expires_at_ms` is None for a token that does not expire.
    """

    user_id: UserId
    user_nid: int
    device_id: DeviceId | None
    device_nid: int
    token_id: int
    is_guest: bool = False
    is_admin: bool = False
    is_locked: bool = False
    is_suspended: bool = False
    is_deactivated: bool = False
    expires_at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class CallingService:
    """The application service that makes a request, as its token says."""

    service_id: str
    sender: UserId
    is_rate_limited: bool
