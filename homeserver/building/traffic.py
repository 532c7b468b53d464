"""Transactions to and from other servers, put together."""

import random
from dataclasses import dataclass

from federation.inbound.edus import Edus
from federation.inbound.receiving_ports import PduReceiver
from federation.inbound.transactions import Transactions
from federation.outbound.sender import Sender
from homeserver.building.core import Core
from homeserver.encryption.device_lists import DeviceLists
from homeserver.encryption.remote_devices import RemoteDevices
from homeserver.encryption.to_device import ToDevice
from homeserver.other_servers.backlog import KeptBacklog
from homeserver.other_servers.distribution import Distribution
from homeserver.other_servers.introductions import Introductions
from homeserver.other_servers.received_edus import ReceivedEdus
from homeserver.other_servers.received_transactions import KeptTransactions, KnownVersions
from homeserver.other_servers.room_servers import RoomServers
from homeserver.other_servers.sending import Sending
from homeserver.other_servers.sticky_greetings import StickyGreetings
from homeserver.rooms.receipts import Receipts
from homeserver.rooms.typing import Typing
from homeserver.users.presence import Presence
from storage.duties import SENDING


@dataclass(frozen=True, slots=True)
class TrafficParts:
    """The services that other servers' EDUs speak to, and who takes their events."""

    pdus: PduReceiver
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


def build_traffic(core: Core, servers: RoomServers, parts: TrafficParts) -> Traffic:
    """Put the services together and have them hear of the stream and of typing."""
    db, names, clock, links, name = core.db, core.names, core.clock, core.links, core.server_name
    backlog = KeptBacklog(db, servers, name, core.committer.number, clock)
    sender = Sender(links.client, backlog, links.backoff, name, clock, random.random)
    introductions = Introductions(db, names, servers, parts.device_lists)
    distribution = Distribution(
        db,
        names,
        core.stream,
        servers,
        parts.typing,
        sender,
        introductions,
        StickyGreetings(db, servers, sender, name, clock),
        name,
        clock,
    )
    core.stream.listen(distribution.heard)
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
        Edus(received, core.access),
        KeptTransactions(db),
        KnownVersions(names),
        core.access,
        clock,
    )
    return Traffic(transactions, Sending(core.duty(SENDING), sender, distribution))
