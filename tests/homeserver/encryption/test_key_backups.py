"""Backups of room keys."""

from typing import Any

import pytest

from tests.homeserver.conftest import Client, Homes

ALGORITHM = "m.megolm_backup.v1.curve25519-aes-sha2"
ROOM, OTHER = "!a:test", "!b:test"


async def create(client: Client, **auth_data: Any) -> str:
    body = {"algorithm": ALGORITHM, "auth_data": auth_data}
    return str((await client.post("v3/room_keys/version", body)).ok()["version"])


def key(first: int = 10, forwarded: int = 5, *, verified: bool = False) -> dict[str, Any]:
    return {
        "first_message_index": first,
        "forwarded_count": forwarded,
        "is_verified": verified,
        "session_data": {"n": f"{first} {forwarded} {verified}"},
    }


async def put(client: Client, version: str, path: str, body: Any) -> Any:
    return (await client.put(f"v3/room_keys/keys{path}", body, version=version)).ok()


async def get(client: Client, version: str, path: str = "") -> Any:
    return (await client.get(f"v3/room_keys/keys{path}", version=version)).ok()


async def test_a_backup_is_described_until_it_is_deleted(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    (await alice.get("v3/room_keys/version")).refused(404, "M_NOT_FOUND")
    version = await create(alice, n=1)
    described = {
        "version": version,
        "algorithm": ALGORITHM,
        "auth_data": {"n": 1},
        "count": 0,
        "etag": "0",
    }
    assert (await alice.get("v3/room_keys/version")).ok() == described
    assert (await alice.get(f"v3/room_keys/version/{version}")).ok() == described
    (await bob.get("v3/room_keys/version")).refused(404, "M_NOT_FOUND")
    for _ in range(2):
        (await alice.delete(f"v3/room_keys/version/{version}")).ok()
    (await alice.get(f"v3/room_keys/version/{version}")).refused(404, "M_NOT_FOUND")
    (await alice.get("v3/room_keys/version")).refused(404, "M_NOT_FOUND")
    for unknown in ("17", "x", "9" * 30):
        (await alice.delete(f"v3/room_keys/version/{unknown}")).refused(404, "M_NOT_FOUND")
    assert await create(alice) != version


async def test_only_what_a_backup_says_of_itself_can_be_changed(homes: Homes) -> None:
    alice = await homes.user()
    version = await create(alice, n=1)
    path = f"v3/room_keys/version/{version}"
    body = {"algorithm": ALGORITHM, "auth_data": {"n": 2}, "version": version}
    (await alice.put(path, body)).ok()
    assert (await alice.get(path)).ok()["auth_data"] == {"n": 2}
    for change in ({"algorithm": "m.other"}, {"version": "77"}):
        (await alice.put(path, body | change)).refused(400, "M_INVALID_PARAM")
    (await alice.put("v3/room_keys/version/77", {**body, "version": "77"})).refused(
        404, "M_NOT_FOUND"
    )


async def test_keys_are_given_back_as_they_were_added(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    version = await create(alice)
    assert await get(alice, version) == {"rooms": {}}
    assert await get(alice, version, f"/{ROOM}") == {"sessions": {}}
    rooms = {
        ROOM: {"sessions": {"s1": key(1), "s2": key(2)}},
        OTHER: {"sessions": {"s1": key(3)}},
    }
    assert await put(alice, version, "", {"rooms": rooms}) == {"count": 3, "etag": "1"}
    sessions = {"sessions": {"s3": key(4)}}
    assert await put(alice, version, f"/{ROOM}", sessions) == {"count": 4, "etag": "2"}
    assert await put(alice, version, f"/{ROOM}/s4", key(5)) == {"count": 5, "etag": "3"}
    rooms[ROOM]["sessions"] |= {"s3": key(4), "s4": key(5)}
    assert await get(alice, version) == {"rooms": rooms}
    assert await get(alice, version, f"/{ROOM}") == rooms[ROOM]
    assert await get(alice, version, f"/{OTHER}/s1") == key(3)
    missing = await alice.get(f"v3/room_keys/keys/{OTHER}/s2", version=version)
    missing.refused(404, "M_NOT_FOUND")
    (await bob.get("v3/room_keys/keys", version=version)).refused(404, "M_NOT_FOUND")


async def test_keys_are_deleted_one_by_one_by_room_and_all_together(homes: Homes) -> None:
    alice = await homes.user()
    version = await create(alice)
    sessions = {"sessions": {f"s{n}": key(n) for n in range(3)}}
    await put(alice, version, "", {"rooms": {ROOM: sessions, OTHER: sessions}})
    counts = []
    for path in (f"/{ROOM}/s1", f"/{ROOM}/s1", f"/{ROOM}", ""):
        answer = (await alice.delete(f"v3/room_keys/keys{path}", version=version)).ok()
        counts.append((answer["count"], answer["etag"]))
    assert counts == [(5, "2"), (5, "2"), (3, "3"), (0, "4")]
    assert await get(alice, version) == {"rooms": {}}
    (await alice.delete("v3/room_keys/keys", version="77")).refused(404, "M_NOT_FOUND")


@pytest.mark.parametrize(
    ("kept", "offered", "is_replaced"),
    [
        (key(), key(), False),
        (key(), key(11, 5), False),
        (key(), key(10, 6), False),
        (key(), key(9, 6), True),
        (key(), key(10, 4), True),
        (key(), key(11, 6, verified=True), True),
        (key(verified=True), key(9, 4), False),
        (key(verified=True), key(9, 6, verified=True), True),
        (key(verified=True), key(10, 6, verified=True), False),
    ],
)
async def test_the_better_one_of_two_keys_stays(
    homes: Homes, kept: dict[str, Any], offered: dict[str, Any], is_replaced: bool
) -> None:
    alice = await homes.user()
    version = await create(alice)
    await put(alice, version, f"/{ROOM}/s", kept)
    etag = "2" if is_replaced else "1"
    assert await put(alice, version, f"/{ROOM}/s", offered) == {"count": 1, "etag": etag}
    assert await get(alice, version, f"/{ROOM}/s") == (offered if is_replaced else kept)


async def test_keys_go_into_the_latest_backup_only(homes: Homes) -> None:
    alice = await homes.user()
    body = {"rooms": {ROOM: {"sessions": {"s": key()}}}}
    (await alice.put("v3/room_keys/keys", body, version="1")).refused(404, "M_NOT_FOUND")
    first = await create(alice)
    await put(alice, first, "", body)
    second = await create(alice)
    refused = await alice.put("v3/room_keys/keys", body, version=first)
    assert refused.refused(403, "M_WRONG_ROOM_KEYS_VERSION")["current_version"] == second
    assert (await get(alice, first))["rooms"].keys() == {ROOM}
    (await alice.delete(f"v3/room_keys/version/{second}")).ok()
    assert (await put(alice, first, "", body))["count"] == 1


@pytest.mark.parametrize(
    "change",
    [
        {"first_message_index": -1},
        {"first_message_index": "1"},
        {"forwarded_count": 1.5},
        {"forwarded_count": 2**53},
        {"is_verified": 1},
        {"session_data": "x"},
    ],
)
async def test_what_is_no_key_is_refused(homes: Homes, change: dict[str, Any]) -> None:
    alice = await homes.user()
    version = await create(alice)
    path = f"v3/room_keys/keys/{ROOM}/s"
    (await alice.put(path, key() | change, version=version)).refused(400, "M_BAD_JSON")
    (await alice.put(path, key())).refused(400, "M_MISSING_PARAM")
    (await alice.put(path, {}, version=version)).refused(400, "M_MISSING_PARAM")
