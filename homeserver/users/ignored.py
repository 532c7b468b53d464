"""Whom users ignore.

Source: client-server API, "Ignoring Users".
"""

from collections.abc import Iterable, Sequence

import orjson

from storage.account_data_cache import AccountDataCache
from storage.changes import Change
from storage.database import Database

IGNORED_USER_LIST = "m.ignored_user_list"
NOBODY: frozenset[str] = frozenset()


class IgnoredUsers:
    """The ignored users of everybody, at hand for each event that is delivered."""

    __slots__ = ("_lists",)

    def __init__(self, db: Database, max_bytes: int) -> None:
        self._lists = AccountDataCache(db, IGNORED_USER_LIST, parse_ignored_users, max_bytes)

    async def ignored_by(self, user_nid: int) -> frozenset[str]:
        """The IDs of the users whom the user ignores."""
        return await self._lists.get(user_nid)

    async def ignored_by_each(self, user_nids: Iterable[int]) -> dict[int, frozenset[str]]:
        """The same for many users, by number."""
        return await self._lists.get_many(user_nids)

    def heard(self, changes: Sequence[Change]) -> None:
        """Take note of what was committed."""
        self._lists.heard(changes)


def parse_ignored_users(content: bytes | None) -> frozenset[str]:
    """The user IDs in the content of `m.ignored_user_list`; nobody, if it is malformed."""
    if content is None:
        return NOBODY
    users = orjson.loads(content).get("ignored_users")
    return frozenset(users) if isinstance(users, dict) else NOBODY
