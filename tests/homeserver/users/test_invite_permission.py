from typing import Any

import orjson
import pytest

from federation.protocol.errors import InviteBlocked
from federation.protocol.identifiers import UserId
from homeserver.users.invite_permission import (
    INVITE_PERMISSION_CONFIG,
    UNSTABLE_INVITE_PERMISSION_CONFIG,
    InvitePermission,
    InvitePermissions,
    parse_blocks_all,
    parse_invite_rules,
)
from storage.account_data import GLOBAL, SetAccountData
from tests.committing import add_account, open_store

ALLOW, IGNORE, BLOCK = InvitePermission


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ({}, None),
        ({"blocked_users": ["@eve:evil"]}, BLOCK),
        ({"blocked_users": ["@eve:hs1"]}, None),
        ({"ignored_users": ["@e?e:*"]}, IGNORE),
        ({"blocked_servers": ["evil"]}, BLOCK),
        ({"ignored_servers": ["e*"]}, IGNORE),
        ({"allowed_users": ["@eve:evil"], "blocked_servers": ["*"]}, ALLOW),
        ({"blocked_users": ["@eve:*"], "allowed_servers": ["evil"]}, BLOCK),
        ({"allowed_users": ["@eve:evil"], "ignored_users": ["@eve:evil"]}, ALLOW),
        ({"ignored_users": ["@eve:evil"], "blocked_users": ["@eve:evil"]}, IGNORE),
        ({"blocked_users": [], "ignored_users": [""], "blocked_servers": ["evil"]}, BLOCK),
        ({"blocked_users": None, "blocked_servers": ["evil"]}, None),
        ({"ignored_users": [1], "blocked_servers": ["evil"]}, None),
        ({"enabled": False, "blocked_servers": ["*"]}, None),
        ({"enabled": True, "blocked_servers": ["*"]}, BLOCK),
    ],
)
def test_the_first_list_that_names_the_inviter_counts(
    rules: Any, expected: InvitePermission | None
) -> None:
    assert parse_invite_rules(orjson.dumps(rules)).find("@eve:evil") is expected


def test_servers_are_named_without_their_ports() -> None:
    rules = parse_invite_rules(orjson.dumps({"blocked_servers": ["evil", "[::1]"]}))
    assert rules.find("@eve:evil:8448") is BLOCK
    assert rules.find("@eve:[::1]:8448") is BLOCK


@pytest.mark.parametrize(
    ("content", "blocks"),
    [
        (None, False),
        ({}, False),
        ({"default_action": "block"}, True),
        ({"default_action": 1}, False),
    ],
)
def test_all_invites_are_blocked_by_the_default_action(content: Any, blocks: bool) -> None:
    encoded = None if content is None else orjson.dumps(content)
    assert parse_blocks_all(encoded) is blocks


async def test_what_users_say_about_invites_is_obeyed_at_once(database_url: str) -> None:
    async with open_store(database_url) as store:
        alice = await add_account(store, "@alice:hs1")
        permissions = InvitePermissions(store.db, store.names, 100_000)
        store.hear(permissions.heard)

        async def say(data_type: str, content: Any) -> None:
            write = SetAccountData(alice, GLOBAL, data_type, orjson.dumps(content))
            await store.committer.commit(write)

        await permissions.check_invite("@bob:hs1", UserId("@alice:hs1"))
        await say(INVITE_PERMISSION_CONFIG, {"default_action": "block"})
        with pytest.raises(InviteBlocked):
            await permissions.check_invite("@bob:hs1", UserId("@alice:hs1"))
        await say(UNSTABLE_INVITE_PERMISSION_CONFIG, {"allowed_users": ["@bob:hs1"]})
        assert await permissions.permission("@bob:hs1", alice) is ALLOW
        assert await permissions.permission("@carol:hs1", alice) is BLOCK
        await say(INVITE_PERMISSION_CONFIG, {})
        await say(UNSTABLE_INVITE_PERMISSION_CONFIG, {"ignored_servers": ["hs1"]})
        assert await permissions.permission("@bob:hs1", alice) is IGNORE
        assert await permissions.may_invite("@bob:hs1", alice)
