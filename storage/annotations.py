"""Annotations, such as reactions, that events have."""

from storage.database import Database

SELECT_ANNOTATED = """
    SELECT EXISTS (
           SELECT FROM relations
            WHERE parent_event_id = $1
              AND rel_type = 'm.annotation'
              AND sender_nid = $2
              AND type_nid = $3
              AND annotation_key = $4)
"""


async def has_annotated(
    db: Database, event_id: str, sender_nid: int, type_nid: int, key: str
) -> bool:
    """Whether a user has annotated an event with this key, by an event that is not redacted."""
    return bool(await db.fetchval(SELECT_ANNOTATED, event_id, sender_nid, type_nid, key))
