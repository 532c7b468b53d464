"""What users are called in rooms, for rules that look for it in messages."""

from collections.abc import Iterable, Mapping

from federation.protocol.push_evaluation import Evaluator
from storage.database import Database
from storage.events import get_events

SELECT_MEMBER_EVENTS = """
    SELECT room_nid, user_nid, event_nid
      FROM memberships
     WHERE room_nid = ANY($1::integer[]) AND user_nid = ANY($2::integer[]) AND membership = 1
"""


async def display_names(
    db: Database, room_nids: Iterable[int], evaluators: Mapping[int, Evaluator]
) -> dict[tuple[int, int], str | None]:
    """The display names of those users whose rules look for them, by room and user."""
    users = [nid for nid, one in evaluators.items() if one.program.asks_for_display_name]
    if not users:
        return {}
    rows = await db.fetch(SELECT_MEMBER_EVENTS, list(room_nids), users)
    members = await get_events(db, [event_nid for *_, event_nid in rows])
    names = {nid: event.content.get("displayname") for nid, event in members.items()}
    return {
        (room_nid, user_nid): name if isinstance(name := names[event_nid], str) else None
        for room_nid, user_nid, event_nid in rows
        if event_nid in names
    }
