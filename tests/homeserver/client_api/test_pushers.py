from typing import Any

import pytest

from storage.pushers import MOST_OF_USER
from tests.homeserver.conftest import Client, Homes

PUSHER: dict[str, Any] = {
    "kind": "http",
    "app_id": "org.example.app",
    "pushkey": "key",
    "app_display_name": "App",
    "device_display_name": "Phone",
    "lang": "en",
    "data": {"url": "https://push.example.org/_matrix/push/v1/notify", "format": "event_id_only"},
}


ENABLED = "org.matrix.msc3881.enabled"
DEVICE_ID = "org.matrix.msc3881.device_id"


async def pushers(client: Client) -> Any:
    shown = (await client.get("v3/pushers")).ok()["pushers"]
    return [{k: v for k, v in one.items() if k not in (ENABLED, DEVICE_ID)} for one in shown]


async def test_pushers_are_set_changed_and_removed(homes: Homes) -> None:
    alice = await homes.user()
    assert await pushers(alice) == []
    (await alice.post("v3/pushers/set", PUSHER | {"append": False, "unknown": 1})).ok()
    assert await pushers(alice) == [PUSHER]
    (await alice.post("v3/pushers/set", PUSHER | {"lang": "de", "profile_tag": "x"})).ok()
    assert await pushers(alice) == [PUSHER | {"lang": "de", "profile_tag": "x"}]
    removal = {"kind": None, "app_id": "org.example.app", "pushkey": "key"}
    (await alice.post("v3/pushers/set", removal)).ok()
    assert await pushers(alice) == []


async def test_a_pushkey_changes_hands_unless_it_is_appended(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    (await alice.post("v3/pushers/set", PUSHER)).ok()
    (await bob.post("v3/pushers/set", PUSHER | {"append": True})).ok()
    assert len(await pushers(alice)) == 1
    (await bob.post("v3/pushers/set", PUSHER)).ok()
    assert await pushers(alice) == []


async def test_of_too_many_pushers_the_oldest_go(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    (await bob.post("v3/pushers/set", PUSHER | {"pushkey": "bob"})).ok()
    for number in range(MOST_OF_USER + 2):
        (await alice.post("v3/pushers/set", PUSHER | {"pushkey": f"{number}"})).ok()
    kept = [one["pushkey"] for one in await pushers(alice)]
    assert kept == [f"{number}" for number in range(2, MOST_OF_USER + 2)]
    assert len(await pushers(bob)) == 1


async def test_a_pusher_goes_when_its_device_logs_out(homes: Homes) -> None:
    alice = await homes.user()
    phone = await homes.second_device(alice)
    (await phone.post("v3/pushers/set", PUSHER)).ok()
    assert len(await pushers(alice)) == 1
    (await phone.post("v3/logout")).ok()
    assert await pushers(alice) == []


@pytest.mark.parametrize(
    ("change", "errcode"),
    [
        ({"kind": "pigeon"}, "M_INVALID_PARAM"),
        ({"lang": None}, "M_MISSING_PARAM"),
        ({"data": None}, "M_MISSING_PARAM"),
        ({"data": {}}, "M_MISSING_PARAM"),
        ({"data": {"url": "https://push.example.org/notify"}}, "M_INVALID_PARAM"),
        ({"data": {"url": "ftp://a/_matrix/push/v1/notify"}}, "M_INVALID_PARAM"),
        ({"data": {"url": 1}}, "M_INVALID_PARAM"),
        ({"data": {"url": "https://a:99999/_matrix/push/v1/notify"}}, "M_INVALID_PARAM"),
        ({"data": {"url": "https://a:b/_matrix/push/v1/notify"}}, "M_INVALID_PARAM"),
        ({"data": {"url": f"https://{'ä' * 70}/_matrix/push/v1/notify"}}, "M_INVALID_PARAM"),
        ({"app_id": None}, "M_MISSING_PARAM"),
        ({"app_id": "a" * 65}, "M_INVALID_PARAM"),
        ({"pushkey": "k" * 513}, "M_INVALID_PARAM"),
        ({"lang": 1}, "M_INVALID_PARAM"),
    ],
)
async def test_broken_pushers_are_refused(homes: Homes, change: Any, errcode: str) -> None:
    alice = await homes.user()
    (await alice.post("v3/pushers/set", PUSHER | change)).refused(400, errcode)


async def test_a_pusher_without_kind_is_refused(homes: Homes) -> None:
    alice = await homes.user()
    body = {name: value for name, value in PUSHER.items() if name != "kind"}
    (await alice.post("v3/pushers/set", body)).refused(400, "M_MISSING_PARAM")
