"""Pinging an application service, so that it sees whether it can be reached.

Source: application service API, "Pinging".
"""

import math
import time
from collections.abc import Mapping
from typing import Any, ClassVar

import orjson

from federation.protocol.errors import MatrixError
from homeserver.appservices.link import (
    ServiceAnswer,
    ServiceLink,
    ServiceRequest,
    ServiceUnreachable,
)

MAX_SHOWN_BODY = 4_096


class UrlNotSet(MatrixError):
    """The application service has no URL."""

    errcode: ClassVar[str] = "M_URL_NOT_SET"


class ConnectionFailed(MatrixError):
    """The application service cannot be connected to."""

    status: ClassVar[int] = 502
    errcode: ClassVar[str] = "M_CONNECTION_FAILED"


class ConnectionTimedOut(MatrixError):
    """The application service takes too long."""

    status: ClassVar[int] = 504
    errcode: ClassVar[str] = "M_CONNECTION_TIMEOUT"


class BadStatus(MatrixError):
    """The application service has not answered with a success."""

    status: ClassVar[int] = 502
    errcode: ClassVar[str] = "M_BAD_STATUS"

    def __init__(self, answer: ServiceAnswer) -> None:
        super().__init__(f"The ping was answered with status {answer.status}")
        self.answer = answer

    def body(self) -> dict[str, Any]:
        """The error, and what the service has answered."""
        shown = self.answer.body[:MAX_SHOWN_BODY].decode("utf-8", "replace")
        return {**super().body(), "status": self.answer.status, "body": shown}


async def ping(link: ServiceLink, transaction_id: str | None, timeout_s: float) -> int:
    """Ping a service; how many milliseconds it took, at least one.

    Raises `BadStatus`, `ConnectionFailed`, `ConnectionTimedOut`.
    """
    body: Mapping[str, Any] = {} if transaction_id is None else {"transaction_id": transaction_id}
    started_s = time.monotonic()
    try:
        answer = await link.call(
            ServiceRequest("POST", "/ping", body=orjson.dumps(body)), timeout_s
        )
    except ServiceUnreachable as error:
        if error.timed_out:
            raise ConnectionTimedOut(f"The application service is too slow: {error}") from error
        raise ConnectionFailed(f"The application service cannot be reached: {error}") from error
    if not answer.is_success:
        raise BadStatus(answer)
    # Bridges of the mautrix family take 0 for no answer.
    return math.ceil((time.monotonic() - started_s) * 1000)
