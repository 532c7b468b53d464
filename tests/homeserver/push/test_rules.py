import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from federation.protocol.errors import NotFound
from federation.protocol.push_evaluation import Evaluator, evaluate
from homeserver.push.rules import PUSH_RULES, PushRules
from storage.account_data import GLOBAL, all_account_data
from storage.changes import AccountDataSet
from tests.committing import Store, open_store
from tests.protocol.push_rooms import ALICE, BOB, ROOM, text, view

CAROL = "@carol:example.org"


@asynccontextmanager
async def open_rules(database_url: str) -> AsyncIterator[tuple[Store, PushRules]]:
    async with open_store(database_url) as store:
        rules = PushRules(store.db, store.committer, 100_000)
        store.hear(rules.heard)
        yield store, rules


def rules_of(content: bytes, kind: str) -> list[dict[str, Any]]:
    rules: list[dict[str, Any]] = orjson.loads(content)["global"][kind]
    return rules


def notifies(evaluator: Evaluator) -> bool:
    decision = evaluate(evaluator, view(text("hello")))
    return decision is not None and decision.notify


async def test_predefined_rules_are_shown_though_nothing_is_stored(database_url: str) -> None:
    async with open_rules(database_url) as (store, rules):
        alice = await store.names.users.get_nid(ALICE)
        stored = await all_account_data(store.db, alice)
        assert stored == []
        (shown,) = rules.show_account_data(alice, ALICE, stored, complete=True)
        assert (shown.user_nid, shown.room_nid, shown.type) == (alice, GLOBAL, PUSH_RULES)
        assert rules_of(shown.content, "override")[0]["rule_id"] == ".m.rule.master"
        assert rules.show_account_data(alice, ALICE, stored, complete=False) == []


async def test_a_changed_rule_comes_down_as_account_data(database_url: str) -> None:
    async with open_rules(database_url) as (store, rules):
        alice = await store.names.users.get_nid(ALICE)
        await rules.set_rule(alice, ALICE, "sender", BOB, {"actions": []})
        (change,) = store.published
        assert isinstance(change, AccountDataSet)
        (shown,) = rules.show_account_data(alice, ALICE, [change], complete=False)
        assert rules_of(shown.content, "sender")[0]["rule_id"] == BOB
        assert await all_account_data(store.db, alice) == [change]
        other = AccountDataSet(1, alice, 5, PUSH_RULES, b"{}")
        assert rules.show_account_data(alice, ALICE, [other, change], complete=True)[0] == other


async def test_a_change_that_changes_nothing_wakes_nobody(database_url: str) -> None:
    async with open_rules(database_url) as (store, rules):
        alice = await store.names.users.get_nid(ALICE)
        await rules.set_enabled(alice, ALICE, "override", ".m.rule.master", {"enabled": False})
        with pytest.raises(NotFound):
            await rules.delete_rule(alice, ALICE, "sender", BOB)
        assert store.published == []


async def test_concurrent_changes_are_all_kept(database_url: str) -> None:
    async with open_rules(database_url) as (store, rules):
        alice = await store.names.users.get_nid(ALICE)
        async with asyncio.TaskGroup() as tasks:
            for n in range(5):
                tasks.create_task(rules.set_rule(alice, ALICE, "room", f"!{n}", {"actions": []}))
        ruleset = await rules.ruleset(alice, ALICE)
        assert len(ruleset.to_json()["room"]) == 5


async def test_evaluators_follow_the_rules(database_url: str) -> None:
    async with open_rules(database_url) as (store, rules):
        alice = await store.names.users.get_nid(ALICE)
        carol = await store.names.users.get_nid(CAROL)
        before = await rules.evaluators({alice: ALICE, carol: CAROL})
        assert notifies(before[alice])
        assert before[alice].program is before[carol].program
        await rules.set_rule(alice, ALICE, "override", ROOM, {"actions": [], "conditions": []})
        assert not notifies(await rules.evaluator(alice, ALICE))
        assert notifies(await rules.evaluator(carol, CAROL))


async def test_the_rules_of_a_room_go_with_its_upgrade(database_url: str) -> None:
    async with open_rules(database_url) as (store, rules):
        alice = await store.names.users.get_nid(ALICE)
        await rules.set_rule(alice, ALICE, "room", "!old", {"actions": []})
        await rules.copy_room_rules(alice, ALICE, "!old", "!new")
        ruleset = await rules.ruleset(alice, ALICE)
        assert {rule["rule_id"] for rule in ruleset.to_json()["room"]} == {"!old", "!new"}
