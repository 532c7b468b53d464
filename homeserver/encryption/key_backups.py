"""Backups of room keys: the versions of a user's backup, and the keys in them.

Source: client-server API, "Server-side key backups".
"""

from collections.abc import Mapping, Sequence
from typing import Any

from federation.protocol import canonical_json
from federation.protocol.errors import InvalidParam, NotFound, WrongRoomKeysVersion
from storage.database import Pool
from storage.key_backups import (
    BackedUpKey,
    BackupReplaced,
    KeyBackup,
    Section,
    add_backed_up_keys,
    add_key_backup,
    backed_up_keys,
    delete_backed_up_keys,
    delete_backup,
    find_backup,
    find_latest_backup,
    set_auth_data,
)

MAX_VERSION = 2**31 - 1


class KeyBackups:
    """Keeps users' backups."""

    def __init__(self, db: Pool) -> None:
        self._db = db

    async def create(self, user_nid: int, algorithm: str, auth_data: Mapping[str, Any]) -> str:
        """Begin a new backup, which replaces the former one; its version."""
        encoded = canonical_json.encode_lax(auth_data)
        return str(await add_key_backup(self._db, user_nid, algorithm, encoded))

    async def latest(self, user_nid: int) -> KeyBackup:
        """The user's latest backup. Raises `NotFound`."""
        backup = await find_latest_backup(self._db, user_nid)
        if backup is None:
            raise NotFound("There is no backup")
        return backup

    async def get(self, user_nid: int, version: str) -> KeyBackup:
        """A backup. Raises `NotFound`."""
        backup = await find_backup(self._db, user_nid, read_version(version))
        if backup is None:
            raise unknown_backup()
        return backup

    async def change(
        self, user_nid: int, version: str, algorithm: str, auth_data: Mapping[str, Any]
    ) -> None:
        """Change what a backup says of itself. Raises `NotFound`, `InvalidParam`."""
        backup = await self.get(user_nid, version)
        if backup.algorithm != algorithm:
            raise InvalidParam("The backup has another algorithm")
        encoded = canonical_json.encode_lax(auth_data)
        await set_auth_data(self._db, user_nid, backup.version, encoded)

    async def delete(self, user_nid: int, version: str) -> None:
        """Delete a backup; one that was deleted before stays so. Raises `NotFound`."""
        if not await delete_backup(self._db, user_nid, read_version(version)):
            raise unknown_backup()

    async def add_keys(self, user_nid: int, version: str, keys: Sequence[BackedUpKey]) -> KeyBackup:
        """Add keys to the latest backup, where they are better than those that it has.

        Raises `NotFound`, `WrongRoomKeysVersion`.
        """
        try:
            return await add_backed_up_keys(self._db, user_nid, read_version(version), keys)
        except BackupReplaced as error:
            if error.current is None:
                raise unknown_backup() from error
            raise WrongRoomKeysVersion(str(error.current)) from error

    async def keys(self, user_nid: int, version: str, section: Section) -> list[BackedUpKey]:
        """Keys of a backup, those of a room together. Raises `NotFound` if there is no backup."""
        backup = await self.get(user_nid, version)
        return await backed_up_keys(self._db, user_nid, backup.version, section)

    async def key(self, user_nid: int, version: str, room_id: str, session_id: str) -> BackedUpKey:
        """The key of a session. Raises `NotFound`."""
        found = await self.keys(user_nid, version, Section(room_id, session_id))
        if not found:
            raise NotFound("There is no key of this session")
        return found[0]

    async def delete_keys(self, user_nid: int, version: str, section: Section) -> KeyBackup:
        """Delete keys of a backup. Raises `NotFound` if there is no backup."""
        number = read_version(version)
        backup = await delete_backed_up_keys(self._db, user_nid, number, section)
        if backup is None:
            raise unknown_backup()
        return backup


def read_version(text: str) -> int:
    """The number of a version. Raises `NotFound` for what was never one."""
    if not (text.isascii() and text.isdecimal()) or len(text) > 10 or int(text) > MAX_VERSION:
        raise unknown_backup()
    return int(text)


def unknown_backup() -> NotFound:
    """What is answered for a backup that does not exist."""
    return NotFound("There is no backup of this version")
