from urllib.parse import quote

import pytest

from tests.homeserver.conftest import Client, Homes


def account_data(client: Client, data_type: str, room_id: str | None = None) -> str:
    room = "" if room_id is None else f"/rooms/{quote(room_id)}"
    return f"v3/user/{quote(client.user_id)}{room}/account_data/{quote(data_type, safe='')}"


async def test_account_data_is_kept_for_the_account_and_for_each_room(homes: Homes) -> None:
    alice = await homes.user()
    room = await alice.create_room()
    (await alice.get(account_data(alice, "a.b"))).refused(404, "M_NOT_FOUND")
    (await alice.put(account_data(alice, "a.b"), {"n": 1})).ok()
    (await alice.put(account_data(alice, "a.b"), {"n": [2, None, {"ü": 0.5}]})).ok()
    assert (await alice.get(account_data(alice, "a.b"))).ok() == {"n": [2, None, {"ü": 0.5}]}
    (await alice.get(account_data(alice, "a.b", room))).refused(404, "M_NOT_FOUND")
    (await alice.put(account_data(alice, "a.b", room), {})).ok()
    assert (await alice.get(account_data(alice, "a.b", room))).ok() == {}


async def test_account_data_is_its_owners_only(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    (await alice.put(account_data(alice, "a.b"), {"n": 1})).ok()
    (await bob.get(account_data(alice, "a.b"))).refused(403, "M_FORBIDDEN")
    (await bob.put(account_data(alice, "a.b"), {"n": 2})).refused(403, "M_FORBIDDEN")
    (await homes.nobody().get(account_data(alice, "a.b"))).refused(401, "M_MISSING_TOKEN")


@pytest.mark.parametrize("data_type", ["m.fully_read", "m.push_rules"])
async def test_what_the_server_controls_cannot_be_set(homes: Homes, data_type: str) -> None:
    alice = await homes.user()
    room = await alice.create_room()
    (await alice.put(account_data(alice, data_type), {})).refused(405, "M_BAD_JSON")
    (await alice.put(account_data(alice, data_type, room), {})).refused(405, "M_BAD_JSON")


async def test_push_rules_can_be_read_as_account_data(homes: Homes) -> None:
    alice = await homes.user()
    rules = (await alice.get("v3/pushrules/")).ok()
    assert (await alice.get(account_data(alice, "m.push_rules"))).ok() == rules


async def test_broken_requests_are_refused(homes: Homes) -> None:
    alice = await homes.user()
    path = account_data(alice, "a.b")
    (await alice.request("PUT", path, raw=b"{")).refused(400, "M_NOT_JSON")
    (await alice.put(path, [])).refused(400, "M_BAD_JSON")
    (await alice.put(account_data(alice, "t" * 256), {})).refused(400, "M_INVALID_PARAM")
    (await alice.put(account_data(alice, "a", "room"), {})).refused(400, "M_INVALID_PARAM")
    (await alice.put(account_data(alice, "a", "!r:test"), {})).refused(404, "M_NOT_FOUND")


async def test_tags_come_and_go_one_by_one(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room = await alice.create_room()
    tags = f"v3/user/{quote(alice.user_id)}/rooms/{quote(room)}/tags"
    assert (await alice.get(tags)).ok() == {"tags": {}}
    (await alice.put(f"{tags}/m.favourite", {"order": 0.25})).ok()
    (await alice.put(f"{tags}/u.%2FWork", {"order": 1})).ok()
    (await alice.put(f"{tags}/u.Work2")).ok()
    (await alice.put(f"{tags}/u.Work2", {"order": "first"})).refused(400, "M_BAD_JSON")
    (await alice.put(f"{tags}/{'t' * 256}")).refused(400, "M_INVALID_PARAM")
    (await alice.delete(f"{tags}/m.favourite")).ok()
    (await alice.delete(f"{tags}/m.favourite")).ok()
    expected = {"tags": {"u./Work": {"order": 1}, "u.Work2": {}}}
    assert (await alice.get(tags)).ok() == expected
    assert (await alice.get(account_data(alice, "m.tag", room))).ok() == expected
    (await bob.get(tags)).refused(403, "M_FORBIDDEN")
