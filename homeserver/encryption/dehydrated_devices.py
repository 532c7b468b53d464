"""Dehydrated devices: they take keys for messages while a user is logged in nowhere.

To everybody else such a device is like any other; it only never has a session. What is sent to it
stays until the user replaces it, so that a session that takes it and is lost loses nothing.
Source: MSC3814.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from federation.protocol import canonical_json
from federation.protocol.device_keys import (
    OneTimeKey,
    check_device_keys,
    keep_signatures_of,
)
from federation.protocol.errors import BadState, Forbidden, InvalidParam, NotFound, TooLarge
from federation.protocol.identifiers import DeviceId, check_device_id
from homeserver.clock import Clock
from homeserver.encryption.device_lists import DeviceLists
from homeserver.users.requester import Requester
from homeserver.users.token_issuer import MAX_DISPLAY_NAME
from storage.committer import Committer, Write
from storage.database import Database
from storage.dehydrated_devices import (
    DehydratedDevice,
    DehydratedMoved,
    DeviceIdTaken,
    SetDehydratedDevice,
    find_dehydrated_device,
)
from storage.devices import RemoveDevices
from storage.to_device import read_to_device

ATTEMPTS = 4
MAX_DATA_BYTES = 131_072
"""An account with a hundred one-time keys takes about 20,000."""


@dataclass(frozen=True, slots=True)
class NewDehydratedDevice:
    """A dehydrated device as its client uploads it."""

    device_id: str
    device_data: Mapping[str, Any]
    device_keys: Mapping[str, Any]
    one_time_keys: Sequence[OneTimeKey] = ()
    fallback_keys: Sequence[OneTimeKey] = ()
    display_name: str | None = None


@dataclass(frozen=True, slots=True)
class WaitingMessages:
    """Messages, the place after the last of them, and whether there are more."""

    events: Sequence[bytes]
    next_batch: int
    has_more: bool


class DehydratedDevices:
    """Keeps them."""

    def __init__(
        self, db: Database, committer: Committer, clock: Clock, lists: DeviceLists
    ) -> None:
        self._db = db
        self._committer = committer
        self._clock = clock
        self._lists = lists

    async def put(self, requester: Requester, new: NewDehydratedDevice) -> DeviceId:
        """Replace the user's dehydrated device; with all its keys, or not at all.

        Raises `BadJson`, `InvalidParam`, `BadSignature`, `TooLarge`, and `Forbidden` for an ID that
        a cross-signing key has.
        """
        device_id = check_device_id(new.device_id)
        check_device_keys(new.device_keys, requester.user_id, device_id)
        data = canonical_json.encode_lax(new.device_data)
        if len(data) > MAX_DATA_BYTES:
            raise TooLarge(f"'device_data' may have at most {MAX_DATA_BYTES} bytes")
        if await self._lists.is_cross_signing_key(requester.user_nid, device_id):
            raise Forbidden("This device ID is the ID of a cross-signing key")
        for _ in range(ATTEMPTS):
            former = await find_dehydrated_device(self._db, requester.user_nid)
            try:
                await self._committer.commit(*await self._writes(requester, former, new, data))
            except DehydratedMoved:
                continue
            except DeviceIdTaken as error:
                raise InvalidParam(f"There is a device {device_id} already") from error
            return device_id
        raise BadState("The dehydrated device is being replaced by several sessions")

    async def get(self, user_nid: int) -> DehydratedDevice:
        """The user's dehydrated device. Raises `NotFound`."""
        device = await find_dehydrated_device(self._db, user_nid)
        if device is None:
            raise NotFound("There is no dehydrated device")
        return device

    async def remove(self, requester: Requester) -> DeviceId:
        """Remove the dehydrated device with what waits for it. Raises `NotFound`."""
        device = await self.get(requester.user_nid)
        removed = (device.device_id,)
        heard = await self._lists.writes_for_removal(requester.user_nid, requester.user_id, removed)
        await self._committer.commit(RemoveDevices(requester.user_nid, removed), *heard)
        return device.device_id

    async def messages(
        self, user_nid: int, device_id: str, after: int, limit: int
    ) -> WaitingMessages:
        """What waits for the dehydrated device; all of it goes on waiting.

        Raises `Forbidden` for any other device.
        """
        device = await find_dehydrated_device(self._db, user_nid)
        if device is None or device.device_id != device_id:
            raise Forbidden("This is not your dehydrated device")
        rows = await read_to_device(self._db, device.device_nid, after, limit + 1)
        given = rows[:limit]
        reached = given[-1][0] if given else after
        return WaitingMessages([event for _, event in given], reached, len(rows) > limit)

    async def _writes(
        self,
        requester: Requester,
        former: DehydratedDevice | None,
        new: NewDehydratedDevice,
        data: bytes,
    ) -> list[Write]:
        device_id, who = DeviceId(new.device_id), (requester.user_nid, requester.user_id)
        former_id = None if former is None else former.device_id
        name = new.display_name[:MAX_DISPLAY_NAME] if new.display_name else None
        keys = keep_signatures_of(new.device_keys, requester.user_id)
        writes: list[Write] = [
            SetDehydratedDevice(
                requester.user_nid,
                former_id,
                device_id,
                name,
                self._clock(),
                data,
                canonical_json.encode_lax(keys),
                new.one_time_keys,
                new.fallback_keys,
            )
        ]
        if former_id not in (None, device_id):
            writes += await self._lists.writes_for_removal(*who, [DeviceId(str(former_id))])
        return [*writes, *await self._lists.writes_for_change(*who, [device_id])]
