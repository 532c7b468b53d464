"""The extension for sticky events.

It has a token of its own, like that for messages to the device: how far the client has got. All
rooms count that lists or subscriptions let through, in their ranges or not. Source: MSC4480.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from homeserver.rooms.viewer import Viewer
from homeserver.sync.sliding.extensions.scope import Round
from homeserver.sync.sliding.plan import Kind
from homeserver.sync.sliding.request import StickyWanted
from homeserver.sync.sticky import MOST_AT_ONCE, Shown, StickyEvents
from homeserver.sync.token import StickyMark


@dataclass(frozen=True, slots=True)
class StickyNews:
    """Sticky events as JSON, by room, and the token that the client goes on with."""

    rooms: Mapping[int, Sequence[bytes]] = field(default_factory=dict)
    next_batch: StickyMark | None = None


class StickyExtension:
    """Tells sticky events."""

    def __init__(self, sticky: StickyEvents) -> None:
        self._sticky = sticky

    async def tell(
        self,
        viewer: Viewer,
        answer: Round,
        wanted: StickyWanted,
        timelines: Mapping[int, Sequence[str]],
        ignored: frozenset[str],
    ) -> StickyNews:
        """What the client has not been told yet; without a query where nothing is new."""
        situation = answer.situation
        follower = situation.follower
        mark = wanted.since or StickyMark(0, 0)
        whole = {t.room_nid for t in answer.tellings.values() if t.kind is Kind.WHOLE}
        latest = max(follower.sticky_added, follower.membership_changed)
        if not whole and not mark.upto and mark.complete_upto >= latest:
            return StickyNews()
        since = {
            nid: mark.since(
                is_new=nid in whole or follower.rooms[nid].position > mark.complete_upto
            )
            for nid in situation.interest.matching()
            if follower.is_joined(nid)
        }
        shown = Shown({i for events in timelines.values() for i in events}, ignored)
        # What is told of a room that is new to the client is not asked for again.
        limit = MOST_AT_ONCE if whole else wanted.limit
        told = await self._sticky.read(viewer, since, answer.upto, shown, limit)
        if told.reached is not None:
            return StickyNews(told.rooms, StickyMark(mark.complete_upto, told.reached))
        return StickyNews(told.rooms, StickyMark(answer.upto, 0))
