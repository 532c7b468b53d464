"""What a client has of a room once it has been told of it."""

from homeserver.sync.sliding.plan import Kind, Telling
from homeserver.sync.sliding.reading import Reading
from homeserver.sync.sliding.required_state import RequiredState, union
from homeserver.sync.sliding.room_states import StateNews
from homeserver.sync.sliding.sent import LIVE, WHOLE, SentRoom, Told
from storage.changes import Membership


def sent_after(reading: Reading, telling: Telling) -> SentRoom | None:
    """What the client has of a room once it has the response; None for nothing any more."""
    config, former = telling.config, telling.sent
    if telling.kind is Kind.STRIPPED:
        return SentRoom(LIVE, 0, config.required, Told(0))
    if telling.kind is Kind.FAREWELL:
        return None
    has_left = telling.own.membership is Membership.LEAVE
    if has_left and telling.own.sender_nid == reading.viewer.user_nid:
        return None
    told = former.told if former is not None and telling.kind is Kind.NEWS else Told(0)
    return SentRoom(LIVE, _depth(reading, telling), _required(reading, telling), told)


def _depth(reading: Reading, telling: Telling) -> int:
    """How many of the newest events the client has without a gap."""
    limit = telling.config.timeline_limit
    has_skipped = not limit and bool(reading.news.get(telling.room_nid))
    if telling.shows_from_end:
        is_all = bool(limit) and not reading.is_limited(telling.room_nid)
        return WHOLE if is_all else limit
    if telling.sent is None or has_skipped or reading.is_limited(telling.room_nid):
        return limit
    return telling.sent.timeline_limit


def _required(reading: Reading, telling: Telling) -> RequiredState:
    """The state of which the client has all."""
    wanted = telling.config.required
    if telling.kind is Kind.WHOLE or telling.sent is None:
        return wanted
    former = telling.sent.required
    changed = reading.news.get(telling.room_nid, StateNews())
    own = reading.viewer.user_id
    places = [(e.type, e.state_key or "") for e in changed.events] + changed.emptied
    has_missed = any(
        former.matches(*place, own) and not wanted.matches(*place, own) for place in places
    )
    if has_missed or former.covers(wanted):
        return wanted if has_missed else former
    return union((former, wanted))
