"""Searching for users whom somebody may find.

Users of this server are found by ID and by the display name of their profile, never by a name
that they use in some room only. Of other servers' users only the ID is searched; if one of them
shares a room with the searcher, the member event in that room tells name and avatar.
"""

from dataclasses import dataclass
from typing import Any

import orjson

from storage.database import Database

MAX_CANDIDATES = 1000
"""So many matching users are looked at, this server's first, to see whether they may be found."""

SEARCH = """
      WITH candidates AS (
           SELECT u.user_nid, u.user_id, name.value AS displayname, avatar.value AS avatar_url,
                  a.user_nid IS NOT NULL AS is_local,
                  name.folded = $4 OR split_part(lower(u.user_id), ':', 1) = '@' || $4 AS is_exact
             FROM users AS u
             LEFT JOIN accounts AS a USING (user_nid)
             LEFT JOIN profile_fields AS name
                    ON name.user_nid = u.user_nid AND name.field = 'displayname'
             LEFT JOIN profile_fields AS avatar
                    ON avatar.user_nid = u.user_nid AND avatar.field = 'avatar_url'
            WHERE u.user_nid <> $1
              AND NOT COALESCE(a.is_deactivated OR a.is_locked, false)
              AND NOT EXISTS (
                  SELECT FROM unnest($2::text[], $3::text[]) AS word (in_id, in_name)
                   WHERE CASE WHEN word.in_id LIKE '%:%' THEN lower(u.user_id)
                              ELSE split_part(lower(u.user_id), ':', 1)
                         END NOT LIKE word.in_id
                     AND COALESCE(name.folded, '') NOT LIKE word.in_name)
            ORDER BY is_local DESC, is_exact DESC NULLS LAST, name.value IS NULL, u.user_id
            LIMIT $7),
           public_rooms AS (
           SELECT room_nid FROM rooms WHERE published
            UNION
           SELECT state.room_nid
             FROM event_types AS kind
             JOIN state_places AS place USING (type_nid)
             JOIN current_state AS state USING (place_nid)
             JOIN events AS e USING (event_nid)
            WHERE place.state_key = ''
              AND (kind.type = 'm.room.join_rules'
                   AND position('"join_rule":"public"'::bytea IN e.json) > 0
                OR kind.type = 'm.room.history_visibility'
                   AND position('"history_visibility":"world_readable"'::bytea IN e.json) > 0))
    SELECT c.user_id, c.displayname, c.avatar_url,
           CASE WHEN NOT c.is_local THEN member.json END
      FROM candidates AS c
      LEFT JOIN LATERAL (
           SELECT theirs.event_nid
             FROM memberships AS theirs
             JOIN memberships AS mine USING (room_nid)
            WHERE theirs.user_nid = c.user_nid AND theirs.membership = 1
              AND mine.user_nid = $1 AND mine.membership = 1
            LIMIT 1) AS shared ON true
      LEFT JOIN events AS member ON member.event_nid = shared.event_nid
     WHERE shared.event_nid IS NOT NULL
        OR $5 AND c.is_local
        OR EXISTS (
           SELECT FROM memberships AS theirs
            WHERE theirs.user_nid = c.user_nid AND theirs.membership = 1
              AND theirs.room_nid IN (SELECT room_nid FROM public_rooms))
     ORDER BY c.is_exact DESC NULLS LAST, c.displayname IS NULL, c.user_id
     LIMIT $6
"""
"""Events are kept as canonical JSON, so a property and its value can be looked for as bytes."""


@dataclass(frozen=True, slots=True)
class FoundUser:
    """A user who was found."""

    user_id: str
    display_name: str | None
    avatar_url: str | None


async def search_users(
    db: Database, searcher_nid: int, term: str, limit: int, *, all_local: bool
) -> list[FoundUser]:
    """The best matches, at most `limit`; each word of the term must be in the ID or the name.

    Found are those who share a room with the searcher or are in a public room, and with
    `all_local` everybody of this server.
    """
    words = term.casefold().split()
    rows = await db.fetch(
        SEARCH,
        searcher_nid,
        [_id_pattern(word) for word in words],
        [f"%{_escape(word)}%" for word in words],
        term.casefold(),
        all_local,
        limit,
        MAX_CANDIDATES,
    )
    return [_found(*row) for row in rows]


def _id_pattern(word: str) -> str:
    return f"{_escape(word)}%" if word.startswith("@") else f"%{_escape(word)}%"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _found(
    user_id: str, displayname: bytes | None, avatar_url: bytes | None, member: bytes | None
) -> FoundUser:
    if member is not None:
        content = orjson.loads(member)["content"]
        return FoundUser(user_id, _text(content, "displayname"), _text(content, "avatar_url"))
    name, avatar = (orjson.loads(v) if v is not None else None for v in (displayname, avatar_url))
    return FoundUser(user_id, name, avatar)


def _text(content: dict[str, Any], key: str) -> str | None:
    value = content.get(key)
    return value if isinstance(value, str) else None
