"""Whether the server works, for whoever looks after it; Synapse has the same path."""

from federation.protocol.endpoint import Access, endpoint
from federation.protocol.response import Response
from homeserver.http.call import Call

HEADERS = {"Cache-Control": "no-store"}


@endpoint("GET", "/health", Access.PUBLIC)
async def get_health(call: Call) -> Response:
    """Answer 200 if the server can read and write its database, 503 with the reason if not."""
    problem = await call.services.health.find_problem()
    if problem is not None:
        return Response(503, {"status": "failing", "reason": problem}, HEADERS)
    return Response(200, {"status": "ok"}, HEADERS)


ENDPOINTS = (get_health,)
