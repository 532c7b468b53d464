"""Account data: what users keep for themselves, for the whole account or for a room.

`room_nid` is 0 for data of the whole account. The content is JSON, kept as it was encoded. An empty
object stands for data that was deleted: those who follow the changes hear of it, for everybody
else there is nothing. Source: MSC3391.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from federation.protocol.errors import MatrixError
from storage.changes import AccountDataSet
from storage.committer import Write
from storage.database import Database

GLOBAL = 0
"""The room number of data that belongs to the whole account."""

DELETED = b"{}"

Key = tuple[int, int, str]
"""User, room and type."""

UPSERT = """
    INSERT INTO account_data AS old (user_nid, room_nid, type, stream_position, content)
    SELECT * FROM unnest($1::integer[], $2::integer[], $3::text[], $4::bigint[], $5::bytea[])
        ON CONFLICT (user_nid, room_nid, type)
        DO UPDATE SET stream_position = GREATEST(old.stream_position, EXCLUDED.stream_position),
                      content = EXCLUDED.content
"""


@dataclass(frozen=True, slots=True)
class SetAccountData(Write):
    """A user's account data of a type is replaced."""

    user_nid: int
    room_nid: int
    type: str
    content: bytes

    @classmethod
    async def store(cls, db: Database, placed: Sequence[tuple["SetAccountData", int]]) -> None:
        """Write the last content of each key."""
        await _store(
            db,
            {
                (write.user_nid, write.room_nid, write.type): (position, write.content)
                for write, position in placed
            },
        )

    def changes(self, position: int) -> Sequence[AccountDataSet]:
        """The user's devices hear of it."""
        return (AccountDataSet(position, self.user_nid, self.room_nid, self.type, self.content),)


@dataclass(slots=True)
class EditAccountData(Write):
    """Account data of a type is made from what stood there before.

    The edit runs inside the commit, where nobody else writes, so that no other edit is lost. It
    takes the former content or None and gives the new one, or None where nothing changes. After
    the commit `content` holds what it gave. A `MatrixError` that it raises is kept in `error` and
    leaves the data as it was; other writes of the same transaction do not suffer from it.
    """

    order: ClassVar[int] = 51

    user_nid: int
    room_nid: int
    type: str
    edit: Callable[[bytes | None], bytes | None]
    content: bytes | None = None
    error: MatrixError | None = None

    @classmethod
    async def store(cls, db: Database, placed: Sequence[tuple["EditAccountData", int]]) -> None:
        """Read what is there, edit it in the order of the writes, and write the results."""
        contents = await _contents(db, [write.key for write, _ in placed])
        edited: dict[Key, tuple[int, bytes]] = {}
        for write, position in placed:
            write.apply(contents.get(write.key))
            if write.content is not None:
                contents[write.key] = write.content
                edited[write.key] = (position, write.content)
        if edited:
            await _store(db, edited)

    @property
    def key(self) -> Key:
        """Which account data is edited."""
        return self.user_nid, self.room_nid, self.type

    def apply(self, former: bytes | None) -> None:
        """Run the edit."""
        self.content = self.error = None
        try:
            self.content = self.edit(former)
        except MatrixError as error:
            self.error = error

    def changes(self, position: int) -> Sequence[AccountDataSet]:
        """The user's devices hear of it, if there was anything to change."""
        if self.content is None:
            return ()
        return (AccountDataSet(position, self.user_nid, self.room_nid, self.type, self.content),)


SELECT_AFTER = """
    SELECT stream_position, user_nid, room_nid, type, content
      FROM account_data
     WHERE user_nid = $1 AND stream_position > $2 AND stream_position <= $3
     ORDER BY stream_position
"""


async def account_data_after(
    db: Database, user_nid: int, since: int, upto: int
) -> list[AccountDataSet]:
    """What the user set after `since`, up to `upto`, in order."""
    return [AccountDataSet(*row) for row in await db.fetch(SELECT_AFTER, user_nid, since, upto)]


SELECT_ALL = """
    SELECT stream_position, user_nid, room_nid, type, content
      FROM account_data
     WHERE user_nid = $1 AND content <> '{}'
     ORDER BY stream_position
"""


async def all_account_data(db: Database, user_nid: int) -> list[AccountDataSet]:
    """Everything that the user has, of the account and of all rooms."""
    return [AccountDataSet(*row) for row in await db.fetch(SELECT_ALL, user_nid)]


SELECT_OF_ROOMS = """
    SELECT stream_position, user_nid, room_nid, type, content
      FROM account_data
     WHERE user_nid = $1 AND room_nid = ANY($2::integer[]) AND content <> '{}'
     ORDER BY stream_position
"""


async def account_data_of_rooms(
    db: Database, user_nid: int, room_nids: Iterable[int]
) -> list[AccountDataSet]:
    """Everything that the user has for these rooms (0 is the account itself)."""
    rows = await db.fetch(SELECT_OF_ROOMS, user_nid, list(room_nids))
    return [AccountDataSet(*row) for row in rows]


SELECT_CHANGED = """
    SELECT stream_position, user_nid, room_nid, type, content
      FROM account_data
     WHERE stream_position > $1 AND stream_position <= $2
     ORDER BY stream_position
"""


async def changed_account_data(db: Database, since: int, upto: int) -> list[AccountDataSet]:
    """What all users set after `since`, up to `upto`, in order."""
    return [AccountDataSet(*row) for row in await db.fetch(SELECT_CHANGED, since, upto)]


SELECT_CONTENT = """
    SELECT content
      FROM account_data
     WHERE user_nid = $1 AND room_nid = $2 AND type = $3 AND content <> '{}'
"""


async def find_account_data(
    db: Database, user_nid: int, room_nid: int, data_type: str
) -> bytes | None:
    """The content of one type, or None where the user has none."""
    content: bytes | None = await db.fetchval(SELECT_CONTENT, user_nid, room_nid, data_type)
    return content


SELECT_TYPES = """
    SELECT type
      FROM account_data
     WHERE user_nid = $1 AND room_nid = 0 AND type = ANY($2::text[]) AND content <> '{}'
"""


async def find_types(db: Database, user_nid: int, types: Iterable[str]) -> list[str]:
    """Those of the types that the user has data of, for the whole account."""
    return [data_type for (data_type,) in await db.fetch(SELECT_TYPES, user_nid, list(types))]


SELECT_OF_USERS = """
    SELECT user_nid, content
      FROM account_data
     WHERE user_nid = ANY($1::integer[]) AND room_nid = 0 AND type = $2 AND content <> '{}'
"""


async def account_data_of_users(
    db: Database, user_nids: Iterable[int], data_type: str
) -> dict[int, bytes]:
    """The content of one type of the whole account, for those of the users who have it."""
    return dict(await db.fetch(SELECT_OF_USERS, list(user_nids), data_type))


SELECT_OF_TYPE = """
    SELECT room_nid, content
      FROM account_data
     WHERE user_nid = $1 AND room_nid <> 0 AND type = $2
"""


async def account_data_of_type(db: Database, user_nid: int, data_type: str) -> dict[int, bytes]:
    """The user's data of one type, by room."""
    return dict(await db.fetch(SELECT_OF_TYPE, user_nid, data_type))


SELECT_CONTENTS = """
    SELECT user_nid, room_nid, type, content
      FROM account_data
      JOIN unnest($1::integer[], $2::integer[], $3::text[]) AS wanted (user_nid, room_nid, type)
     USING (user_nid, room_nid, type)
"""


async def _contents(db: Database, keys: Sequence[Key]) -> dict[Key, bytes]:
    rows = await db.fetch(SELECT_CONTENTS, *map(list, zip(*set(keys), strict=True)))
    return {(user, room, data_type): content for user, room, data_type, content in rows}


async def _store(db: Database, rows: dict[Key, tuple[int, bytes]]) -> None:
    users, rooms, types = zip(*rows, strict=True)
    positions, contents = zip(*rows.values(), strict=True)
    await db.execute(UPSERT, users, rooms, types, positions, contents)
