"""A user's settings for a room: push rules, tags, and that it is a direct chat."""

from typing import Any

import orjson

from federation.protocol.identifiers import UserId
from homeserver.push.rules import PushRules
from storage.account_data import GLOBAL, EditAccountData, find_account_data
from storage.committer import Committer
from storage.database import Database
from storage.names import RoomName

TAG = "m.tag"
DIRECT = "m.direct"


class PersonalSettings:
    """Gives one room the settings of another."""

    def __init__(self, db: Database, committer: Committer, push_rules: PushRules) -> None:
        self._db = db
        self._committer = committer
        self._push_rules = push_rules

    async def carry_over(
        self, user_id: UserId, user_nid: int, old: RoomName, new: RoomName
    ) -> None:
        """Set for the new room what is set for the old; what the new one has already stays."""
        await self._push_rules.copy_room_rules(user_nid, user_id, old.room_id, new.room_id)
        tags = await find_account_data(self._db, user_nid, old.room_nid, TAG)

        def copy_tags(former: bytes | None) -> bytes | None:
            return tags if former is None else None

        def copy_direct(former: bytes | None) -> bytes | None:
            return with_direct_chat(former, old.room_id, new.room_id)

        await self._committer.commit(
            EditAccountData(user_nid, new.room_nid, TAG, copy_tags),
            EditAccountData(user_nid, GLOBAL, DIRECT, copy_direct),
        )


def with_direct_chat(content: bytes | None, old_id: str, new_id: str) -> bytes | None:
    """The content of `m.direct` with the new room wherever the old one is; None if unchanged."""
    direct: Any = None if content is None else orjson.loads(content)
    if not isinstance(direct, dict):
        return None
    lacking = [
        user
        for user, rooms in direct.items()
        if isinstance(rooms, list) and lacks(rooms, old_id, new_id)
    ]
    if not lacking:
        return None
    return orjson.dumps({**direct, **{user: [*direct[user], new_id] for user in lacking}})


def lacks(rooms: list[Any], old_id: str, new_id: str) -> bool:
    """Whether the old room is listed without the new one."""
    return old_id in rooms and new_id not in rooms
