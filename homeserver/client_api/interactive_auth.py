"""What a request that needs user-interactive authentication is bound to."""

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
