"""The links to other servers, put together: asking them, their keys, our keys, who asks us."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from federation.inbound.key_server import KeyServer
from federation.inbound.server_auth import ServerAuth
from federation.outbound.address_guard import AddressGuard
from federation.outbound.backoff import Backoff
from federation.outbound.client import FederationClient
from federation.outbound.connections import Connections
from federation.outbound.discovery import Discovery
from federation.outbound.key_fetch import KeyFetch
from federation.outbound.keyring import Keyring
from federation.outbound.ports import DestinationStore, KeyCache, ServerKeyStore
from federation.outbound.probing import Probing
from federation.outbound.resolver import Resolver
from federation.outbound.tls import build_tls_context
from federation.outbound.well_known import WellKnown
from federation.protocol.identifiers import ServerName
from federation.protocol.retry_schedule import RetrySchedule
from federation.protocol.server_keys import OwnKeys
from homeserver.clock import Clock
from homeserver.config.sections.federation import Federation, Outgoing
from homeserver.config.settings import Settings


@dataclass(frozen=True, slots=True)
class Links:
    """All that has to do with other servers as such."""

    client: FederationClient
    """Asks other servers."""
    keyring: Keyring
    """Knows the keys of all servers."""
    backoff: Backoff
    """Knows which servers are left alone after failures, and tells when one is there again."""
    probing: Probing
    """Notices when they are there again."""
    discovery: Discovery
    connections: Connections
    """The guarded session, for requests that are not signed too."""
    own: OwnKeys
    key_server: KeyServer
    auth: ServerAuth | None
    """Verifies the requests of other servers; None where federation is switched off."""

    async def close(self) -> None:
        """Hang up everywhere."""
        await self.connections.close()


@dataclass(frozen=True, slots=True)
class LinkStores:
    """Where the links keep what they learn."""

    keys: ServerKeyStore
    destinations: DestinationStore
    cache: KeyCache


def build_links(
    settings: Settings,
    own: OwnKeys,
    stores: LinkStores,
    clock: Clock,
    resolver: Resolver | None = None,
) -> Links:
    """The links as configured; nothing is connected yet. Raises `OSError` for a missing CA file."""
    name, federation = own.server_name, settings.federation
    is_allowed = policy_of(federation)
    resolver = resolver or Resolver()
    connections = guarded_connections(settings.outgoing, resolver)
    well_known = WellKnown(connections, clock, random.random)
    discovery = Discovery(well_known, resolver, clock, random.random)
    retries = RetrySchedule(federation.retry_first_s * 1000, federation.retry_longest_s * 1000)
    backoff = Backoff(stores.destinations, clock, random.random, retries)
    client = FederationClient(
        name,
        own.current[0],
        connections,
        discovery,
        backoff,
        clock,
        is_allowed=is_allowed,
        timeout_s=federation.request_timeout_s,
    )
    keyring = Keyring(
        own,
        stores.keys,
        stores.cache,
        KeyFetch(client, clock),
        clock,
        random.random,
        [ServerName(notary) for notary in federation.trusted_key_servers],
    )
    auth = ServerAuth(name, keyring, clock, is_allowed=is_allowed, seen=backoff.revive)
    return Links(
        client=client,
        keyring=keyring,
        backoff=backoff,
        probing=Probing(backoff, client.can_connect, clock, random.random),
        discovery=discovery,
        connections=connections,
        own=own,
        key_server=KeyServer(own, keyring, clock),
        auth=auth if federation.enabled else None,
    )


def guarded_connections(outgoing: Outgoing, resolver: Resolver) -> Connections:
    """Connections to addresses and certificates that the configuration lets pass."""
    guard = AddressGuard(outgoing.deny_ip_ranges, outgoing.allow_ip_ranges)
    tls = build_tls_context(outgoing.extra_ca_files, verify=outgoing.verify_tls)
    return Connections(resolver, guard, tls, outgoing.keepalive_s)


def policy_of(federation: Federation) -> Callable[[ServerName], bool]:
    """Which servers may be talked to."""
    allowed = frozenset(federation.allowed_servers)
    return lambda name: federation.enabled and (not allowed or name in allowed)
