"""Which members a device has been told of, so that lazily loaded ones are sent once.

An answer may be lost on its way. A device that then asks again with its former token is told anew
of all members of the rooms in question. Forgetting is harmless: a member is then sent again.
Source: client-server API, "Lazy-loading room members".
"""

from collections.abc import Iterable
from dataclasses import dataclass

from storage.cache import Cache

MEMBER_COST = 60


@dataclass(slots=True)
class MembersTold:
    """The state places of the members of a room; the last were told by the answer up to `upto`."""

    places: set[int]
    upto: int


class LazyMembers:
    """For each device and room the members that were sent."""

    def __init__(self, max_bytes: int) -> None:
        self._told: Cache[tuple[int, int], MembersTold] = Cache(max_bytes)

    def forget(self, device_nid: int, room_nids: Iterable[int]) -> None:
        """The device begins anew."""
        for room_nid in room_nids:
            self._told.discard((device_nid, room_nid))

    def unsent(self, device_nid: int, room_nid: int, places: Iterable[int], since: int) -> set[int]:
        """Those of the places that a device with the token of position `since` does not have."""
        told = self._told.get((device_nid, room_nid))
        if told is not None and told.upto > since:
            self._told.discard((device_nid, room_nid))
            told = None
        return set(places) if told is None else set(places) - told.places

    def note(self, device_nid: int, room_nid: int, places: Iterable[int], upto: int) -> None:
        """These are told by the answer with the token of position `upto`."""
        key = (device_nid, room_nid)
        told = self._told.get(key) or MembersTold(set(), upto)
        new = set(places) - told.places
        if new:
            told.places |= new
            told.upto = upto
            self._told.put(key, told, MEMBER_COST * (2 + len(told.places)))
