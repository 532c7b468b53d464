"""The endpoints that are served where calls are configured."""

from federation.protocol.endpoint import Endpoint
from homeserver.call_api import rtc, token_service
from homeserver.http.call import Call

ENDPOINTS: tuple[Endpoint[Call], ...] = (*rtc.ENDPOINTS, *token_service.ENDPOINTS)
