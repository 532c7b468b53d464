"""Names to addresses, by the system's resolver, and SRV records, by dnspython.

Addresses come from `getaddrinfo`, so that /etc/hosts and everything else that the machine's
administrator set up counts. It blocks, so it has a few threads of its own: the shared ones must
not wait for dead name servers.
"""

import asyncio
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from federation.protocol.server_name import SrvRecord, address_literal

if TYPE_CHECKING:
    from dns.asyncresolver import Resolver as DnsResolver

ADDRESS_THREADS = 8
ADDRESS_TIMEOUT_S = 10.0
SRV_TIMEOUT_S = 3.0
SRV_TIMEOUT_AFTER_SILENCE_S = 0.5
"""How long an answer is waited for while no name server seems to be there."""
SILENCE_S = 60.0

NO_RECORDS_TTL_S = 600
NO_ANSWER_TTL_S = 120


@dataclass(frozen=True, slots=True)
class SrvAnswer:
    """The records of a name, none where there are none or nobody answers, and for how long."""

    records: tuple[SrvRecord, ...]
    ttl_s: int


class Resolver:
    """Looks names up."""

    __slots__ = ("_dns", "_lookup", "_name_servers", "_silent_until_s", "_threads")

    def __init__(
        self,
        name_servers: Sequence[tuple[str, int]] = (),
        lookup: Callable[..., Sequence[Any]] = socket.getaddrinfo,
    ) -> None:
        """`name_servers` (address and port) are asked for SRV records instead of the system's."""
        self._name_servers = tuple(name_servers)
        self._lookup = lookup
        self._dns: DnsResolver | None = None
        self._threads: ThreadPoolExecutor | None = None
        self._silent_until_s = 0.0

    async def addresses(self, host: str) -> list[str]:
        """The IP addresses of a host, each once. Raises `OSError` if there are none."""
        if (literal := address_literal(host)) is not None:
            return [literal]
        if self._threads is None:
            self._threads = ThreadPoolExecutor(ADDRESS_THREADS, "hearth-dns")
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(self._threads, self._look_up, host)
        try:
            # Not `wait_for`: before Python 3.12 it loses a cancellation that comes with the answer.
            async with asyncio.timeout(ADDRESS_TIMEOUT_S):
                found = await work
        except TimeoutError as error:
            raise OSError(f"looking up the address of {host} took too long") from error
        except UnicodeError as error:
            raise OSError(f"{host} is no host name") from error
        return list(dict.fromkeys(entry[4][0] for entry in found))

    async def srv(self, name: str) -> SrvAnswer:
        """The SRV records of a name.

        A resolver that fails or is silent counts as one that has no records, for a shorter time:
        what follows in discovery may still work.
        """
        # Loaded now and not with the server: many never need it, and it takes 3 MB.
        from dns.exception import DNSException
        from dns.resolver import NXDOMAIN, LifetimeTimeout, NoAnswer

        now_s = asyncio.get_running_loop().time()
        is_silent = now_s < self._silent_until_s
        lifetime_s = SRV_TIMEOUT_AFTER_SILENCE_S if is_silent else SRV_TIMEOUT_S
        try:
            answer = await self._resolver().resolve(name, "SRV", search=False, lifetime=lifetime_s)
        except (NXDOMAIN, NoAnswer):
            return SrvAnswer((), NO_RECORDS_TTL_S)
        except LifetimeTimeout:
            self._silent_until_s = now_s + SILENCE_S
            return SrvAnswer((), NO_ANSWER_TTL_S)
        except (DNSException, OSError):
            return SrvAnswer((), NO_ANSWER_TTL_S)
        self._silent_until_s = 0.0
        ttl_s = 0 if answer.rrset is None else int(answer.rrset.ttl)
        return SrvAnswer(tuple(_record(entry) for entry in answer), ttl_s)

    def close(self) -> None:
        """End the threads; those that wait for a name server are not waited for."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._threads = None

    def _look_up(self, host: str) -> Sequence[Any]:
        return self._lookup(host, None, type=socket.SOCK_STREAM)

    def _resolver(self) -> "DnsResolver":
        if self._dns is None:
            from dns.asyncresolver import Resolver as DnsResolver
            from dns.nameserver import Do53Nameserver
            from dns.resolver import NoResolverConfiguration

            try:
                self._dns = DnsResolver(configure=not self._name_servers)
            except NoResolverConfiguration:
                self._dns = DnsResolver(configure=False)
            if self._name_servers:
                self._dns.nameservers = [Do53Nameserver(*one) for one in self._name_servers]
        return self._dns


def _record(entry: Any) -> SrvRecord:
    target = entry.target.to_text(omit_final_dot=True)
    return SrvRecord(entry.priority, entry.weight, entry.port, "" if target == "." else target)
