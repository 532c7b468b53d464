"""The id by which log lines and error messages of one request find each other."""

from contextvars import ContextVar
from itertools import count
from secrets import token_hex

CURRENT_REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
"""The request that the running task works for; empty outside of requests."""


class RequestIds:
    """Ids that differ between requests, restarts and processes."""

    __slots__ = ("_next", "_prefix")

    def __init__(self) -> None:
        self._prefix = token_hex(3)
        self._next = count(1).__next__

    def begin(self) -> str:
        """A new id, from now on the running task's."""
        request_id = f"{self._prefix}-{self._next():x}"
        CURRENT_REQUEST_ID.set(request_id)
        return request_id
