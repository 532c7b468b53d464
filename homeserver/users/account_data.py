"""What users keep on the server for themselves, and the tags that they give to rooms.

Source: client-server API, "Client Config", "Room Tagging".
"""

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from federation.protocol.errors import BadJson, InvalidParam, NotFound
from storage.account_data import DELETED, EditAccountData, SetAccountData, find_account_data
from storage.committer import Committer
from storage.database import Database

TAG = "m.tag"
FULLY_READ = "m.fully_read"
PUSH_RULES = "m.push_rules"

SERVER_CONTROLLED = frozenset({FULLY_READ, PUSH_RULES})

MAX_TYPE_BYTES = 255
MAX_TAG_BYTES = 255

Tags = dict[str, dict[str, Any]]


class ServerControlled(BadJson):
    """The server keeps this type of account data itself; there are other ways to change it."""

    status = 405


class AccountData:
    """The account data of this server's users."""

    __slots__ = ("_committer", "_db")

    def __init__(self, db: Database, committer: Committer) -> None:
        self._db = db
        self._committer = committer

    async def get(self, user_nid: int, room_nid: int, data_type: str) -> bytes:
        """The content of one type, as JSON. Raises `NotFound`."""
        content = await find_account_data(self._db, user_nid, room_nid, data_type)
        if content is None:
            raise NotFound("There is no account data of this type")
        return content

    async def set(
        self, user_nid: int, room_nid: int, data_type: str, content: Mapping[str, Any]
    ) -> None:
        """Replace the content of one type; an empty one deletes it.

        Raises `ServerControlled`, `InvalidParam`.
        """
        check_is_users_own(data_type)
        if len(data_type.encode()) > MAX_TYPE_BYTES:
            raise InvalidParam(f"A type may have at most {MAX_TYPE_BYTES} bytes")
        write = SetAccountData(user_nid, room_nid, data_type, orjson.dumps(content))
        await self._committer.commit(write)

    async def delete(self, user_nid: int, room_nid: int, data_type: str) -> None:
        """Delete the content of one type; it need not be there. Raises `ServerControlled`."""
        check_is_users_own(data_type)
        await self._committer.commit(deletion(user_nid, room_nid, data_type))

    async def tags(self, user_nid: int, room_nid: int) -> Tags:
        """The tags that the user has given to the room."""
        return parse_tags(await find_account_data(self._db, user_nid, room_nid, TAG))

    async def set_tag(
        self, user_nid: int, room_nid: int, tag: str, content: Mapping[str, Any]
    ) -> None:
        """Give a tag to a room, or change it. Raises `InvalidParam`, `BadJson`."""
        if len(tag.encode()) > MAX_TAG_BYTES:
            raise InvalidParam(f"A tag may have at most {MAX_TAG_BYTES} bytes")
        order = content.get("order")
        if order is not None and type(order) not in (int, float):
            raise BadJson("'order' must be a number")
        await self._edit_tags(user_nid, room_nid, lambda tags: {**tags, tag: dict(content)})

    async def remove_tag(self, user_nid: int, room_nid: int, tag: str) -> None:
        """Take a tag off a room; it need not be there."""
        await self._edit_tags(
            user_nid,
            room_nid,
            lambda tags: {name: content for name, content in tags.items() if name != tag},
        )

    async def _edit_tags(
        self, user_nid: int, room_nid: int, change: Callable[[Tags], Tags]
    ) -> None:
        def edit(former: bytes | None) -> bytes | None:
            before = parse_tags(former)
            after = change(before)
            return None if orjson.dumps(after) == orjson.dumps(before) else build_tags(after)

        await self._committer.commit(EditAccountData(user_nid, room_nid, TAG, edit))


def check_is_users_own(data_type: str) -> None:
    """Raise `ServerControlled` for what users change in other ways."""
    if data_type in SERVER_CONTROLLED:
        raise ServerControlled(f"Cannot set {data_type} through this API")


def deletion(user_nid: int, room_nid: int, data_type: str) -> EditAccountData:
    """What deletes account data, and tells nobody where there is none."""
    return EditAccountData(
        user_nid,
        room_nid,
        data_type,
        lambda former: None if former in (None, DELETED) else DELETED,
    )


def parse_tags(content: bytes | None) -> Tags:
    """The tags in the content of an `m.tag` event; what clients put there wrongly is left out."""
    tags = orjson.loads(content).get("tags") if content is not None else None
    if not isinstance(tags, dict):
        return {}
    return {name: value for name, value in tags.items() if isinstance(value, dict)}


def build_tags(tags: Tags) -> bytes:
    """The content of the `m.tag` event with these tags."""
    return orjson.dumps({"tags": tags})
