"""The reverse topological power ordering: causes first, and of what is unrelated the mightier.

Source: room version 2, "State resolution", "Definitions".
"""

from collections.abc import Callable, Mapping
from heapq import heapify, heappop, heappush

from federation.protocol.identifiers import EventId
from federation.protocol.pdu import Pdu
from federation.protocol.power_levels import Level


def reverse_topological_power_order(
    events: Mapping[EventId, Pdu], sender_level: Callable[[Pdu], Level]
) -> list[Pdu]:
    """The events, each after those of its auth events that are among them.

    Of several that could come next it is the one with the mightier sender, then the one of the
    earlier `origin_server_ts`, then the one of the smaller ID (Kahn's algorithm with a heap).
    """
    citing: dict[EventId, list[EventId]] = {event_id: [] for event_id in events}
    open_citations: dict[EventId, int] = {}
    for event_id, event in events.items():
        cited = {e for e in event.auth_events if e in events}
        open_citations[event_id] = len(cited)
        for cited_id in cited:
            citing[cited_id].append(event_id)

    def rank(event_id: EventId) -> tuple[Level, int, EventId]:
        event = events[event_id]
        return (-sender_level(event), event.origin_server_ts, event_id)

    candidates = [rank(event_id) for event_id, count in open_citations.items() if count == 0]
    heapify(candidates)
    ordered: list[Pdu] = []
    while candidates:
        event_id = heappop(candidates)[-1]
        ordered.append(events[event_id])
        for citing_id in citing[event_id]:
            open_citations[citing_id] -= 1
            if open_citations[citing_id] == 0:
                heappush(candidates, rank(citing_id))
    return ordered
