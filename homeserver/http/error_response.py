"""The one place where errors turn into responses.

Source: client-server API, "Standard error response" and "Rate limiting".
"""

from federation.protocol.errors import LimitExceeded, MatrixError
from federation.protocol.policy_server import PolicyRefusal
from federation.protocol.response import Response
from homeserver.http.router import WrongMethod


def error_response(error: MatrixError) -> Response:
    """The answer that tells the caller what was wrong."""
    status = error.answer_status if isinstance(error, PolicyRefusal) else error.status
    return Response(status, error.body(), error_headers(error))


def internal_error_response(request_id: str) -> Response:
    """The answer to a request that failed through no fault of its own.

    The request id is what the operator finds the log entry by.
    """
    body = {"errcode": "M_UNKNOWN", "error": f"Internal server error (request {request_id})"}
    return Response(500, body)


def stopping_response() -> Response:
    """The answer to a long-poll that the server's end cuts short; the client tries again."""
    return Response(503, {"errcode": "M_UNKNOWN", "error": "The server is restarting"})


def error_headers(error: MatrixError) -> dict[str, str] | None:
    """The headers that HTTP wants beside some statuses."""
    if isinstance(error, LimitExceeded):
        return {"Retry-After": str(-(-error.retry_after_ms // 1000))}
    if isinstance(error, WrongMethod):
        return {"Allow": ", ".join(error.allowed)}
    return None
