"""One-time and fallback keys: taking them from devices and giving them away.

How many a device has left is told in every sync, so it is kept in memory until it changes.
Source: client-server API, "One-time and fallback keys".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from federation.protocol.canonical_json import decode
from federation.protocol.device_keys import OneTimeKey
from federation.protocol.errors import InvalidParam
from federation.protocol.identifiers import UserId
from homeserver.encryption.ports import Announce
from storage.cache import Cache
from storage.database import Pool
from storage.one_time_keys import (
    MAX_STORED,
    Claim,
    KeyDiffers,
    TooManyKeys,
    add_one_time_keys,
    claim_keys,
    count_one_time_keys,
    unused_fallback_algorithms,
)

ENTRY_COST = 400
ANNOUNCED_AT_ONCE = 500
"""Devices in one announcement, which has a limited length."""

Wanted = Mapping[UserId, Mapping[str, str]]
"""Of which algorithm a key is wanted: user -> device ID -> algorithm."""
Claimed = dict[str, dict[str, dict[str, Any]]]
"""Keys by user, device and their full ID."""


@dataclass(frozen=True, slots=True)
class KeyCounts:
    """How many one-time keys a device has left, and which of its fallback keys are unused."""

    one_time_keys: Mapping[str, int]
    unused_fallback_keys: Sequence[str]


NO_KEYS = KeyCounts({}, ())


def describe(error: KeyDiffers) -> str:
    """What a client is told that has forgotten keys of its own.

    Clients on matrix-rust-sdk know this case by the text alone, and read both keys from it.
    """
    return (
        f"One time key {error.full_id} already exists. "
        f"Old key: {error.stored.decode()}; new key: {error.offered.decode()}"
    )


class OneTimeKeys:
    """Keeps the keys."""

    def __init__(self, db: Pool, announce: Announce, max_bytes: int) -> None:
        self._db = db
        self._announce = announce
        self._counts: Cache[int, KeyCounts] = Cache(max_bytes)
        self._changes = 0

    async def add(
        self, device_nid: int, keys: Sequence[OneTimeKey], fallback: Sequence[OneTimeKey]
    ) -> None:
        """Take keys of a device; the same again changes nothing. Raises `InvalidParam`."""
        if not keys and not fallback:
            return
        if not device_nid:
            raise InvalidParam("The session has no device that could have keys")
        try:
            await add_one_time_keys(self._db, device_nid, keys, fallback)
        except KeyDiffers as error:
            raise InvalidParam(describe(error)) from error
        except TooManyKeys as error:
            raise InvalidParam(f"A device may have {MAX_STORED} one-time keys") from error
        await self._changed([device_nid])

    async def claim(self, wanted: Wanted) -> Claimed:
        """Give away a key of each device; those that have none are left out."""
        claims = [
            Claim(user_id, device_id, algorithm)
            for user_id, by_device in wanted.items()
            for device_id, algorithm in by_device.items()
        ]
        if not claims:
            return {}
        met = await claim_keys(self._db, claims)
        given: Claimed = {}
        for claim, key in met.items():
            by_device = given.setdefault(claim.user_id, {})
            by_device[claim.device_id] = {f"{claim.algorithm}:{key.key_id}": decode(key.key)}
        await self._changed([key.device_nid for key in met.values()])
        return given

    async def counts(self, device_nid: int) -> KeyCounts:
        """What a device has left."""
        known = self._counts.get(device_nid)
        if known is not None or not device_nid:
            return known or NO_KEYS
        changes = self._changes
        counts = KeyCounts(
            await count_one_time_keys(self._db, device_nid),
            await unused_fallback_algorithms(self._db, device_nid),
        )
        # What was read before a change must not outlive the change.
        if changes == self._changes:
            self._counts.put(device_nid, counts, ENTRY_COST)
        return counts

    def hear(self, announcement: str) -> None:
        """Take in which devices another process has changed."""
        self._forget(orjson.loads(announcement))

    def forget_all(self) -> None:
        """Count all keys again: announcements may have been missed."""
        self._changes += 1
        self._counts.clear()

    async def _changed(self, device_nids: list[int]) -> None:
        self._forget(device_nids)
        for start in range(0, len(device_nids), ANNOUNCED_AT_ONCE):
            part = device_nids[start : start + ANNOUNCED_AT_ONCE]
            await self._announce(orjson.dumps(part).decode())

    def _forget(self, device_nids: Sequence[int]) -> None:
        self._changes += 1
        for device_nid in device_nids:
            self._counts.discard(device_nid)
