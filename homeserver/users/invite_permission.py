"""Whose invites users take.

Besides the specification's `m.invite_permission_config`, which blocks all invites or none, the
lists of MSC4155 are obeyed, under the unstable name that clients use for them.
Source: client-server API, "Invite permission"; MSC4155.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import orjson

from federation.protocol.errors import InviteBlocked
from federation.protocol.glob import GlobSet
from federation.protocol.identifiers import UserId, server_of
from federation.protocol.server_acl import host_of
from storage.account_data_cache import AccountDataCache
from storage.changes import Change
from storage.database import Database
from storage.names import Names

INVITE_PERMISSION_CONFIG = "m.invite_permission_config"
UNSTABLE_INVITE_PERMISSION_CONFIG = "org.matrix.msc4155.invite_permission_config"


class InvitePermission(Enum):
    """What becomes of an invite."""

    ALLOW = "allow"
    IGNORE = "ignore"
    """It is let in but never shown."""
    BLOCK = "block"
    """The inviter is told that it is not wanted."""


PERMISSIONS = (
    ("allowed", InvitePermission.ALLOW),
    ("ignored", InvitePermission.IGNORE),
    ("blocked", InvitePermission.BLOCK),
)
"""What the names of lists begin with, and what becomes of the invites that they are about."""

LISTS = [f"{name}_{of_what}" for of_what in ("users", "servers") for name, _ in PERMISSIONS]


@dataclass(frozen=True, slots=True)
class InviteRules:
    """Patterns of user IDs and of server names without ports, in the order of being tried."""

    users: tuple[tuple[GlobSet, InvitePermission], ...] = ()
    servers: tuple[tuple[GlobSet, InvitePermission], ...] = ()

    def find(self, inviter: str) -> InvitePermission | None:
        """What the first matching pattern says."""
        for patterns, permission in self.users:
            if patterns.matches(inviter):
                return permission
        for patterns, permission in self.servers:
            if patterns.matches(host_of(server_of(UserId(inviter)))):
                return permission
        return None


class InvitePermissions:
    """What this server's users have said about invites."""

    __slots__ = ("_blocks_all", "_names", "_rules")

    def __init__(self, db: Database, names: Names, max_bytes: int) -> None:
        self._names = names
        self._blocks_all = AccountDataCache(
            db, INVITE_PERMISSION_CONFIG, parse_blocks_all, max_bytes // 2
        )
        self._rules = AccountDataCache(
            db, UNSTABLE_INVITE_PERMISSION_CONFIG, parse_invite_rules, max_bytes // 2
        )

    async def permission(self, inviter: str, invitee_nid: int) -> InvitePermission:
        """What becomes of an invite from `inviter` to a user of this server.

        Whatever is not allowed must not be shown by /sync either.
        """
        found = (await self._rules.get(invitee_nid)).find(inviter)
        if found is not None:
            return found
        blocks_all = await self._blocks_all.get(invitee_nid)
        return InvitePermission.BLOCK if blocks_all else InvitePermission.ALLOW

    async def may_invite(self, inviter: str, invitee_nid: int) -> bool:
        """Whether an invite is let in; it may still be one that is never shown."""
        return await self.permission(inviter, invitee_nid) is not InvitePermission.BLOCK

    async def shows_invite(self, inviter: str, invitee_nid: int) -> bool:
        """Whether an invite is shown to whom it is for."""
        return await self.permission(inviter, invitee_nid) is InvitePermission.ALLOW

    async def check_invite(self, inviter: str, invitee: UserId) -> None:
        """Raise `InviteBlocked` unless the invite is let in."""
        invitee_nid = await self._names.users.find_nid(invitee)
        if invitee_nid is not None and not await self.may_invite(inviter, invitee_nid):
            raise InviteBlocked("The user does not take invites from you")

    def heard(self, changes: Sequence[Change]) -> None:
        """Take note of what was committed."""
        self._blocks_all.heard(changes)
        self._rules.heard(changes)


def parse_blocks_all(content: bytes | None) -> bool:
    """Whether the content of `m.invite_permission_config` turns all invites away."""
    return content is not None and orjson.loads(content).get("default_action") == "block"


def parse_invite_rules(content: bytes | None) -> InviteRules:
    """The rules in the content of MSC4155's event; none if it is switched off or malformed."""
    fields = {} if content is None else orjson.loads(content)
    lists = [fields[name] for name in LISTS if name in fields]
    if fields.get("enabled") is False or not all(map(is_str_list, lists)):
        return InviteRules()
    return InviteRules(_rules(fields, "users"), _rules(fields, "servers"))


def is_str_list(value: object) -> bool:
    """Whether a value is an array of strings."""
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _rules(fields: Mapping[str, Any], of_what: str) -> tuple[tuple[GlobSet, InvitePermission], ...]:
    lists = ((fields.get(f"{name}_{of_what}", ()), found) for name, found in PERMISSIONS)
    return tuple((GlobSet(filter(None, patterns)), found) for patterns, found in lists if patterns)
