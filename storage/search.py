"""Full-text search over what was said in rooms.

A room's index reaches from one stream position to another. It begins where the stream stood when
somebody first searched in the room, and is extended at each search: upwards to what is new, then
downwards into the past, in batches, so that the latest history can be found at once and no search
waits long for a large room.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from federation.protocol.canonical_json import decode
from storage.database import Database, Pool
from storage.timeline import Criteria


class TextKind(IntEnum):
    """What is searched, as the database numbers it."""

    BODY = 0
    NAME = 1
    TOPIC = 2


KIND_OF_TYPE = {
    "m.room.message": TextKind.BODY,
    "m.room.name": TextKind.NAME,
    "m.room.topic": TextKind.TOPIC,
}

BATCH = 2_000
"""Events of all rooms together that one transaction looks at."""
SMALLEST_SHARE = 20
MOST_BATCHES = 10
"""Batches that one search waits for."""
MOST_COUNTED = 10_000
MOST_RANKED = 10_000
"""Of how many of the latest matches the best are chosen."""
MOST_ROOM_WORDS = 100
"""With more rooms than these the index is asked for the words alone."""


def find_text(event_type: str, content: Mapping[str, Any]) -> str | None:
    """The text of an event that is searched, or None if it has none.

    Source: client-server API, "Server Side Search".
    """
    kind = KIND_OF_TYPE.get(event_type)
    if kind is TextKind.TOPIC:
        texts = [content.get("topic"), *_plain_topics(content.get("m.topic"))]
        found = list(dict.fromkeys(text for text in texts if isinstance(text, str)))
        return "\n".join(found).replace("\0", " ") if found else None
    if kind is None:
        return None
    text = content.get("body" if kind is TextKind.BODY else "name")
    return text.replace("\0", " ") if isinstance(text, str) else None


def _plain_topics(topic: object) -> list[object]:
    texts = topic.get("m.text") if isinstance(topic, Mapping) else None
    if not isinstance(texts, list):
        return []
    return [
        text.get("body")
        for text in texts
        if isinstance(text, Mapping) and text.get("mimetype", "text/plain") == "text/plain"
    ]


ADD_ROOMS = """
    INSERT INTO search_rooms (room_nid, indexed_from, indexed_upto)
    SELECT room_nid, position + 1, position
      FROM unnest($1::integer[]) AS new (room_nid), stream
        ON CONFLICT DO NOTHING
"""

SELECT_BEHIND = """
    SELECT room_nid
      FROM search_rooms AS r
     WHERE room_nid = ANY($1::integer[])
       AND ((SELECT max(stream_position) FROM events WHERE events.room_nid = r.room_nid)
            > r.indexed_upto
            OR (SELECT min(stream_position) FROM events WHERE events.room_nid = r.room_nid)
            < r.indexed_from)
"""

LOCK_ROOMS = """
    SELECT FROM search_rooms WHERE room_nid = ANY($1::integer[]) ORDER BY room_nid FOR UPDATE
"""


def _select_batch(comparison: str, bound: str, order: str) -> str:
    return f"""
        SELECT e.room_nid, e.stream_position, e.event_nid, e.json
          FROM search_rooms AS r
         CROSS JOIN LATERAL (
               SELECT room_nid, stream_position, event_nid,
                      CASE WHEN redacted_by IS NULL AND type_nid = ANY($3::integer[])
                           THEN json END AS json
                 FROM events
                WHERE events.room_nid = r.room_nid
                  AND events.stream_position {comparison} r.{bound}
                ORDER BY events.stream_position {order}
                LIMIT $2) AS e
         WHERE r.room_nid = ANY($1::integer[])
    """  # noqa: S608 - constants of ours


SELECT_NEWER = _select_batch(">", "indexed_upto", "ASC")
SELECT_OLDER = _select_batch("<", "indexed_from", "DESC")

INSERT_WORDS = """
    INSERT INTO search_index (event_nid, stream_position, room_nid, kind, words)
    SELECT event_nid, position, room_nid, kind,
           to_tsvector('simple', text) || array_to_tsvector(ARRAY['room ' || room_nid])
      FROM unnest($1::bigint[], $2::bigint[], $3::integer[], $4::smallint[], $5::text[])
        AS new (event_nid, position, room_nid, kind, text)
        ON CONFLICT DO NOTHING
"""

EXTEND = """
    UPDATE search_rooms AS r
       SET indexed_from = LEAST(r.indexed_from, reached.lowest),
           indexed_upto = GREATEST(r.indexed_upto, reached.highest)
      FROM unnest($1::integer[], $2::bigint[], $3::bigint[])
        AS reached (room_nid, lowest, highest)
     WHERE r.room_nid = reached.room_nid
"""


async def catch_up(db: Pool, room_nids: Sequence[int], type_nids: Mapping[str, int]) -> bool:
    """Bring the index of rooms up to date, as far as a search may wait; whether it now is.

    `type_nids` are the numbers of the types in `KIND_OF_TYPE`, as far as they have one.
    """
    await db.execute(ADD_ROOMS, room_nids)
    for _ in range(MOST_BATCHES):
        behind = [row[0] for row in await db.fetch(SELECT_BEHIND, room_nids)]
        if not behind:
            return True
        share = max(SMALLEST_SHARE, BATCH // len(behind))
        chosen = behind[: BATCH // SMALLEST_SHARE]
        async with db.transaction() as transaction:
            await transaction.execute(LOCK_ROOMS, chosen)
            rows = await transaction.fetch(SELECT_NEWER, chosen, share, list(type_nids.values()))
            if len(rows) < BATCH:
                types = list(type_nids.values())
                rows += await transaction.fetch(SELECT_OLDER, chosen, share, types)
            await _add(transaction, rows)
    return False


async def _add(db: Database, rows: Sequence[tuple[int, int, int, bytes | None]]) -> None:
    """Index events, and note how far the index of their rooms reaches now."""
    lowest: dict[int, int] = {}
    highest: dict[int, int] = {}
    words = []
    for room_nid, position, event_nid, encoded in rows:
        lowest[room_nid] = min(position, lowest.get(room_nid, position))
        highest[room_nid] = max(position, highest.get(room_nid, position))
        if encoded is None:
            continue
        event = decode(encoded)
        text = find_text(event["type"], event["content"])
        if text is not None:
            words.append((event_nid, position, room_nid, KIND_OF_TYPE[event["type"]], text))
    if words:
        await db.execute(INSERT_WORDS, *map(list, zip(*words, strict=True)))
    if lowest:
        await db.execute(
            EXTEND, list(lowest), list(lowest.values()), [highest[nid] for nid in lowest]
        )


@dataclass(frozen=True, slots=True)
class Terms:
    """What is searched for: PostgreSQL's query, and the words for which a result is found."""

    query: str
    words: list[str]


TERM = re.compile(r'(-?)(?:"([^"]*)"|(\S+))')


def parse_terms(text: str) -> Terms:
    """Words, parts of words at their beginning, "phrases", and -unwanted words of a search term.

    All wanted ones must be there.
    """
    parts, words = [], []
    for minus, phrase, word in TERM.findall(text.replace("\0", " ")):
        if not any(character.isalnum() for character in phrase or word):
            continue
        quoted = (phrase or word).replace("\\", " ").replace("'", "''")
        parts.append(f"{'!' if minus else ''}'{quoted}'{'' if phrase else ':*'}")
        if not minus:
            words += re.findall(r"\w+", phrase or word)
    return Terms(" & ".join(parts), list(dict.fromkeys(words)))


@dataclass(frozen=True, slots=True)
class TextQuery:
    """Which texts are searched; `before` is a stream position, `skip` a number of results."""

    terms: Terms
    room_nids: Sequence[int]
    kinds: Sequence[TextKind]
    criteria: Criteria | None
    by_rank: bool
    before: int
    skip: int = 0


@dataclass(frozen=True, slots=True)
class Hit:
    """An event that was found, its position, and how well it matches."""

    event_nid: int
    position: int
    rank: float


MATCH = """
         WHERE s.words @@ CASE WHEN $2::text = '' THEN to_tsquery('simple', $1)
                               ELSE to_tsquery('simple', $1) && $2::tsquery END
           AND s.room_nid = ANY($3::integer[])
           AND s.kind = ANY($4::smallint[])
           AND s.stream_position < $5
"""

CHOOSE = """
           AND ($8::text[] IS NULL OR e.type_nid = ANY(ARRAY(
               SELECT type_nid FROM event_types WHERE type LIKE ANY($8))))
           AND ($9::text[] = '{}' OR e.type_nid <> ALL(ARRAY(
               SELECT type_nid FROM event_types WHERE type LIKE ANY($9))))
           AND ($10::integer[] IS NULL OR e.sender_nid = ANY($10))
           AND e.sender_nid <> ALL($11::integer[])
           AND (NOT $12::boolean OR position('"url":'::bytea IN e.json) > 0)
"""

ALL_MATCHES = f"search_index AS s {MATCH}"
CHOSEN_MATCHES = f"search_index AS s JOIN events AS e USING (event_nid) {MATCH} {CHOOSE}"


def _count(matches: str) -> str:
    return f"SELECT count(*) FROM (SELECT FROM {matches} OFFSET $6 LIMIT $7) AS found"  # noqa: S608


def _select_latest(matches: str) -> str:
    return f"""
        SELECT event_nid, stream_position, ts_rank(words, to_tsquery('simple', $1))
          FROM (SELECT s.event_nid, s.stream_position, s.words
                  FROM {matches}
                 ORDER BY s.stream_position DESC
                OFFSET $6
                 LIMIT $7) AS latest
         ORDER BY stream_position DESC
    """  # noqa: S608


def _select_best(matches: str) -> str:
    return f"""
        SELECT event_nid, stream_position, ts_rank(words, to_tsquery('simple', $1)) AS rank
          FROM (SELECT s.event_nid, s.stream_position, s.words
                  FROM {matches}
                 ORDER BY s.stream_position DESC
                 LIMIT {MOST_RANKED}) AS latest
         ORDER BY rank DESC, stream_position DESC
        OFFSET $6
         LIMIT $7
    """  # noqa: S608


COUNT, COUNT_CHOSEN = _count(ALL_MATCHES), _count(CHOSEN_MATCHES)
SELECT_LATEST, SELECT_LATEST_CHOSEN = _select_latest(ALL_MATCHES), _select_latest(CHOSEN_MATCHES)
SELECT_BEST, SELECT_BEST_CHOSEN = _select_best(ALL_MATCHES), _select_best(CHOSEN_MATCHES)


def _arguments(query: TextQuery, before: int, skip: int, limit: int) -> list[Any]:
    few = len(query.room_nids) <= MOST_ROOM_WORDS
    rooms = " | ".join(f"'room {nid}'" for nid in query.room_nids) if few else ""
    arguments = [
        query.terms.query,
        rooms,
        list(query.room_nids),
        list(query.kinds),
        before,
        skip,
        limit,
    ]
    criteria = query.criteria
    if criteria is not None:
        arguments += [
            criteria.types,
            criteria.not_types,
            criteria.senders,
            criteria.not_senders,
            criteria.mentions_url,
        ]
    return arguments


async def search_texts(db: Database, query: TextQuery, limit: int) -> list[Hit]:
    """The best or the latest matches, at most `limit`; the best of the latest `MOST_RANKED`."""
    if query.criteria is None:
        sql = SELECT_BEST if query.by_rank else SELECT_LATEST
    else:
        sql = SELECT_BEST_CHOSEN if query.by_rank else SELECT_LATEST_CHOSEN
    rows = await db.fetch(sql, *_arguments(query, query.before, query.skip, limit))
    return [Hit(*row) for row in rows]


async def count_texts(db: Database, query: TextQuery, before: int) -> int:
    """How many matches there are before a stream position; large numbers are cut short."""
    sql = COUNT if query.criteria is None else COUNT_CHOSEN
    return int(await db.fetchval(sql, *_arguments(query, before, 0, MOST_COUNTED)))


SELECT_WITH_PLACE = """
    SELECT room_nid FROM current_state WHERE place_nid = $2 AND room_nid = ANY($1::integer[])
"""


async def rooms_with_place(db: Database, room_nids: Iterable[int], place_nid: int) -> set[int]:
    """Those of the rooms whose state has something at a place."""
    return {nid for (nid,) in await db.fetch(SELECT_WITH_PLACE, list(room_nids), place_nid)}


SELECT_CREATES = """
    SELECT e.json
      FROM current_state AS s
      JOIN events AS e USING (event_nid)
     WHERE s.place_nid = $2 AND s.room_nid = ANY($1::integer[])
"""

SELECT_NIDS = "SELECT room_nid FROM rooms WHERE room_id = ANY($1::text[])"
LONGEST_LINE = 20


async def with_predecessors(
    db: Database, room_ids: Iterable[str], create_place_nid: int
) -> set[int]:
    """The numbers of rooms and of the rooms that they were upgraded from."""
    found: set[int] = set()
    wanted = list(room_ids)
    for _ in range(LONGEST_LINE):
        fresh = {nid for (nid,) in await db.fetch(SELECT_NIDS, wanted)} - found
        if not fresh:
            break
        found |= fresh
        wanted = []
        for (encoded,) in await db.fetch(SELECT_CREATES, list(fresh), create_place_nid):
            predecessor = decode(encoded)["content"].get("predecessor")
            if isinstance(predecessor, Mapping) and isinstance(predecessor.get("room_id"), str):
                wanted.append(predecessor["room_id"])
    return found
