"""Signing keys: those of other servers, and those that this server has used."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from federation.protocol.identifiers import KeyId, ServerName
from federation.protocol.server_keys import VerifyKey
from storage.database import Database

SELECT_KEYS = """
    SELECT k.server_name, k.key_id, k.verify_key, k.valid_until_ts, k.expired_ts,
           k.fetched_ts, k.signed_json
      FROM unnest($1::text[], $2::text[]) AS wanted (server_name, key_id)
      JOIN server_keys k USING (server_name, key_id)
"""

SELECT_ALL_OF = """
    SELECT server_name, key_id, verify_key, valid_until_ts, expired_ts, fetched_ts, signed_json
      FROM server_keys
     WHERE server_name = ANY ($1::text[])
"""

UPSERT_KEYS = """
    INSERT INTO server_keys AS known
                (server_name, key_id, verify_key, valid_until_ts, expired_ts, fetched_ts,
                 signed_json)
    SELECT *
      FROM unnest($1::text[], $2::text[], $3::bytea[], $4::bigint[], $5::bigint[], $6::bigint[],
                  $7::bytea[])
        ON CONFLICT (server_name, key_id) DO UPDATE
       SET verify_key = EXCLUDED.verify_key,
           valid_until_ts = EXCLUDED.valid_until_ts,
           expired_ts = EXCLUDED.expired_ts,
           fetched_ts = EXCLUDED.fetched_ts,
           signed_json = EXCLUDED.signed_json
     WHERE known.valid_until_ts <= EXCLUDED.valid_until_ts
"""

SELECT_OWN = """
    SELECT key_id, verify_key, expired_ts
      FROM own_keys
     ORDER BY expired_ts DESC NULLS FIRST, key_id
"""

UPSERT_OWN = """
    INSERT INTO own_keys (key_id, verify_key)
    SELECT * FROM unnest($1::text[], $2::bytea[])
        ON CONFLICT (key_id) DO UPDATE
       SET verify_key = EXCLUDED.verify_key, expired_ts = NULL
"""

EXPIRE_OWN = """
    UPDATE own_keys SET expired_ts = $2 WHERE expired_ts IS NULL AND key_id <> ALL ($1::text[])
"""


@dataclass(frozen=True, slots=True)
class ServerKeyRow:
    """A key of another server, with the object that it was last seen in."""

    key: VerifyKey
    fetched_ts: int
    signed_json: bytes


@dataclass(frozen=True, slots=True)
class OwnKeyRow:
    """A key that this server uses, or used until `expired_ts`."""

    key_id: KeyId
    verify_key: bytes
    expired_ts: int | None


async def server_keys(
    db: Database, wanted: Mapping[ServerName, Sequence[KeyId]]
) -> list[ServerKeyRow]:
    """Those of the wanted keys that are kept; an empty list of IDs stands for all of a server."""
    named = [(server, key_id) for server, key_ids in wanted.items() for key_id in key_ids]
    whole = [server for server, key_ids in wanted.items() if not key_ids]
    rows = []
    if named:
        rows += await db.fetch(SELECT_KEYS, *map(list, zip(*named, strict=True)))
    if whole:
        rows += await db.fetch(SELECT_ALL_OF, whole)
    return [ServerKeyRow(VerifyKey(*row[:5]), row[5], row[6]) for row in rows]


async def keep_server_keys(db: Database, keys: Sequence[ServerKeyRow]) -> None:
    """Keep keys; the same key is replaced, unless what is known of it is valid for longer."""
    # No statement may touch a row twice; in order, two of them cannot lock each other.
    by_place = {(row.key.server_name, row.key.key_id): row for row in keys}
    rows = [by_place[place] for place in sorted(by_place)]
    await db.execute(
        UPSERT_KEYS,
        [row.key.server_name for row in rows],
        [row.key.key_id for row in rows],
        [row.key.key for row in rows],
        [row.key.valid_until_ts for row in rows],
        [row.key.expired_ts for row in rows],
        [row.fetched_ts for row in rows],
        [row.signed_json for row in rows],
    )


async def own_keys(db: Database) -> list[OwnKeyRow]:
    """The keys of this server: those in use, then the others, last used first."""
    return [OwnKeyRow(*row) for row in await db.fetch(SELECT_OWN)]


async def use_own_keys(db: Database, keys: Mapping[KeyId, bytes], now_ts: int) -> None:
    """Remember that these, and no other keys, are in use from now on; best in a transaction."""
    await db.execute(UPSERT_OWN, list(keys), list(keys.values()))
    await db.execute(EXPIRE_OWN, list(keys), now_ts)


async def remember_own_keys(db: Database, keys: Mapping[KeyId, bytes]) -> None:
    """Remember that these keys are in use, whatever others are."""
    await db.execute(UPSERT_OWN, list(keys), list(keys.values()))
