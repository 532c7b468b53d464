"""Pushers: where users want their notifications sent, and how far that has got.

A pusher goes with the device that set it, and so with its access token.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from federation.protocol.identifiers import UserId
from storage.database import Database, Pool


@dataclass(frozen=True, slots=True)
class Pusher:
    """A pusher as it is set; `json` is what clients see of it."""

    user_nid: int
    device_nid: int | None
    app_id: str
    pushkey: str
    json: bytes
    created_ts: int
    kind: str = "http"
    enabled: bool = True
    device_id: str | None = None
    """The name of the device, in what is read."""


UPSERT = """
    INSERT INTO pushers (user_nid, device_nid, app_id, pushkey, json, created_ts, kind, enabled,
                         set_ts, sent_upto)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $6, (SELECT position FROM stream))
        ON CONFLICT (app_id, pushkey, user_nid)
        DO UPDATE SET device_nid = CASE WHEN $9 THEN pushers.device_nid
                                        ELSE EXCLUDED.device_nid END,
                      json = EXCLUDED.json,
                      kind = EXCLUDED.kind,
                      enabled = EXCLUDED.enabled,
                      set_ts = EXCLUDED.set_ts,
                      failures = 0,
                      sent_upto = CASE WHEN pushers.enabled AND pushers.kind = EXCLUDED.kind
                                       THEN pushers.sent_upto ELSE EXCLUDED.sent_upto END,
                      due_ts = CASE WHEN pushers.due_ts IS NULL OR EXCLUDED.kind = 'email'
                                    THEN pushers.due_ts ELSE 0 END
"""

DELETE_OTHERS = "DELETE FROM pushers WHERE app_id = $1 AND pushkey = $2 AND user_nid <> $3"


async def set_pusher(
    db: Pool, pusher: Pusher, *, keep_others: bool, keep_device: bool = False
) -> None:
    """Add or replace a pusher; those of other users at the same place go unless they are kept.

    A new one, or one that was switched off, begins with what comes from now on. With `keep_device`
    a pusher that exists stays with its device. Of more than `MOST_OF_USER` pushers of a user, each
    of which costs a request for every message, those go that were set longest ago.
    """
    async with db.transaction() as transaction:
        if not keep_others:
            await transaction.execute(DELETE_OTHERS, pusher.app_id, pusher.pushkey, pusher.user_nid)
        await transaction.execute(
            UPSERT,
            pusher.user_nid,
            pusher.device_nid,
            pusher.app_id,
            pusher.pushkey,
            pusher.json,
            pusher.created_ts,
            pusher.kind,
            pusher.enabled,
            keep_device,
        )
        await transaction.execute(DELETE_EXCESS, pusher.user_nid, MOST_OF_USER)


MOST_OF_USER = 100
DELETE_EXCESS = """
    DELETE FROM pushers
     WHERE pusher_nid = ANY(ARRAY(
           SELECT pusher_nid
             FROM pushers
            WHERE user_nid = $1
            ORDER BY set_ts DESC, pusher_nid DESC
           OFFSET $2))
"""

DELETE_PUSHER = "DELETE FROM pushers WHERE user_nid = $1 AND app_id = $2 AND pushkey = $3"


async def delete_pusher(db: Database, user_nid: int, app_id: str, pushkey: str) -> None:
    """Remove a pusher, if it is there."""
    await db.execute(DELETE_PUSHER, user_nid, app_id, pushkey)


DELETE_PUSHERS = "DELETE FROM pushers WHERE user_nid = $1"


async def delete_pushers(db: Database, user_nid: int) -> None:
    """Remove all pushers of a user."""
    await db.execute(DELETE_PUSHERS, user_nid)


DELETE_OF_OTHER_DEVICES = """
    DELETE FROM pushers
     WHERE user_nid = $1 AND kind <> 'email' AND device_nid IS DISTINCT FROM $2
"""


async def delete_pushers_of_other_devices(db: Database, user_nid: int, device_nid: int) -> None:
    """Remove all pushers of a user but those of one device (0 for none) and those by mail."""
    await db.execute(DELETE_OF_OTHER_DEVICES, user_nid, device_nid)


SELECT_PUSHERS = """
    SELECT p.user_nid, p.device_nid, p.app_id, p.pushkey, p.json, p.created_ts, p.kind, p.enabled,
           d.device_id
      FROM pushers AS p
      LEFT JOIN devices AS d USING (device_nid)
     WHERE p.user_nid = $1
     ORDER BY p.created_ts, p.app_id, p.pushkey
"""


async def pushers_of(db: Database, user_nid: int) -> list[Pusher]:
    """The user's pushers, oldest first."""
    return [Pusher(*row) for row in await db.fetch(SELECT_PUSHERS, user_nid)]


SELECT_USERS = "SELECT DISTINCT user_nid FROM pushers"


async def users_with_pushers(db: Database) -> set[int]:
    """The numbers of the users who have a pusher, be it switched on or not."""
    return {user_nid for (user_nid,) in await db.fetch(SELECT_USERS)}


SELECT_MEMBERS = """
    SELECT m.room_nid, m.user_nid
      FROM memberships AS m
     WHERE m.room_nid = ANY($1::integer[]) AND m.membership = 1 AND m.is_local
       AND EXISTS (SELECT FROM pushers AS p WHERE p.user_nid = m.user_nid)
"""


async def members_with_pushers(
    db: Database, room_nids: Iterable[int]
) -> dict[int, tuple[int, ...]]:
    """Those of the rooms' members who have a pusher, be it switched on or not, by room."""
    members: dict[int, list[int]] = {room_nid: [] for room_nid in room_nids}
    for room_nid, user_nid in await db.fetch(SELECT_MEMBERS, list(members)):
        members[room_nid].append(user_nid)
    return {room_nid: tuple(user_nids) for room_nid, user_nids in members.items()}


@dataclass(frozen=True, slots=True)
class PusherKind:
    """That a user has a pusher of a kind, and how far it has got."""

    pusher_nid: int
    user_nid: int
    kind: str
    sent_upto: int


SELECT_KINDS = """
    SELECT p.pusher_nid, p.user_nid, p.kind, p.sent_upto
      FROM pushers AS p
      JOIN accounts AS a USING (user_nid)
     WHERE p.user_nid = ANY($1::integer[]) AND p.enabled AND NOT a.is_locked
"""


async def pushers_of_users(db: Database, user_nids: Iterable[int]) -> list[PusherKind]:
    """The pushers of these users that are switched on."""
    return [PusherKind(*row) for row in await db.fetch(SELECT_KINDS, list(user_nids))]


@dataclass(frozen=True, slots=True)
class PusherProgress:
    """How far a pusher has got; `due_ts` is when to go on, None if it keeps up."""

    sent_upto: int
    told_unread: int
    failures: int
    due_ts: int | None


@dataclass(frozen=True, slots=True)
class ActivePusher:
    """A pusher that is switched on, with all that sending needs."""

    pusher_nid: int
    user_nid: int
    user_id: UserId
    kind: str
    app_id: str
    pushkey: str
    json: bytes
    set_ts: int
    progress: PusherProgress

    def with_progress(self, progress: PusherProgress) -> "ActivePusher":
        """The same pusher elsewhere on its way."""
        return replace(self, progress=progress)


ACTIVE_COLUMNS = """
    p.pusher_nid, p.user_nid, u.user_id, p.kind, p.app_id, p.pushkey, p.json, p.set_ts,
    p.sent_upto, p.told_unread, p.failures, p.due_ts
"""

SELECT_ACTIVE = f"""
    SELECT {ACTIVE_COLUMNS}
      FROM pushers AS p
      JOIN users AS u USING (user_nid)
     WHERE p.pusher_nid = $1 AND p.enabled
"""  # noqa: S608 - constants of ours


async def find_active_pusher(db: Database, pusher_nid: int) -> ActivePusher | None:
    """The pusher, unless it is gone or switched off."""
    row = await db.fetchrow(SELECT_ACTIVE, pusher_nid)
    return None if row is None else ActivePusher(*(*row[:8], PusherProgress(*row[8:])))


SELECT_DUE = """
    SELECT p.pusher_nid, p.user_nid, p.kind, p.sent_upto
      FROM pushers AS p
      JOIN accounts AS a USING (user_nid)
     WHERE p.due_ts <= $1 AND p.enabled AND NOT a.is_locked AND p.pusher_nid <> ALL($3::integer[])
     ORDER BY p.due_ts
     LIMIT $2
"""


async def due_pushers(
    db: Database, now: int, limit: int, without: Iterable[int]
) -> list[PusherKind]:
    """Pushers that are to go on by now, those that wait longest first, but for some."""
    return [PusherKind(*row) for row in await db.fetch(SELECT_DUE, now, limit, list(without))]


SELECT_NEXT_DUE = """
    SELECT min(p.due_ts)
      FROM pushers AS p
      JOIN accounts AS a USING (user_nid)
     WHERE p.due_ts IS NOT NULL AND p.enabled AND NOT a.is_locked
       AND p.pusher_nid <> ALL($1::integer[])
"""


async def next_due_ts(db: Database, without: Iterable[int]) -> int | None:
    """When the next pusher is to go on, but for some; None if all others keep up."""
    due_ts: int | None = await db.fetchval(SELECT_NEXT_DUE, list(without))
    return due_ts


SELECT_BEHIND = "SELECT pusher_nid FROM pushers WHERE due_ts IS NOT NULL"


async def pushers_behind(db: Database) -> set[int]:
    """The pushers that do not keep up."""
    return {pusher_nid for (pusher_nid,) in await db.fetch(SELECT_BEHIND)}


UPDATE_PROGRESS = """
    UPDATE pushers AS p
       SET sent_upto = new.sent_upto,
           told_unread = new.told_unread,
           failures = new.failures,
           due_ts = new.due_ts
      FROM unnest($1::integer[], $2::bigint[], $3::integer[], $4::integer[], $5::bigint[])
        AS new (pusher_nid, sent_upto, told_unread, failures, due_ts)
     WHERE p.pusher_nid = new.pusher_nid
"""


async def note_progress(db: Database, progress: Sequence[tuple[int, PusherProgress]]) -> None:
    """Note how far pushers have got."""
    rows = [
        (nid, one.sent_upto, one.told_unread, one.failures, one.due_ts) for nid, one in progress
    ]
    await db.execute(UPDATE_PROGRESS, *map(list, zip(*rows, strict=True)))


DELETE_BY_NID = "DELETE FROM pushers WHERE pusher_nid = $1"


async def delete_pusher_by_nid(db: Database, pusher_nid: int) -> None:
    """Remove a pusher."""
    await db.execute(DELETE_BY_NID, pusher_nid)
