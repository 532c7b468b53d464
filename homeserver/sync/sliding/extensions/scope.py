"""Since when an extension has to tell of each room that it is wanted of."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from homeserver.sync.room_order import Positions
from homeserver.sync.sliding.plan import Kind, Situation, Telling
from homeserver.sync.sliding.request import RoomScope
from homeserver.sync.sliding.sent import Told


@dataclass(frozen=True, slots=True)
class Round:
    """One answer: the situation, the rooms that are told, and how far the answer reaches.

    `rooms` are those that are looked at, all of them wanted by the request.
    """

    situation: Situation
    tellings: Mapping[int, Telling]
    rooms: frozenset[int]
    upto: int


@dataclass(slots=True)
class Scoped:
    """The rooms of an extension: those of which the client has what was before, and new ones."""

    since: dict[int, int] = field(default_factory=dict)
    fresh: set[int] = field(default_factory=set)

    def with_news(self, noted: Positions, begun: int) -> dict[int, int]:
        """Those rooms with a past in which something may have changed, and since when.

        `noted` has the last changes of rooms after the position `begun`.
        """
        return {
            nid: since
            for nid, since in self.since.items()
            if since < begun or noted.get(nid, 0) > since
        }


def scoped(answer: Round, scope: RoomScope | None, extension: Told) -> Scoped:
    """The rooms of an extension among those that are looked at."""
    found = Scoped()
    situation = answer.situation
    for room_nid in situation.interest.in_scope(scope, answer.rooms):
        sent = situation.sent.rooms.get(room_nid)
        telling = answer.tellings.get(room_nid)
        is_new = telling is not None and telling.kind is not Kind.NEWS
        if sent is None or is_new or extension not in sent.told:
            found.fresh.add(room_nid)
        else:
            found.since[room_nid] = sent.reached(situation.since)
    return found
