"""What registering and logging in have in common for application services.

Source: application service API, "Server admin style permissions".
"""

from federation.protocol.errors import MissingToken, UnknownToken
from homeserver.http.authenticate import find_access_token
from homeserver.http.call import Call
from homeserver.users.requester import CallingService

SERVICE_LOGIN = "m.login.application_service"
UNSTABLE_SERVICE_LOGIN = "uk.half-shot.msc2778.login.application_service"


def calling_service(call: Call) -> CallingService:
    """The application service that calls. Raises `MissingToken`, `UnknownToken`."""
    if call.service is None:
        if find_access_token(call) is None:
            raise MissingToken
        raise UnknownToken("This access token is not an application service's")
    return call.service
