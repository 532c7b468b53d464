"""What the server makes of account data, kept until the user changes it.

Some types of account data steer the server itself: push rules, ignored users, who may invite.
They are asked for with nearly every event and change rarely.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

from storage.account_data import GLOBAL, account_data_of_users
from storage.cache import Cache
from storage.changes import AccountDataSet, Change
from storage.database import Database

V = TypeVar("V")

ENTRY_COST = 200
COST_PER_BYTE = 4
"""What is built takes about so much more memory than its JSON."""


class AccountDataCache(Generic[V]):
    """What `build` makes of one type of account data of the whole account.

    `build` takes the content or None where the user has none. `heard` must be told of all changes
    that are committed.
    """

    def __init__(
        self,
        db: Database,
        data_type: str,
        build: Callable[[bytes | None], V],
        max_bytes: int,
    ) -> None:
        self._db = db
        self._type = data_type
        self._build = build
        self._none = build(None)
        self._kept: Cache[int, V] = Cache(max_bytes)
        self._changes_heard = 0

    async def get(self, user_nid: int) -> V:
        """What is made of the user's data."""
        kept = self._kept.get(user_nid)
        return kept if kept is not None else (await self.get_many((user_nid,)))[user_nid]

    async def get_many(self, user_nids: Iterable[int]) -> dict[int, V]:
        """What is made of each user's data."""
        found: dict[int, V] = {}
        missing = []
        for user_nid in user_nids:
            kept = self._kept.get(user_nid)
            if kept is None:
                missing.append(user_nid)
            else:
                found[user_nid] = kept
        if missing:
            found |= await self._read(missing)
        return found

    def heard(self, changes: Sequence[Change]) -> None:
        """Forget what was made of data that changed."""
        for change in changes:
            if (
                isinstance(change, AccountDataSet)
                and change.room_nid == GLOBAL
                and change.type == self._type
            ):
                self._kept.discard(change.user_nid)
                self._changes_heard += 1

    async def _read(self, user_nids: list[int]) -> dict[int, V]:
        heard_before = self._changes_heard
        contents = await account_data_of_users(self._db, user_nids, self._type)
        built = {nid: self._build(content) for nid, content in contents.items()}
        found = {nid: built.get(nid, self._none) for nid in user_nids}
        # What changed while it was read may be old already; it is read again next time.
        if self._changes_heard == heard_before:
            for nid, value in found.items():
                cost = ENTRY_COST + COST_PER_BYTE * len(contents.get(nid, b""))
                self._kept.put(nid, value, cost)
        return found
