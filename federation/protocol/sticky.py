"""Sticky events: for a while after they were sent they reach everybody in the room.

The field stands at the top of an event, so it is there for the server to see also where the content
is encrypted, and redaction takes it away. Source: MSC4354.
"""

from collections.abc import Mapping
from typing import Any

STICKY = "msc4354_sticky"
TTL = "msc4354_sticky_duration_ttl_ms"
"""The key of `unsigned` that says for how much longer an event is sticky."""
MAX_DURATION_MS = 3_600_000


def sticky_duration_ms(fields: Mapping[str, Any]) -> int | None:
    """For how long an event is to be sticky; None for one that is not."""
    if STICKY not in fields:
        return None
    sticky = fields[STICKY]
    duration_ms = sticky.get("duration_ms") if isinstance(sticky, Mapping) else None
    # To Python a bool is an int, to JSON it is not.
    if type(duration_ms) is not int or not 0 <= duration_ms <= MAX_DURATION_MS:
        return None
    return duration_ms


def sticky_until(fields: Mapping[str, Any], received_ts: int) -> int | None:
    """When an event that was received at some time ceases to be sticky; None if it never was.

    It cannot begin later than it was received, whatever its sender's clock says.
    """
    duration_ms = sticky_duration_ms(fields)
    if duration_ms is None:
        return None
    return min(received_ts, int(fields["origin_server_ts"])) + duration_ms
