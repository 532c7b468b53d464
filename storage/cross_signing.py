"""Cross-signing keys of our users, and the signatures that they have uploaded."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from federation.protocol.device_keys import KeySignature
from federation.protocol.identifiers import UserId
from storage.changes import Change, DeviceListChanged
from storage.committer import Write
from storage.database import Database

# Signatures for a key that is replaced go with it.
DELETE_SIGNATURES = """
    DELETE FROM key_signatures AS s
     USING unnest($1::integer[], $2::text[], $3::text[]) AS new (user_nid, usage, public_key)
      JOIN cross_signing_keys AS old USING (user_nid, usage)
     WHERE old.public_key <> new.public_key
       AND s.user_nid = old.user_nid
       AND s.key_id = old.public_key
"""

UPSERT_KEYS = """
    INSERT INTO cross_signing_keys (user_nid, usage, public_key, key)
    SELECT * FROM unnest($1::integer[], $2::text[], $3::text[], $4::bytea[])
    ON CONFLICT (user_nid, usage) DO UPDATE
       SET public_key = excluded.public_key, key = excluded.key
"""


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A user's key for a usage; `key` is JSON."""

    user_nid: int
    usage: str
    public_key: str
    key: bytes


@dataclass(frozen=True, slots=True)
class SetCrossSigningKeys(Write):
    """A user has other cross-signing keys."""

    order: ClassVar[int] = 20

    keys: Sequence[StoredKey]

    @property
    def positions(self) -> int:
        """None: who is told is told by a write of its own."""
        return 0

    @classmethod
    async def store(cls, db: Database, placed: Sequence[tuple["SetCrossSigningKeys", int]]) -> None:
        """Write the last key of each user and usage."""
        last = {(key.user_nid, key.usage): key for write, _ in placed for key in write.keys}
        user_nids = [key.user_nid for key in last.values()]
        usages = [key.usage for key in last.values()]
        public_keys = [key.public_key for key in last.values()]
        await db.execute(DELETE_SIGNATURES, user_nids, usages, public_keys)
        encoded = [key.key for key in last.values()]
        await db.execute(UPSERT_KEYS, user_nids, usages, public_keys, encoded)


SELECT_KEYS = """
    SELECT user_nid, usage, public_key, key
      FROM cross_signing_keys
     WHERE user_nid = ANY($1::integer[])
"""


async def cross_signing_keys(db: Database, user_nids: Iterable[int]) -> list[StoredKey]:
    """The keys of users of ours."""
    return [StoredKey(*row) for row in await db.fetch(SELECT_KEYS, list(user_nids))]


SELECT_IS_KEY = """
    SELECT EXISTS (SELECT FROM cross_signing_keys WHERE user_nid = $1 AND public_key = $2)
"""


async def is_cross_signing_key(db: Database, user_nid: int, public_key: str) -> bool:
    """Whether this is the public key of one of a user's cross-signing keys."""
    return bool(await db.fetchval(SELECT_IS_KEY, user_nid, public_key))


UPSERT_SIGNATURES = """
    INSERT INTO key_signatures (
           user_nid, key_id, signer_nid, signer_key_id, signature, stream_position)
    SELECT * FROM unnest($1::integer[], $2::text[], $3::integer[], $4::text[], $5::text[],
                         $6::bigint[])
    ON CONFLICT (user_nid, key_id, signer_nid, signer_key_id) DO UPDATE
       SET signature = excluded.signature, stream_position = excluded.stream_position
"""


@dataclass(frozen=True, slots=True)
class AddSignatures(Write):
    """A user of ours has signed a key: of a device, by its ID, or one by its public key."""

    order: ClassVar[int] = 30

    user_nid: int
    user_id: UserId
    key_id: str
    signer_nid: int
    signatures: Sequence[KeySignature]

    @classmethod
    async def store(cls, db: Database, placed: Sequence[tuple["AddSignatures", int]]) -> None:
        """Write the last signature by each key."""
        last = {
            (write.user_nid, write.key_id, write.signer_nid, one.signer_key_id): (
                one.signature,
                position,
            )
            for write, position in placed
            for one in write.signatures
        }
        keys, values = map(list, zip(*last, strict=True)), zip(*last.values(), strict=True)
        await db.execute(UPSERT_SIGNATURES, *keys, *map(list, values))

    def changes(self, position: int) -> Sequence[Change]:
        """Nobody but the signer may know of a signature for somebody else's key."""
        if self.signer_nid == self.user_nid:
            return ()
        return (DeviceListChanged(position, self.user_nid, self.user_id, (), self.signer_nid),)


SELECT_SIGNATURES = """
    SELECT s.user_nid, s.key_id, u.user_id, s.signer_key_id, s.signature
      FROM key_signatures AS s
      JOIN users AS u ON u.user_nid = s.signer_nid
     WHERE s.user_nid = ANY($1::integer[])
       AND (s.signer_nid = s.user_nid OR s.signer_nid = $2)
"""

Signatures = dict[tuple[int, str], list[KeySignature]]
"""Signatures by the number of the user whose key it is, and by the key's or the device's ID."""


async def signatures_for(db: Database, user_nids: Iterable[int], viewer_nid: int) -> Signatures:
    """The signatures for keys of users that a viewer may see: the users' own, and the viewer's.

    Source: client-server API, "Key and signature security".
    """
    found: Signatures = {}
    for user_nid, key_id, *signature in await db.fetch(
        SELECT_SIGNATURES, list(user_nids), viewer_nid
    ):
        found.setdefault((user_nid, key_id), []).append(KeySignature(*signature))
    return found
