"""Application services: how far each has been told of the stream, and what it is told.

Nothing is stored for an event and a service. A service has been told everything up to a position;
what comes after follows from the stream and from who was in which room then. Only how far a
transaction reaches is noted before it is sent, so that it can be sent again as it was.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from federation.protocol.canonical_json import decode
from storage.changes import Membership
from storage.database import Database, Pool
from storage.duties import TELLING


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a service has been told: everything up to `position`.

    `txn_id` is the number of the last transaction that was begun, and `reaches` how far it goes
    if it is under way, otherwise None.
    """

    position: int
    txn_id: int = 0
    reaches: int | None = None


FORGOTTEN = -1
"""The position of a service that was taken out of the configuration."""

FORGET_OTHERS = f"""
    UPDATE appservices
       SET position = {FORGOTTEN}, reaches = NULL
     WHERE service_id <> ALL($1::text[])
"""  # noqa: S608 - a constant of ours


async def forget_other_services(db: Database, service_ids: Iterable[str]) -> None:
    """Forget how far all other services have been told; their transactions go on being counted."""
    await db.execute(FORGET_OTHERS, list(service_ids))


ADD_SERVICES = f"""
    INSERT INTO appservices (service_id, position)
    SELECT unnest($1::text[]), (SELECT position FROM stream)
    ON CONFLICT (service_id) DO UPDATE
       SET position = excluded.position
     WHERE appservices.position = {FORGOTTEN}
"""  # noqa: S608 - a constant of ours

SELECT_PROGRESS = """
    SELECT service_id, position, txn_id, reaches
      FROM appservices
     WHERE service_id = ANY($1::text[])
"""


async def read_progress(db: Database, service_ids: Iterable[str]) -> dict[str, Progress]:
    """How far each of those services has been told that are known."""
    rows = await db.fetch(SELECT_PROGRESS, list(service_ids))
    return {service_id: Progress(*progress) for service_id, *progress in rows}


async def begin_to_tell(db: Database, service_ids: Iterable[str]) -> dict[str, Progress]:
    """How far each of the services has been told.

    New ones, and those that were forgotten, hear of what comes from now on.
    """
    wanted = list(service_ids)
    await db.execute(ADD_SERVICES, wanted)
    return await read_progress(db, wanted)


SET_PROGRESS = f"""
    UPDATE appservices
       SET position = $3, txn_id = $4, reaches = $5
     WHERE service_id = $2
       AND EXISTS (SELECT FROM duties WHERE name = '{TELLING}' AND holder = $1)
 RETURNING true
"""  # noqa: S608 - a constant of ours


async def begin_transaction(db: Database, number: int, service_id: str, new: Progress) -> bool:
    """Note a transaction before it is sent; False if this process is not to deliver any more."""
    return bool(
        await db.fetchval(SET_PROGRESS, number, service_id, new.position, new.txn_id, new.reaches)
    )


async def keep_progress(pool: Pool, number: int, service_id: str, new: Progress) -> bool:
    """Note how far a service has been told, if this process is the one that delivers.

    The disk is not waited for: what is lost with the machine's power is sent again as it was.
    """
    async with pool.transaction() as db:
        await db.execute("SET LOCAL synchronous_commit TO off")
        return await begin_transaction(db, number, service_id, new)


SELECT_PAGE_END = """
    SELECT stream_position
      FROM events
     WHERE stream_position > $1 AND stream_position <= $2
     ORDER BY stream_position
    OFFSET $3 - 1 LIMIT 1
"""


async def page_end(db: Database, since: int, upto: int, events: int) -> int:
    """How far the next `events` events after a position go, at most to `upto`."""
    end: int | None = await db.fetchval(SELECT_PAGE_END, since, upto, events)
    return upto if end is None else end


@dataclass(frozen=True, slots=True)
class LocalMember:
    """A membership that a user of this server has of a room, since a position."""

    room_nid: int
    user_nid: int
    user_id: str
    is_joined: bool
    since: int


SELECT_LOCAL_MEMBERS = """
    SELECT m.room_nid, m.user_nid, u.user_id, m.membership = 1, m.stream_position
      FROM memberships AS m
      JOIN users AS u USING (user_nid)
     WHERE m.room_nid = ANY($1::integer[]) AND m.is_local
"""


async def local_memberships(db: Database, room_nids: Iterable[int]) -> list[LocalMember]:
    """The memberships that users of this server have of rooms, of whatever kind."""
    return [LocalMember(*row) for row in await db.fetch(SELECT_LOCAL_MEMBERS, list(room_nids))]


# The planner has to look up one place after another by its index, not read whole rooms.
SELECT_MEMBER_EVENTS_AT = """
    SELECT wanted.room_nid, wanted.user_nid, e.json
      FROM unnest($1::integer[], $2::integer[]) AS wanted (room_nid, user_nid)
      JOIN users AS u USING (user_nid)
      JOIN event_types AS t ON t.type = 'm.room.member'
      JOIN state_places AS p ON p.type_nid = t.type_nid AND p.state_key = u.user_id
     CROSS JOIN LATERAL (
           SELECT json
             FROM events
            WHERE events.room_nid = wanted.room_nid AND events.place_nid = p.place_nid
              AND stream_position <= $3 AND standing = 0
            ORDER BY stream_position DESC
            LIMIT 1) AS e
"""


async def joined_at(
    db: Database, pairs: Sequence[tuple[int, int]], position: int
) -> set[tuple[int, int]]:
    """Those of the pairs of room and user in which the user was in the room at a position."""
    rooms, users = zip(*pairs, strict=True)
    rows = await db.fetch(SELECT_MEMBER_EVENTS_AT, rooms, users, position)
    return {
        (room_nid, user_nid)
        for room_nid, user_nid, encoded in rows
        if decode(encoded)["content"].get("membership") == Membership.JOIN.word
    }


SELECT_ALIASES = """
    SELECT r.room_nid, a.alias
      FROM rooms AS r
      JOIN room_aliases AS a USING (room_id)
     WHERE r.room_nid = ANY($1::integer[])
"""


async def aliases_of_rooms(db: Database, room_nids: Iterable[int]) -> dict[int, list[str]]:
    """The aliases here of those of the rooms that have any."""
    found: dict[int, list[str]] = {}
    for room_nid, alias in await db.fetch(SELECT_ALIASES, list(room_nids)):
        found.setdefault(room_nid, []).append(alias)
    return found


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A membership of a room that is held elsewhere, and what is known of that room (JSON)."""

    event_nid: int
    stripped_state: bytes | None


SELECT_ELSEWHERE = """
    SELECT m.room_nid, m.user_nid, m.event_nid, m.stripped_state
      FROM unnest($1::integer[], $2::integer[]) AS wanted (room_nid, user_nid)
      JOIN memberships AS m USING (room_nid, user_nid)
"""


async def memberships_elsewhere(
    db: Database, pairs: Sequence[tuple[int, int]]
) -> dict[tuple[int, int], Elsewhere]:
    """The memberships of pairs of room and user."""
    rooms, users = zip(*pairs, strict=True)
    rows = await db.fetch(SELECT_ELSEWHERE, rooms, users)
    return {(room, user): Elsewhere(*rest) for room, user, *rest in rows}


@dataclass(frozen=True, slots=True)
class WaitingMessage:
    """A message (JSON) that waits for a device."""

    position: int
    user_id: str
    device_id: str
    message: bytes


SELECT_MESSAGES = """
    SELECT m.stream_position, u.user_id, d.device_id, m.message
      FROM devices AS d
      JOIN users AS u USING (user_nid)
      JOIN to_device_messages AS m USING (device_nid)
     WHERE d.user_nid = ANY($1::integer[])
       AND m.stream_position > $2 AND m.stream_position <= $3
     ORDER BY m.stream_position
"""


async def waiting_messages(
    db: Database, user_nids: Iterable[int], since: int, upto: int
) -> list[WaitingMessage]:
    """The messages for users' devices that came after `since`, up to `upto`, in order."""
    rows = await db.fetch(SELECT_MESSAGES, list(user_nids), since, upto)
    return [WaitingMessage(*row) for row in rows]


DELETE_MESSAGES = """
    DELETE FROM to_device_messages AS m
     USING devices AS d
     WHERE d.device_nid = m.device_nid
       AND d.user_nid = ANY($1::integer[])
       AND m.stream_position > $2 AND m.stream_position <= $3
"""


async def delete_delivered(db: Database, user_nids: Iterable[int], since: int, upto: int) -> None:
    """Delete the messages for users' devices that came after `since`, up to `upto`."""
    await db.execute(DELETE_MESSAGES, list(user_nids), since, upto)


@dataclass(frozen=True, slots=True)
class KeysLeft:
    """What a device has left of one-time keys, and whose fallback keys are unused."""

    user_id: str
    device_id: str
    one_time_keys: Mapping[str, int]
    unused_fallback_keys: Sequence[str]


SELECT_KEYS = """
    SELECT u.user_id, d.device_id, one_time.algorithms, one_time.counts, fallback.unused
      FROM users AS u
      JOIN devices AS d USING (user_nid)
     CROSS JOIN LATERAL (
           SELECT array_agg(c.algorithm) AS algorithms, array_agg(c.keys) AS counts
             FROM (SELECT algorithm, count(*) AS keys
                     FROM one_time_keys
                    WHERE one_time_keys.device_nid = d.device_nid
                    GROUP BY algorithm) AS c) AS one_time
     CROSS JOIN LATERAL (
           SELECT array_agg(f.algorithm ORDER BY f.algorithm) AS unused
             FROM fallback_keys AS f
            WHERE f.device_nid = d.device_nid AND NOT f.is_used) AS fallback
     WHERE u.user_id = ANY($1::text[])
"""


async def keys_left(db: Database, user_ids: Iterable[str]) -> list[KeysLeft]:
    """What all devices of users of ours have left."""
    return [
        KeysLeft(user, device, dict(zip(algorithms or (), counts or (), strict=True)), unused or ())
        for user, device, algorithms, counts, unused in await db.fetch(SELECT_KEYS, list(user_ids))
    ]


LIST_ROOM = """
    INSERT INTO appservice_rooms (service_id, network_id, room_nid) VALUES ($1, $2, $3)
    ON CONFLICT DO NOTHING
"""
UNLIST_ROOM = """
    DELETE FROM appservice_rooms WHERE service_id = $1 AND network_id = $2 AND room_nid = $3
"""


async def set_listed(
    db: Database, service_id: str, network_id: str, room_nid: int, *, listed: bool
) -> None:
    """Put a room into the directory that a service has for a network, or take it out."""
    await db.execute(LIST_ROOM if listed else UNLIST_ROOM, service_id, network_id, room_nid)
