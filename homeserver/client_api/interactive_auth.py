"""User-interactive authentication of a request."""

from homeserver.http.call import Call
from homeserver.users.interactive_auth import ProtectedRequest


def protected_request(call: Call) -> ProtectedRequest:
    """The request as `InteractiveAuth` wants it."""
    return ProtectedRequest(
        method=call.method,
        path=call.request.raw_path.partition("?")[0],
        caller=call.requester.user_id if call.requester else None,
        body=call.json,
    )


async def confirm_user(call: Call) -> None:
    """Have the caller prove again who they are; an application service need not.

    Raises `AuthenticationNeeded`, `Forbidden`.
    Source: application service API, "Device management", "Cross-signing".
    """
    if call.service is None:
        await call.services.users.interactive_auth.confirm_user(protected_request(call))
