"""This server's signing keys: those in its key file, and those that it used before.

The database remembers every key that the server has run with. One that is no longer in the file
when the server starts has expired: from then on it is published as an old key, so that what it
signed can still be verified. Hence a key may be rotated by `hearth keys rotate` as well as by
hand, and the old one counts until the last moment at which it signed.
"""

from federation.protocol.identifiers import KeyId, ServerName
from federation.protocol.server_keys import OwnKeys, VerifyKey
from federation.protocol.signatures import SigningKey
from storage.database import Database, Pool
from storage.server_keys import own_keys, use_own_keys


async def begin_to_use(
    db: Pool, server_name: ServerName, keys: tuple[SigningKey, ...], now_ts: int
) -> OwnKeys:
    """The server's keys, old ones too, when it starts with these; the first one signs."""
    async with db.transaction() as transaction:
        await use_own_keys(transaction, public_keys(keys), now_ts)
        return OwnKeys(server_name, keys, await old_keys(transaction, server_name))


async def old_keys(db: Database, server_name: ServerName) -> tuple[VerifyKey, ...]:
    """The keys that the server does not use any more."""
    return tuple(
        VerifyKey(server_name, row.key_id, row.verify_key, row.expired_ts, row.expired_ts)
        for row in await own_keys(db)
        if row.expired_ts is not None
    )


def public_keys(keys: tuple[SigningKey, ...]) -> dict[KeyId, bytes]:
    """The public keys by ID."""
    return {key.key_id: key.verify_key for key in keys}
