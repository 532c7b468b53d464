"""Which rooms a request wants, and what of each: lists in their ranges, and subscriptions.

Source: MSC4186, "Combining room configs".
"""

from collections.abc import Iterable, Mapping

from homeserver.sync.room_order import RoomOrder
from homeserver.sync.sliding.lists import Views
from homeserver.sync.sliding.request import RoomConfig, RoomScope, SlidingRequest
from homeserver.sync.sliding.required_state import union


class Interest:
    """The rooms of one request, as its lists stand now."""

    def __init__(self, request: SlidingRequest, views: Views, order: RoomOrder) -> None:
        self._request = request
        self._subscribed = views.subscribed
        self._ranges: Mapping[str, frozenset[int]] = {
            key: view.in_range(order) for key, view in views.lists.items()
        }
        self._matching = frozenset(views.subscribed).union(*(v.rooms for v in views.lists.values()))
        self._combined: dict[tuple[str, ...], RoomConfig] = {}

    def rooms(self) -> set[int]:
        """All rooms that are wanted."""
        return set(self._subscribed).union(*self._ranges.values())

    def matching(self) -> frozenset[int]:
        """All rooms that lists let through or that are wanted for themselves."""
        return self._matching

    def is_subscribed(self, room_nid: int) -> bool:
        """Whether the room is wanted for itself."""
        return room_nid in self._subscribed

    def config_of(self, room_nid: int) -> RoomConfig | None:
        """What is wanted of a room; None for a room that is not."""
        lists = tuple(key for key, rooms in self._ranges.items() if room_nid in rooms)
        room_id = self._subscribed.get(room_nid)
        if room_id is not None:
            parts = [self._request.subscriptions[room_id]]
            return combine([*parts, *(self._request.lists[key].config for key in lists)])
        if not lists:
            return None
        known = self._combined.get(lists)
        if known is None:
            known = combine([self._request.lists[key].config for key in lists])
            self._combined[lists] = known
        return known

    def is_in_scope(self, scope: RoomScope | None, room_nid: int) -> bool:
        """Whether an extension is wanted of a room that is wanted itself."""
        if scope is None:
            return False
        room_id = self._subscribed.get(room_nid)
        if room_id is not None and (scope.rooms is None or room_id in scope.rooms):
            return True
        return any(
            room_nid in rooms
            for key, rooms in self._ranges.items()
            if scope.lists is None or key in scope.lists
        )

    def in_scope(self, scope: RoomScope | None, room_nids: Iterable[int]) -> list[int]:
        """Those of the rooms of which an extension is wanted."""
        return [nid for nid in room_nids if self.is_in_scope(scope, nid)]


def combine(configs: list[RoomConfig]) -> RoomConfig:
    """What is wanted by any of several."""
    if len(configs) == 1:
        return configs[0]
    limit = max(config.timeline_limit for config in configs)
    return RoomConfig(limit, union(config.required for config in configs))
