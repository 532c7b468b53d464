"""One-time keys of our users' devices, each given away once, and the fallback keys behind them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from federation.protocol.device_keys import OneTimeKey
from storage.database import Database, Pool

MAX_STORED = 5_000
"""One-time keys that a device may have."""


class KeyDiffers(Exception):
    """A one-time key of this ID is there already, and it is another one."""

    def __init__(self, algorithm: str, key_id: str, stored: bytes, offered: bytes) -> None:
        super().__init__(f"{algorithm}:{key_id}")
        self.full_id = f"{algorithm}:{key_id}"
        self.stored = stored
        self.offered = offered


class TooManyKeys(Exception):
    """The device would have more one-time keys than it may."""


LOCK_DEVICE = "SELECT device_nid FROM devices WHERE device_nid = $1 FOR NO KEY UPDATE"

INSERT_KEYS = """
    INSERT INTO one_time_keys (device_nid, algorithm, key_id, key)
    SELECT $1, new.algorithm, new.key_id, new.key
      FROM unnest($2::text[], $3::text[], $4::bytea[]) AS new (algorithm, key_id, key)
    ON CONFLICT DO NOTHING
"""

SELECT_DIFFERENT = """
    SELECT algorithm, key_id, old.key, new.key
      FROM unnest($2::text[], $3::text[], $4::bytea[]) AS new (algorithm, key_id, key)
      JOIN one_time_keys AS old USING (algorithm, key_id)
     WHERE old.device_nid = $1 AND old.key <> new.key
     LIMIT 1
"""

UPSERT_FALLBACK = """
    INSERT INTO fallback_keys AS old (device_nid, algorithm, key_id, key)
    SELECT $1, new.algorithm, new.key_id, new.key
      FROM unnest($2::text[], $3::text[], $4::bytea[]) AS new (algorithm, key_id, key)
    ON CONFLICT (device_nid, algorithm) DO UPDATE
       SET key_id = excluded.key_id, key = excluded.key, is_used = false
     WHERE old.key_id <> excluded.key_id OR old.key <> excluded.key
"""

COUNT_STORED = "SELECT count(*) FROM one_time_keys WHERE device_nid = $1"


async def add_one_time_keys(
    pool: Pool, device_nid: int, keys: Sequence[OneTimeKey], fallback: Sequence[OneTimeKey]
) -> None:
    """Keep new keys of a device, all or none; those that are there already stay as they are.

    A fallback key takes the place of the former one of its algorithm.
    Raises `KeyDiffers`, `TooManyKeys`.
    """
    async with pool.transaction() as db:
        if await db.fetchval(LOCK_DEVICE, device_nid) is None:
            return
        if keys:
            columns = columns_of(keys)
            await db.execute(INSERT_KEYS, device_nid, *columns)
            different = await db.fetchrow(SELECT_DIFFERENT, device_nid, *columns)
            if different:
                raise KeyDiffers(*different)
            if await db.fetchval(COUNT_STORED, device_nid) > MAX_STORED:
                raise TooManyKeys
        if fallback:
            await db.execute(UPSERT_FALLBACK, device_nid, *columns_of(fallback))


def columns_of(keys: Iterable[OneTimeKey]) -> tuple[list[str], list[str], list[bytes]]:
    """Keys as columns."""
    rows = list(keys)
    return [k.algorithm for k in rows], [k.key_id for k in rows], [k.key for k in rows]


SELECT_COUNTS = """
    SELECT algorithm, count(*)
      FROM one_time_keys
     WHERE device_nid = $1
     GROUP BY algorithm
"""

SELECT_UNUSED = """
    SELECT algorithm FROM fallback_keys WHERE device_nid = $1 AND NOT is_used ORDER BY algorithm
"""


async def count_one_time_keys(db: Database, device_nid: int) -> dict[str, int]:
    """How many keys of each algorithm a device has left."""
    return dict(await db.fetch(SELECT_COUNTS, device_nid))


async def unused_fallback_algorithms(db: Database, device_nid: int) -> list[str]:
    """Of which algorithms a device has a fallback key that was never given away."""
    return [algorithm for (algorithm,) in await db.fetch(SELECT_UNUSED, device_nid)]


@dataclass(frozen=True, slots=True)
class Claim:
    """A key of a device is wanted, of an algorithm."""

    user_id: str
    device_id: str
    algorithm: str


# Whoever claims at the same time passes over the keys that others are about to take.
TAKE_KEYS = """
      WITH wanted AS (
           SELECT w.turn, d.device_nid, w.algorithm
             FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY
               AS w (user_id, device_id, algorithm, turn)
             JOIN users AS u USING (user_id)
             JOIN devices AS d ON d.user_nid = u.user_nid AND d.device_id = w.device_id),
           chosen AS (
           SELECT wanted.turn, first.device_nid, first.algorithm, first.key_id
             FROM wanted
            CROSS JOIN LATERAL (
                  SELECT k.device_nid, k.algorithm, k.key_id
                    FROM one_time_keys AS k
                   WHERE k.device_nid = wanted.device_nid AND k.algorithm = wanted.algorithm
                   ORDER BY k.key_nid
                   LIMIT 1
                     FOR UPDATE SKIP LOCKED) AS first)
    DELETE FROM one_time_keys AS k
     USING chosen
     WHERE k.device_nid = chosen.device_nid
       AND k.algorithm = chosen.algorithm
       AND k.key_id = chosen.key_id
 RETURNING chosen.turn, k.device_nid, k.key_id, k.key
"""

USE_FALLBACK = """
      WITH wanted AS (
           SELECT w.turn, d.device_nid, w.algorithm
             FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[])
               AS w (user_id, device_id, algorithm, turn)
             JOIN users AS u USING (user_id)
             JOIN devices AS d ON d.user_nid = u.user_nid AND d.device_id = w.device_id)
    UPDATE fallback_keys AS k
       SET is_used = true
      FROM wanted
     WHERE k.device_nid = wanted.device_nid AND k.algorithm = wanted.algorithm
 RETURNING wanted.turn, k.device_nid, k.key_id, k.key
"""


@dataclass(frozen=True, slots=True)
class ClaimedKey:
    """A key that was given away."""

    device_nid: int
    key_id: str
    key: bytes


async def claim_keys(pool: Pool, claims: Sequence[Claim]) -> Mapping[Claim, ClaimedKey]:
    """Give away a key for each of the claims, a fallback key where there is no other.

    Of each device the key that was uploaded first. Claims that cannot be met are left out.
    """
    columns = [c.user_id for c in claims], [c.device_id for c in claims]
    algorithms = [c.algorithm for c in claims]
    async with pool.transaction() as db:
        found = await db.fetch(TAKE_KEYS, *columns, algorithms)
        met = {turn - 1: ClaimedKey(*key) for turn, *key in found}
        rest = [(i, c) for i, c in enumerate(claims) if i not in met]
        if rest:
            rows = await db.fetch(
                USE_FALLBACK,
                [c.user_id for _, c in rest],
                [c.device_id for _, c in rest],
                [c.algorithm for _, c in rest],
                [i for i, _ in rest],
            )
            met |= {turn: ClaimedKey(*key) for turn, *key in rows}
    return {claims[i]: key for i, key in met.items()}
