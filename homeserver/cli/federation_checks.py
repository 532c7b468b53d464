"""What `hearth federation check` looks at, in the order in which a request would meet it."""

import asyncio
import random
import ssl
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import aiohttp
import orjson

from federation.outbound.address_guard import AddressGuard
from federation.outbound.client import build_path, url_of
from federation.outbound.connections import (
    CONNECT_TIMEOUT_S,
    Connections,
    reason_of,
)
from federation.outbound.discovery import Discovered, Discovery
from federation.outbound.resolver import Resolver
from federation.outbound.tls import build_tls_context
from federation.outbound.well_known import Delegation, WellKnown
from federation.protocol.errors import InvalidParam, MatrixError
from federation.protocol.identifiers import ServerName
from federation.protocol.server_keys import parse_server_keys
from federation.protocol.server_name import Target
from homeserver.cli.finding import Finding, State
from homeserver.clock import system_clock
from homeserver.config.settings import Settings

MAX_BYTES = 262_144
REQUEST_TIMEOUT_S = 20
RENEW_BEFORE_DAYS = 14
LAST_SECOND = 253_402_300_799
"""Of the year 9999."""

VERSION_PATH = build_path("federation", "v1", "version")
KEYS_PATH = build_path("key", "v2", "server")


async def check_server(
    settings: Settings, name: str, resolver: Resolver | None = None
) -> list[Finding]:
    """All findings about a server."""
    resolver = resolver or Resolver()
    outgoing = settings.outgoing
    guard = AddressGuard(outgoing.deny_ip_ranges, outgoing.allow_ip_ranges)
    tls = build_tls_context(outgoing.extra_ca_files, verify=outgoing.verify_tls)
    connections = Connections(resolver, guard, tls)
    well_known = WellKnown(connections, system_clock, random.random)
    discovery = Discovery(well_known, resolver, system_clock, random.random)
    try:
        discovered = await discovery.find(ServerName(name))
        findings = describe_discovery(discovered)
        if not discovered.targets:
            message = f"The DNS of {name} says that it offers no federation."
            return [*findings, Finding("place", State.FAIL, message)]
        for target in discovered.targets:
            place = Place(ServerName(name), target, resolver, guard, tls, connections)
            findings += [finding async for finding in place.check()]
        return findings
    except InvalidParam as error:
        return [Finding("name", State.FAIL, f"{error.message}.")]
    finally:
        await connections.close()


def describe_discovery(discovered: Discovered) -> list[Finding]:
    """How the server was found."""
    findings = []
    if discovered.delegation is not None:
        findings.append(describe_delegation(discovered.delegation))
    for query, records in discovered.srv:
        shown = ", ".join(
            f"{one.target or '.'} port {one.port} (priority {one.priority}, weight {one.weight})"
            for one in records
        )
        findings.append(Finding("SRV", State.OK, f"{query}: {shown or 'none'}."))
    return findings


def describe_delegation(delegation: Delegation) -> Finding:
    """What the well-known file says. To have none is ordinary, to have a broken one is not."""
    subject = "well-known"
    if delegation.server_name is not None:
        hours = delegation.lifetime_ms / 3_600_000
        message = f"It delegates to {delegation.server_name}, for {hours:.1f} more hours."
        return Finding(subject, State.OK, message)
    if delegation.is_broken:
        message = f"The file is ignored: {delegation.problem}."
        return Finding(subject, State.WARN, message)
    return Finding(subject, State.OK, f"There is no file: {delegation.problem}.")


class Place:
    """One of the places where a server may be reached."""

    def __init__(
        self,
        server_name: ServerName,
        target: Target,
        resolver: Resolver,
        guard: AddressGuard,
        tls: ssl.SSLContext,
        connections: Connections,
    ) -> None:
        self._server_name = server_name
        self._target = target
        self._resolver = resolver
        self._guard = guard
        self._tls = tls
        self._connections = connections

    async def check(self) -> AsyncIterator[Finding]:
        """Addresses, connections, and what answers."""
        target = self._target
        where = f"{target.host} port {target.port}, as {target.tls_name}"
        try:
            addresses = await self._resolver.addresses(target.host)
        except OSError as error:
            yield Finding("place", State.FAIL, f"{where}: {reason_of(error)}.")
            return
        yield Finding("place", State.OK, f"{where}: {', '.join(addresses)}.")
        connected = [await self._check_address(address) for address in addresses]
        for finding in connected:
            yield finding
        if all(finding.state is State.FAIL for finding in connected):
            return
        for check in (self._check_version, self._check_keys):
            yield await check()

    async def _check_address(self, address: str) -> Finding:
        subject = "connection"
        if not self._guard.is_allowed(address):
            message = f"{address} is not allowed; see outgoing.allow_ip_ranges."
            return Finding(subject, State.FAIL, message)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                return await self._connect(address)
        except TimeoutError:
            return Finding(subject, State.FAIL, f"{address} does not let us connect in time.")
        except ssl.SSLCertVerificationError as error:
            shown = await self._shown_instead(address)
            return Finding(subject, State.FAIL, f"{address}: {reason_of(error)}{shown}.")
        except OSError as error:
            return Finding(subject, State.FAIL, f"{address}: {reason_of(error)}.")

    async def _connect(self, address: str) -> Finding:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        reader, writer = await asyncio.open_connection(address, self._target.port)
        connected_s = loop.time()
        try:
            await writer.start_tls(self._tls, server_hostname=self._target.tls_name)
            secured_s = loop.time()
            shown = writer.get_extra_info("ssl_object")
            certificate, protocol = shown.getpeercert() or {}, shown.version()
        finally:
            del reader
            writer.close()
        times = (
            f"connected in {milliseconds(connected_s - began_s)}, "
            f"{protocol} in {milliseconds(secured_s - connected_s)} more"
        )
        state, described = describe_certificate(certificate)
        return Finding("connection", state, f"{address}: {times}; {described}.")

    async def _shown_instead(self, address: str) -> str:
        """Which certificate the place shows, where it is not one that we accept.

        Only a certificate that was verified can be read, so it is asked for, and then trusted
        for the sake of reading it.
        """
        blind = build_tls_context((), verify=False)
        pinned = build_tls_context((), verify=True)
        pinned.check_hostname = False
        pinned.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                der = (await self._fetch_certificate(address, blind)).getpeercert(binary_form=True)
                pinned.load_verify_locations(cadata=der or b"")
                certificate = (await self._fetch_certificate(address, pinned)).getpeercert() or {}
        except (OSError, ValueError):
            return ""
        return f"; it shows a {describe_certificate(certificate)[1]}"

    async def _fetch_certificate(self, address: str, tls: ssl.SSLContext) -> ssl.SSLObject:
        """Raises `OSError`."""
        _, writer = await asyncio.open_connection(address, self._target.port)
        try:
            await writer.start_tls(tls, server_hostname=self._target.tls_name)
            shown: ssl.SSLObject = writer.get_extra_info("ssl_object")
            return shown
        finally:
            writer.close()

    async def _check_version(self) -> Finding:
        try:
            answer, took_s = await self._get(VERSION_PATH)
            server = answer["server"]
            shown = f"{server['name']} {server['version']}"
        except (OSError, aiohttp.ClientError, TimeoutError) as error:
            return Finding("version", State.FAIL, f"It cannot be asked: {reason_of(error)}.")
        except (ValueError, KeyError, TypeError):
            return Finding("version", State.WARN, "It does not tell its version as it should.")
        return Finding("version", State.OK, f"{shown}, told in {milliseconds(took_s)}.")

    async def _check_keys(self) -> Finding:
        now_ts = system_clock()
        try:
            answer, took_s = await self._get(KEYS_PATH)
            if not isinstance(answer, dict):
                raise ValueError("not an object")
            found = parse_server_keys(answer, self._server_name, received_ts=now_ts)
        except (OSError, aiohttp.ClientError, TimeoutError) as error:
            return Finding("keys", State.FAIL, f"They cannot be fetched: {reason_of(error)}.")
        except MatrixError as error:
            return Finding("keys", State.FAIL, f"{error.message.rstrip('.')}.")
        except ValueError:
            return Finding("keys", State.FAIL, "What answers is no Matrix server.")
        current = [key.key_id for key in found.keys.values() if key.expired_ts is None]
        until = date_of(found.valid_until_ts)
        names, old = ", ".join(current), len(found.keys) - len(current)
        if found.valid_until_ts <= now_ts:
            message = f"{names} were valid until {until} only: what it signs now is not accepted."
            return Finding("keys", State.FAIL, message)
        message = f"{names}, valid until {until}, and {old} old ones"
        return Finding("keys", State.OK, f"{message}, told in {milliseconds(took_s)}.")

    async def _get(self, path: str) -> tuple[Any, float]:
        """The JSON at a path and how long it took. Raises what aiohttp does, and `ValueError`."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        async with (
            asyncio.timeout(REQUEST_TIMEOUT_S),
            self._connections.session().get(
                url_of(self._target, path),
                headers={"Host": self._target.host_header},
                server_hostname=self._target.tls_name,
                allow_redirects=False,
            ) as response,
        ):
            if response.status != HTTPStatus.OK:
                raise OSError(f"it answers {response.status}")
            body = await response.content.read(MAX_BYTES)
            while more := await response.content.read(MAX_BYTES - len(body)):
                body += more
        return orjson.loads(body), loop.time() - began_s


def describe_certificate(certificate: dict[str, Any]) -> tuple[State, str]:
    """For whom, by whom and how long, in words; empty where certificates are not checked."""
    if not certificate:
        return State.WARN, "its certificate was not checked (outgoing.verify_tls)"
    names = ", ".join(str(value) for _, value in certificate.get("subjectAltName", ()))
    days = (
        int(ssl.cert_time_to_seconds(certificate["notAfter"])) - system_clock() // 1000
    ) // 86_400
    state = State.WARN if days < RENEW_BEFORE_DAYS else State.OK
    issuer = name_of(certificate.get("issuer", ()))
    return state, f"certificate for {names} by {issuer}, for {days} more days"


def name_of(distinguished: Sequence[Sequence[tuple[str, str]]]) -> str:
    """What tells most in a distinguished name."""
    fields = {key: value for part in distinguished for key, value in part}
    wanted = ("organizationName", "commonName")
    return " ".join(fields[key] for key in wanted if key in fields) or "nobody"


def date_of(ts: int) -> str:
    """A time in milliseconds for people; what is beyond the calendar is its end."""
    shown = datetime.fromtimestamp(min(max(ts, 0) // 1000, LAST_SECOND), UTC)
    return f"{shown:%Y-%m-%d %H:%M} UTC"


def milliseconds(seconds: float) -> str:
    """A duration for people."""
    return f"{seconds * 1000:.0f} ms"
