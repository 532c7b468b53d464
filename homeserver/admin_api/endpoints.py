"""All endpoints of the administration API."""

from federation.protocol.endpoint import Endpoint
from homeserver.admin_api import register, server_notices
from homeserver.http.call import Call

ENDPOINTS: tuple[Endpoint[Call], ...] = (
    *register.ENDPOINTS,
    *server_notices.ENDPOINTS,
)
