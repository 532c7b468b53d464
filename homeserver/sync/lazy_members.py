"""Which members a device has been told of, so that lazily loaded ones are sent once.

Forgetting is harmless: a member is then sent again.
Source: client-server API, "Lazy-loading room members".
"""

from collections.abc import Iterable

from storage.cache import Cache

MEMBER_COST = 60


class LazyMembers:
    """For each device and room the state places of the members that were sent."""

    def __init__(self, max_bytes: int) -> None:
        self._sent: Cache[tuple[int, int], set[int]] = Cache(max_bytes)

    def forget(self, device_nid: int, room_nids: Iterable[int]) -> None:
        """The device begins anew."""
        for room_nid in room_nids:
            self._sent.discard((device_nid, room_nid))

    def unsent(self, device_nid: int, room_nid: int, places: Iterable[int]) -> set[int]:
        """Those of the places that the device has not been sent."""
        sent = self._sent.get((device_nid, room_nid))
        return set(places) if sent is None else {place for place in places if place not in sent}

    def note(self, device_nid: int, room_nid: int, places: Iterable[int]) -> None:
        """These are being sent."""
        key = (device_nid, room_nid)
        sent = self._sent.get(key) or set()
        sent.update(places)
        self._sent.put(key, sent, MEMBER_COST * (2 + len(sent)))
