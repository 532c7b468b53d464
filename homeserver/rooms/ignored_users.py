"""Whom users ignore: senders whose events, state events aside, are kept from them.

Source: client-server API, "Ignoring Users".
"""

from collections.abc import Iterable, Sequence

from federation.protocol.canonical_json import decode
from storage.account_data_cache import AccountDataCache
from storage.changes import Change
from storage.database import Database
from storage.names import Names

IGNORED_USER_LIST = "m.ignored_user_list"


class IgnoredUsers:
    """The ignored users of each user, kept in memory. `heard` must be told of all changes."""

    def __init__(self, db: Database, names: Names, max_bytes: int) -> None:
        self._names = names
        self._lists = AccountDataCache(db, IGNORED_USER_LIST, parse_ignored_users, max_bytes)

    async def ignored_by(self, user_nid: int) -> frozenset[str]:
        """The user IDs that a user ignores."""
        return await self._lists.get(user_nid)

    async def ignored_by_many(self, user_nids: Iterable[int]) -> dict[int, frozenset[str]]:
        """The user IDs that each of some users ignores."""
        return await self._lists.get_many(user_nids)

    async def nids_of(self, user_nid: int) -> list[int]:
        """The numbers of the users that a user ignores, as far as they are known here."""
        ignored = await self._lists.get(user_nid)
        return list((await self._names.users.find_nids(ignored)).values()) if ignored else []

    def heard(self, changes: Sequence[Change]) -> None:
        """Forget the lists that changed."""
        self._lists.heard(changes)


def parse_ignored_users(content: bytes | None) -> frozenset[str]:
    """The user IDs in a list; a malformed list ignores nobody."""
    ignored = decode(content).get("ignored_users") if content is not None else None
    return frozenset(ignored) if isinstance(ignored, dict) else frozenset()
