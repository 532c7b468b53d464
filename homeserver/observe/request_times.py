"""How long requests took, by endpoint: plain numbers, since this runs with every request.

An endpoint is named by its path with the parameters in braces, as it is declared. What matches no
endpoint has one name, so there are only so many names as there are endpoints.
"""

from bisect import bisect_left
from collections.abc import Mapping

from aiohttp.web_request import BaseRequest

from federation.protocol.errors import MatrixError
from homeserver.http.router import Router

BOUNDS_S = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Upper bounds of the classes that answers are counted in."""
LONG_POLL_BOUNDS_S = (0.05, 1.0, 10.0, 31.0, 60.0)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"})
UNMATCHED = "unmatched"
OTHER_METHOD = "other"

Key = tuple[str, str]
"""A method and the path of an endpoint."""


class Times:
    """The answers of one endpoint."""

    __slots__ = ("bounds_s", "counts", "is_long_poll", "statuses", "total_s")

    def __init__(self, *, is_long_poll: bool) -> None:
        self.is_long_poll = is_long_poll
        self.bounds_s = LONG_POLL_BOUNDS_S if is_long_poll else BOUNDS_S
        self.counts = [0] * (len(self.bounds_s) + 1)
        """How many took at most as long as each bound and longer than that before; the last ones
        took longer than all."""
        self.statuses: dict[int, int] = {}
        self.total_s = 0.0

    def add(self, status: int, seconds: float) -> None:
        """Count an answer."""
        self.counts[bisect_left(self.bounds_s, seconds)] += 1
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self.total_s += seconds


class RequestTimes:
    """The answers of all endpoints."""

    __slots__ = ("_times",)

    def __init__(self) -> None:
        self._times: dict[Key, Times] = {}

    @property
    def times(self) -> Mapping[Key, Times]:
        """By endpoint; those that were never asked for are missing."""
        return self._times

    def observe(self, router: Router, request: BaseRequest, status: int, seconds: float) -> None:
        """Count an answer; the dispatcher calls it."""
        method = request.method if request.method in METHODS else OTHER_METHOD
        try:
            endpoint, _ = router.find(request.method, request.raw_path.partition("?")[0])
        except MatrixError:
            key, is_long_poll = (method, UNMATCHED), False
        else:
            key, is_long_poll = (method, endpoint.path), endpoint.long_poll
        times = self._times.get(key)
        if times is None:
            times = self._times[key] = Times(is_long_poll=is_long_poll)
        times.add(status, seconds)
