"""Transactions to and from other servers, put together."""

import random
from dataclasses import dataclass

from federation.inbound.edus import Edus
from federation.inbound.receiving_ports import PduReceiver, ServerAcls
from federation.inbound.transactions import Transactions
from federation.outbound.sender import Sender
from federation.protocol.identifiers import ServerName
from federation.protocol.room_versions import RoomVersion, get_room_version
from homeserver.clock import Clock
from homeserver.encryption.device_lists import DeviceLists
from homeserver.encryption.remote_devices import RemoteDevices
from homeserver.encryption.to_device import ToDevice
from homeserver.other_servers.backlog import KeptBacklog
from homeserver.other_servers.distribution import Distribution
from homeserver.other_servers.introductions import Introductions
from homeserver.other_servers.links import Links
from homeserver.other_servers.received_edus import ReceivedEdus
from homeserver.other_servers.room_servers import RoomServers
from homeserver.other_servers.sending import Sending
from homeserver.rooms.receipts import Receipts
from homeserver.rooms.typing import Typing
from homeserver.users.presence import Presence
from storage.committer import Committer
from storage.database import Database, Pool
from storage.names import Names
from storage.received_transactions import find_answer, keep_answer
from storage.stream import Stream


@dataclass(frozen=True, slots=True)
class TrafficParts:
    """The services that other servers' EDUs speak to, and who takes their events."""

    pdus: PduReceiver
    acls: ServerAcls
    typing: Typing
    receipts: Receipts
    presence: Presence
    to_device: ToDevice
    devices: RemoteDevices
    device_lists: DeviceLists


@dataclass(frozen=True, slots=True)
class Traffic:
    """What is sent to other servers and what comes from them."""

    transactions: Transactions
    """Takes transactions."""
    sending: Sending
    """Sends them, as a job of the server."""


def build_traffic(
    *,
    db: Pool,
    names: Names,
    committer: Committer,
    stream: Stream,
    clock: Clock,
    links: Links,
    servers: RoomServers,
    parts: TrafficParts,
) -> Traffic:
    """Put the services together and have them hear of the stream and of typing."""
    name = ServerName(links.own.server_name)
    backlog = KeptBacklog(db, servers, name, committer.number)
    sender = Sender(links.client, backlog, links.backoff, name, clock, random.random)
    introductions = Introductions(db, names, servers, parts.device_lists)
    distribution = Distribution(
        db, names, stream, servers, parts.typing, sender, introductions, name, clock
    )
    stream.listen(distribution.heard)
    parts.typing.listen(distribution.typing_changed)
    received = ReceivedEdus(
        db,
        names,
        parts.typing,
        parts.receipts,
        parts.presence,
        parts.to_device,
        parts.devices,
    )
    transactions = Transactions(
        parts.pdus,
        Edus(received, parts.acls),
        KeptTransactions(db),
        KnownVersions(names),
        parts.acls,
        clock,
    )
    return Traffic(transactions, Sending(db, committer.number, sender, distribution))


class KeptTransactions:
    """Remembers what transactions were answered, in the database."""

    __slots__ = ("_db",)

    def __init__(self, db: Database) -> None:
        self._db = db

    async def find_answer(self, origin: ServerName, txn_id: str) -> bytes | None:
        """The answer to the transaction, or None if it has not been answered."""
        return await find_answer(self._db, origin, txn_id)

    async def keep_answer(
        self, origin: ServerName, txn_id: str, received_ts: int, answer: bytes
    ) -> None:
        """Remember the answer."""
        await keep_answer(self._db, origin, txn_id, received_ts, answer)


class KnownVersions:
    """The versions of the rooms that are here."""

    __slots__ = ("_names",)

    def __init__(self, names: Names) -> None:
        self._names = names

    async def find_version(self, room_id: str) -> RoomVersion | None:
        """The room's version, or None if this server does not know the room."""
        room = await self._names.rooms.find(room_id)
        return get_room_version(room.version_id) if room is not None else None
