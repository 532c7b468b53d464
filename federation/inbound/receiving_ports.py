"""What receiving transactions needs of the rest."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from federation.protocol.edu import (
    DeviceListUpdate,
    DirectToDevice,
    PresenceUpdate,
    Receipt,
    SigningKeyUpdate,
    Typist,
)
from federation.protocol.identifiers import EventId, ServerName
from federation.protocol.room_versions import RoomVersion

Fields = Mapping[str, Any]
"""An event as a JSON object."""

Clock = Callable[[], int]
"""Gives milliseconds since the Unix epoch."""


class PduReceiver(Protocol):
    """Takes events of other servers into rooms."""

    async def receive(
        self, origin: str, room_id: str, events: Sequence[Fields]
    ) -> Mapping[EventId, str | None]:
        """Take events of one room, in order; for each why it is refused, or None.

        Answered when what is not refused is committed. Events without a recognisable ID are not
        in the answer. Raises `NotFound` for a room that is not here, and an error of status 5xx
        when nothing can be taken just now.
        """


class RoomVersions(Protocol):
    """The versions of rooms."""

    async def find_version(self, room_id: str) -> RoomVersion | None:
        """The room's version, or None if this server does not know the room."""


class ServerAcls(Protocol):
    """The server access control lists of rooms."""

    async def find_denied(self, origin: str, room_ids: Iterable[str]) -> set[str]:
        """Those of the rooms whose lists shut the server out."""


class ReceivedTransactions(Protocol):
    """Remembers what transactions were answered."""

    async def find_answer(self, origin: ServerName, txn_id: str) -> bytes | None:
        """The answer to the transaction, or None if it has not been answered."""

    async def keep_answer(
        self, origin: ServerName, txn_id: str, received_ts: int, answer: bytes
    ) -> None:
        """Remember the answer."""


class EduReceiver(Protocol):
    """Takes what EDUs say.

    The origin has been found to be the server of the users that speak, and to be allowed in the
    rooms spoken of.
    """

    async def typing(self, typist: Typist) -> None:
        """A user begins or ceases to type; nothing happens unless they are in the room."""

    async def receipts(self, receipts: Sequence[Receipt]) -> None:
        """Users have read; passed over for users who are not in the room."""

    async def presence(self, updates: Sequence[PresenceUpdate]) -> None:
        """Users show themselves; passed over for users whom nobody here knows."""

    async def direct_to_device(self, origin: ServerName, message: DirectToDevice) -> None:
        """Messages to devices, kept until they are fetched; the same `message_id` counts once."""

    async def device_list_update(self, update: DeviceListUpdate) -> None:
        """A device has changed."""

    async def signing_key_update(self, update: SigningKeyUpdate) -> None:
        """Cross-signing keys have changed."""
