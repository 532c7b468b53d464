"""All endpoints of the client-server API, chapter by chapter."""

from federation.protocol.endpoint import Endpoint
from homeserver.client_api import versions, well_known
from homeserver.http.call import Call

ENDPOINTS: tuple[Endpoint[Call], ...] = (
    *versions.ENDPOINTS,
    *well_known.ENDPOINTS,
)
