from typing import Any

import pytest

from tests.homeserver.conftest import Client, Homes
from tests.patience import LONG_POLL_MS

GLOBAL = "v3/pushrules/global"


async def rule_ids(client: Client, kind: str) -> list[str]:
    rules = (await client.get(GLOBAL + "/")).ok()[kind]
    return [rule["rule_id"] for rule in rules if not rule["default"]]


async def test_rules_are_created_changed_and_deleted(homes: Homes) -> None:
    alice = await homes.user()
    path = f"{GLOBAL}/content/cake"
    (await alice.get(path)).refused(404, "M_NOT_FOUND")
    (await alice.put(path, {"pattern": "cake*lie", "actions": ["notify"]})).ok()
    assert (await alice.get(path)).ok() == {
        "rule_id": "cake",
        "pattern": "cake*lie",
        "actions": ["notify"],
        "enabled": True,
        "default": False,
    }
    assert (await alice.get("v3/pushrules/")).ok() == {"global": (await alice.get(GLOBAL)).ok()}
    (await alice.delete(path)).ok()
    (await alice.delete(path)).refused(404, "M_NOT_FOUND")


async def test_rules_are_placed_before_and_after_others(homes: Homes) -> None:
    alice = await homes.user()
    for rule_id, query in (
        ("!a", {}),
        ("!b", {}),
        ("!c", {"after": "!a"}),
        ("!d", {"before": "!a"}),
        ("!c", {"before": "!b"}),
    ):
        path = f"{GLOBAL}/room/{rule_id}"
        (await alice.request("PUT", path, {"actions": []}, raw=None, **query)).ok()
    assert await rule_ids(alice, "room") == ["!c", "!b", "!d", "!a"]
    answer = await alice.put(f"{GLOBAL}/room/!e", {"actions": []}, before="!nothing")
    answer.refused(400, "M_UNKNOWN")


async def test_predefined_rules_are_disabled_and_changed_but_stay(homes: Homes) -> None:
    alice = await homes.user()
    path = f"{GLOBAL}/override/.m.rule.master"
    assert (await alice.get(f"{path}/enabled")).ok() == {"enabled": False}
    (await alice.put(f"{path}/enabled", {"enabled": True})).ok()
    (await alice.put(f"{path}/actions", {"actions": ["notify"]})).ok()
    assert (await alice.get(f"{path}/enabled")).ok() == {"enabled": True}
    assert (await alice.get(f"{path}/actions")).ok() == {"actions": ["notify"]}
    (await alice.delete(path)).refused(404, "M_NOT_FOUND")
    (await alice.put(path, {"actions": []})).refused(400, "M_INVALID_PARAM")


@pytest.mark.parametrize(
    ("path", "body", "errcode"),
    [
        ("content/x", {"actions": []}, "M_MISSING_PARAM"),
        ("content/x", {"pattern": "x"}, "M_MISSING_PARAM"),
        ("room/x", {"actions": "notify"}, "M_INVALID_PARAM"),
        ("room/x", {"actions": ["sing"]}, "M_INVALID_PARAM"),
        ("wish/x", {"actions": []}, "M_INVALID_PARAM"),
        ("room/x%5Cy", {"actions": []}, "M_INVALID_PARAM"),
    ],
)
async def test_broken_rules_are_refused(homes: Homes, path: str, body: Any, errcode: str) -> None:
    alice = await homes.user()
    (await alice.put(f"{GLOBAL}/{path}", body)).refused(400, errcode)


async def test_what_is_not_there_is_not_found(homes: Homes) -> None:
    alice = await homes.user()
    for path in ("override/x", "wish/x", "override/x/enabled", "override/x/actions"):
        (await alice.get(f"{GLOBAL}/{path}")).refused(404, "M_NOT_FOUND")
    (await alice.put(f"{GLOBAL}/room/x/enabled", {"enabled": True})).refused(404, "M_NOT_FOUND")
    answer = await alice.put(f"{GLOBAL}/override/.m.rule.master/enabled")
    answer.refused(400, "M_MISSING_PARAM")


async def test_changed_rules_come_down_sync_whole(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    since = (await alice.sync())["next_batch"]
    (await alice.put(f"{GLOBAL}/sender/{bob.user_id}", {"actions": []})).ok()
    body = await alice.sync(since, LONG_POLL_MS)
    (event,) = [e for e in body["account_data"]["events"] if e["type"] == "m.push_rules"]
    assert event["content"] == (await alice.get("v3/pushrules/")).ok()
    first = (await bob.sync())["account_data"]["events"]
    (event,) = [e for e in first if e["type"] == "m.push_rules"]
    assert event["content"] == (await bob.get("v3/pushrules/")).ok()
