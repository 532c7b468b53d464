from typing import Any
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
    (await alice.put(account_data(alice, "a.b", room), {"n": {}})).ok()
    assert (await alice.get(account_data(alice, "a.b", room))).ok() == {"n": {}}


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


def unstable(client: Client, data_type: str, room_id: str | None = None) -> str:
    return account_data(client, data_type, room_id).replace("v3", "unstable/org.matrix.msc3391", 1)


def told(section: Any) -> dict[str, Any]:
    """The account data in a part of a sync, but for the push rules."""
    events = section.get("account_data", {}).get("events", ())
    return {e["type"]: e["content"] for e in events if e["type"] != "m.push_rules"}


@pytest.mark.parametrize("way", ["DELETE", "PUT"])
async def test_deleted_account_data_is_gone_and_other_devices_hear_of_it(
    homes: Homes, way: str
) -> None:
    alice = await homes.user()
    room = await alice.create_room()
    for room_id in (None, room):
        path = account_data(alice, "a.b", room_id)
        (await alice.put(path, {"n": 1})).ok()
        since = (await alice.sync())["next_batch"]
        if way == "PUT":
            (await alice.put(path, {})).ok()
        else:
            (await alice.delete(unstable(alice, "a.b", room_id))).ok()
        (await alice.get(path)).refused(404, "M_NOT_FOUND")
        answer = await alice.sync(since)
        section = answer if room_id is None else answer["rooms"]["join"][room]
        assert told(section) == {"a.b": {}}
    initial = await alice.sync()
    assert told(initial) == {}
    assert told(initial["rooms"]["join"][room]) == {}
    (await alice.put(account_data(alice, "a.b"), {"n": 2})).ok()
    assert told(await alice.sync()) == {"a.b": {"n": 2}}


async def test_deleting_what_is_not_there_tells_nobody(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    since = (await alice.sync())["next_batch"]
    (await alice.delete(unstable(alice, "a.b"))).ok()
    assert told(await alice.sync(since)) == {}
    (await alice.delete(unstable(alice, "m.push_rules"))).refused(405, "M_BAD_JSON")
    (await bob.delete(unstable(alice, "a.b"))).refused(403, "M_FORBIDDEN")


async def test_settings_of_a_device_go_with_it(homes: Homes) -> None:
    alice = await homes.user()
    phone = await homes.second_device(alice)
    names = ("m.local_notification_settings", "org.matrix.msc3890.local_notification_settings")
    for device in (alice, phone):
        for name in names:
            path = account_data(alice, f"{name}.{device.device_id}")
            (await alice.put(path, {"is_silenced": True})).ok()
    since = (await alice.sync())["next_batch"]
    (await phone.post("v3/logout")).ok()
    assert told(await alice.sync(since)) == {f"{name}.{phone.device_id}": {} for name in names}
    assert told(await alice.sync()).keys() == {f"{name}.{alice.device_id}" for name in names}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "v3/user/{user_id}/account_data/org.example"),
        ("PUT", "v3/profile/{user_id}/org.example"),
        ("PUT", "v3/pushrules/global/override/rule"),
        ("POST", "v3/pushers/set"),
        ("POST", "v3/delete_devices"),
        ("POST", "v3/user/{user_id}/filter"),
    ],
)
@pytest.mark.parametrize("number", [2**63, -(2**70), 10**300])
async def test_a_number_that_nobody_can_keep_is_refused(
    homes: Homes, method: str, path: str, number: int
) -> None:
    alice = await homes.user()
    raw = b'{"devices": [], "org.example": [{"a": %d}]}' % number
    answer = await alice.request(method, path.format(user_id=quote(alice.user_id)), raw=raw)
    answer.refused(400, "M_BAD_JSON")


async def test_the_largest_number_is_kept(homes: Homes) -> None:
    alice = await homes.user()
    path = f"v3/user/{quote(alice.user_id)}/account_data/org.example"
    kept = {"least": -(2**63) + 1, "most": 2**63 - 1, "digits": "1" * 40}
    (await alice.put(path, kept)).ok()
    assert (await alice.get(path)).ok() == kept
