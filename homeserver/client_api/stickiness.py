"""For how long an event is to be sticky. Source: MSC4354."""

from federation.protocol.errors import InvalidParam
from federation.protocol.sticky import MAX_DURATION_MS
from homeserver.http.call import Call

PARAMETER = "org.matrix.msc4354.sticky_duration_ms"


def chosen_stickiness(call: Call) -> int | None:
    """The milliseconds in the query; None if the event is not sticky. Raises `InvalidParam`."""
    duration_ms = call.query_int(PARAMETER, maximum=MAX_DURATION_MS + 1)
    if duration_ms is not None and duration_ms > MAX_DURATION_MS:
        raise InvalidParam(f"An event may be sticky for {MAX_DURATION_MS} ms at most")
    return duration_ms
