"""The mainline ordering: events by how recent the power levels are that they rest on.

Source: room version 2, "State resolution", "Definitions".
"""

import math
from collections.abc import Callable, Iterable

from federation.protocol.identifiers import EventId
from federation.protocol.pdu import Pdu

FindPowerLevels = Callable[[Pdu], Pdu | None]
"""Gives the power levels event among the auth events of an event."""


def mainline_order(
    events: Iterable[Pdu], power_levels: Pdu | None, find_power_levels: FindPowerLevels
) -> list[Pdu]:
    """The events, from those that rest on the oldest power levels to those on the newest.

    `power_levels` is where the mainline starts; without it the order is by `origin_server_ts` and
    ID alone.
    """
    positions = mainline_positions(power_levels, find_power_levels)

    def rank(event: Pdu) -> tuple[float, int, EventId]:
        position = find_position(event, positions, find_power_levels)
        return (-position, event.origin_server_ts, event.event_id)

    return sorted(events, key=rank)


def mainline_positions(
    power_levels: Pdu | None, find_power_levels: FindPowerLevels
) -> dict[EventId, float]:
    """The mainline of a power levels event: the IDs of it and of its predecessors, numbered."""
    positions: dict[EventId, float] = {}
    while power_levels is not None and power_levels.event_id not in positions:
        positions[power_levels.event_id] = len(positions)
        power_levels = find_power_levels(power_levels)
    return positions


def find_position(
    event: Pdu, positions: dict[EventId, float], find_power_levels: FindPowerLevels
) -> float:
    """The position of the first mainline event on the way back from an event, else infinity.

    What is found is added to `positions` for all power levels events on the way.
    """
    passed: dict[EventId, None] = {}
    ancestor = find_power_levels(event)
    while ancestor is not None and ancestor.event_id not in positions:
        if ancestor.event_id in passed:
            break
        passed[ancestor.event_id] = None
        ancestor = find_power_levels(ancestor)
    position = math.inf if ancestor is None else positions.get(ancestor.event_id, math.inf)
    positions.update(dict.fromkeys(passed, position))
    return position
