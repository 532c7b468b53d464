"""What is kept of other servers, and of the keys that were ours."""

from dataclasses import replace

from federation.protocol.identifiers import KeyId, ServerName
from federation.protocol.server_keys import VerifyKey
from federation.protocol.signatures import signing_key_from_seed
from homeserver.other_servers.own_keys import begin_to_use
from storage.database import open_pool
from storage.destinations import Health, find_health, set_health
from storage.server_keys import ServerKeyRow, keep_server_keys, own_keys, server_keys

A, B = ServerName("a.test"), ServerName("b.test")
ROW = ServerKeyRow(VerifyKey(A, KeyId("ed25519:1"), b"k" * 32, 100, None), 50, b"{}")


def row(server: ServerName, number: int, valid_until_ts: int = 100) -> ServerKeyRow:
    key_id = KeyId(f"ed25519:{number}")
    key = replace(ROW.key, server_name=server, key_id=key_id, valid_until_ts=valid_until_ts)
    return replace(ROW, key=key)


async def test_keys_are_found_one_by_one_or_all_of_a_server(database_url: str) -> None:
    db = await open_pool(database_url, 1)
    kept = [row(A, 1), row(A, 2), row(B, 1), row(B, 2)]
    await keep_server_keys(db, kept)
    found = await server_keys(db, {A: [KeyId("ed25519:2"), KeyId("ed25519:9")], B: []})
    assert sorted(found, key=lambda one: (one.key.server_name, one.key.key_id)) == kept[1:]
    assert await server_keys(db, {}) == []
    await db.close()


async def test_a_key_is_replaced_by_what_is_valid_for_longer(database_url: str) -> None:
    db = await open_pool(database_url, 1)
    await keep_server_keys(db, [row(A, 1, 100)])
    await keep_server_keys(db, [row(A, 1, 99)])
    assert await server_keys(db, {A: []}) == [row(A, 1, 100)]
    expired = replace(row(A, 1, 200), key=replace(row(A, 1, 200).key, expired_ts=7))
    await keep_server_keys(db, [row(A, 1, 150), expired])
    assert await server_keys(db, {A: []}) == [expired]
    await db.close()


async def test_the_health_of_a_server_is_kept(database_url: str) -> None:
    db = await open_pool(database_url, 1)
    assert await find_health(db, A) is None
    await set_health(db, A, Health(1, 2, 3))
    await set_health(db, A, Health(4, 5, 6))
    assert await find_health(db, A) == Health(4, 5, 6)
    await db.close()


async def test_keys_that_a_server_starts_without_have_expired(database_url: str) -> None:
    db = await open_pool(database_url, 1)
    first, second = (signing_key_from_seed(v, v.encode() * 32) for v in "12")
    own = await begin_to_use(db, A, (first,), 10)
    assert (own.current, own.old) == ((first,), ())
    own = await begin_to_use(db, A, (second, first), 20)
    assert own.old == ()
    own = await begin_to_use(db, A, (second,), 30)
    assert [(old.key_id, old.key, old.expired_ts) for old in own.old] == [
        (first.key_id, first.verify_key, 30)
    ]
    own = await begin_to_use(db, A, (second,), 40)
    assert [old.expired_ts for old in own.old] == [30]
    own = await begin_to_use(db, A, (first,), 50)
    assert [(old.key_id, old.expired_ts) for old in own.old] == [(second.key_id, 50)]
    assert [one.key_id for one in await own_keys(db)] == [first.key_id, second.key_id]
    await db.close()
