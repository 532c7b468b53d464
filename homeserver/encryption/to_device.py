"""Messages from device to device: sending them, and handing them to the devices that wait.

Source: client-server API, "Send-to-Device messaging"; server-server API, the same.
"""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from federation.protocol.edu import DeviceMessages, DirectToDevice, build_direct_to_device
from federation.protocol.errors import InvalidParam
from federation.protocol.identifiers import ServerName, UserId, is_within_bytes, server_of
from federation.protocol.to_device import content_for, encode_message, split_messages
from homeserver.clock import Clock
from storage.add_events import Transaction
from storage.cache import Cache
from storage.committer import Committer, Write
from storage.database import Database
from storage.outgoing import QueueEdus
from storage.request_transactions import NoteRequest, RequestSeen
from storage.to_device import (
    Addressee,
    AddToDevice,
    DeviceMessage,
    ReceivedId,
    addressees,
    take_to_device,
)

MAX_AT_ONCE = 100
"""Messages that one sync brings."""
MESSAGE_ID_BYTES = 18
ENTRY_COST = 150


class ToDevice:
    """Sends messages of our users, and takes those of others."""

    def __init__(
        self,
        db: Database,
        committer: Committer,
        clock: Clock,
        server_name: ServerName,
        *,
        federates: bool,
    ) -> None:
        self._db = db
        self._committer = committer
        self._clock = clock
        self._server_name = server_name
        self._federates = federates

    async def send(
        self,
        sender: UserId,
        message_type: str,
        messages: DeviceMessages,
        transaction: Transaction,
    ) -> None:
        """Send messages; answered once all of them are stored, those for other servers too.

        The same transaction again does nothing. Raises `BadJson`, `InvalidParam`.
        """
        if not is_within_bytes(message_type) or "\0" in message_type:
            raise InvalidParam("The type of the message is too long or has a NUL character")
        digest, now = transaction.path_digest, self._clock()
        writes: list[Write] = [NoteRequest(transaction.device_nid, digest, now)]
        found = await self._find_local(sender, message_type, messages)
        if found:
            writes.append(AddToDevice(found))
        if self._federates:
            writes += queued(sender, message_type, self._others(messages), now)
        try:
            await self._committer.commit(*writes)
        except RequestSeen:
            return

    async def take(self, origin: ServerName, message: DirectToDevice) -> None:
        """Keep messages of another server's user until they are fetched.

        The same `message_id` of a server counts once.
        """
        found = await self._find_local(message.sender, message.type, message.messages)
        if found:
            received = ReceivedId(origin, message.message_id, self._clock())
            await self._committer.commit(AddToDevice(found, received))

    async def _find_local(
        self, sender: UserId, message_type: str, messages: DeviceMessages
    ) -> list[DeviceMessage]:
        ours = [user for user in messages if server_of(user) == self._server_name]
        devices = await addressees(self._db, ours) if ours else ()
        return address(devices, sender, message_type, messages)

    def _others(self, messages: DeviceMessages) -> Mapping[ServerName, DeviceMessages]:
        by_server: dict[ServerName, dict[UserId, Mapping[str, Mapping[str, Any]]]] = {}
        for user_id, by_device in messages.items():
            by_server.setdefault(server_of(user_id), {})[user_id] = by_device
        by_server.pop(self._server_name, None)
        return by_server


class Inbox:
    """What waits for devices; knows of those that keep up that nothing does, without a look."""

    def __init__(self, db: Database, max_bytes: int) -> None:
        self._db = db
        self._empty_upto: Cache[int, int] = Cache(max_bytes)

    def may_have(self, device_nid: int, added: int) -> bool:
        """Whether messages may wait; `added` is the position of the latest for the user."""
        empty_upto = self._empty_upto.get(device_nid)
        return bool(device_nid) and (empty_upto is None or empty_upto < added)

    async def take(
        self, device_nid: int, delivered: int, upto: int, limit: int = MAX_AT_ONCE
    ) -> tuple[Sequence[bytes], int]:
        """The device's next messages after those that it has, and how far they go.

        What the device has by now is deleted. If messages up to `upto` are left, the position is
        that of the last that is given, and `upto` otherwise.
        """
        rows = await take_to_device(self._db, device_nid, delivered, upto, limit + 1)
        if not rows:
            self._empty_upto.put(device_nid, upto, ENTRY_COST)
        given = rows[:limit]
        reached = given[-1][0] if len(rows) > limit else upto
        return [message for _, message in given], reached


def address(
    devices: Iterable[Addressee], sender: UserId, message_type: str, messages: DeviceMessages
) -> list[DeviceMessage]:
    """For each of the devices the message that it gets, if it gets one. Raises `BadJson`."""
    found = []
    for device in devices:
        content = content_for(messages[UserId(device.user_id)], device.device_id)
        if content is not None:
            encoded = encode_message(sender, message_type, content)
            found.append(DeviceMessage(device.user_nid, device.device_nid, encoded))
    return found


def queued(
    sender: UserId, message_type: str, by_server: Mapping[ServerName, DeviceMessages], now: int
) -> list[QueueEdus]:
    """Messages for other servers, which are to get them in this order. Raises `BadJson`."""
    writes = []
    for server, messages in by_server.items():
        for part in split_messages(messages):
            message_id = secrets.token_urlsafe(MESSAGE_ID_BYTES)
            edu = build_direct_to_device(DirectToDevice(sender, message_type, message_id, part))
            writes.append(QueueEdus({server: edu.encode()}, now))
    return writes
