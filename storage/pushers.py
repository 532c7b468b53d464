"""Pushers: where users want their notifications sent.

A pusher goes with the device that set it, and so with its access token.
"""

from dataclasses import dataclass

from storage.database import Database, Pool


@dataclass(frozen=True, slots=True)
class Pusher:
    """A pusher; `json` is what clients see of it."""

    user_nid: int
    device_nid: int | None
    app_id: str
    pushkey: str
    json: bytes
    created_ts: int


UPSERT = """
    INSERT INTO pushers (user_nid, device_nid, app_id, pushkey, json, created_ts)
    VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (app_id, pushkey, user_nid)
        DO UPDATE SET device_nid = EXCLUDED.device_nid, json = EXCLUDED.json
"""

DELETE_OTHERS = "DELETE FROM pushers WHERE app_id = $1 AND pushkey = $2 AND user_nid <> $3"


async def set_pusher(db: Pool, pusher: Pusher, *, keep_others: bool) -> None:
    """Add or replace a pusher; those of other users at the same place go unless they are kept."""
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
        )


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
     WHERE user_nid = $1 AND device_nid IS DISTINCT FROM $2
"""


async def delete_pushers_of_other_devices(db: Database, user_nid: int, device_nid: int) -> None:
    """Remove all pushers of a user but those of one device (0 for none)."""
    await db.execute(DELETE_OF_OTHER_DEVICES, user_nid, device_nid)


SELECT_PUSHERS = """
    SELECT user_nid, device_nid, app_id, pushkey, json, created_ts
      FROM pushers
     WHERE user_nid = $1
     ORDER BY created_ts, app_id, pushkey
"""


async def pushers_of(db: Database, user_nid: int) -> list[Pusher]:
    """The user's pushers, oldest first."""
    return [Pusher(*row) for row in await db.fetch(SELECT_PUSHERS, user_nid)]
