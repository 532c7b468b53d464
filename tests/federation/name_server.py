"""A name server on loopback, and a hosts table in place of the machine's."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import dns.flags
import dns.message
import dns.rcode
import dns.rrset


class NameServer(asyncio.DatagramProtocol):
    """Answers SRV queries from `records`, by name; `mute` ones are not answered."""

    def __init__(self) -> None:
        self.records: dict[str, list[str]] = {}
        self.asked: list[str] = []
        """The names, once for each question however often it was repeated."""
        self.ttl_s = 300
        self.is_mute = False
        self.is_broken = False
        self._ids: set[tuple[int, str]] = set()
        self._transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        query = dns.message.from_wire(data)
        name = query.question[0].name.to_text(omit_final_dot=True)
        if (query.id, name) not in self._ids:
            self._ids.add((query.id, name))
            self.asked.append(name)
        if self.is_mute:
            return
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.RA
        found = self.records.get(name)
        if self.is_broken:
            answer.set_rcode(dns.rcode.SERVFAIL)
        elif found is None:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        elif found:
            rrset = dns.rrset.from_text_list(f"{name}.", self.ttl_s, "IN", "SRV", found)
            answer.answer.append(rrset)
        self._transport.sendto(answer.to_wire(), addr)

    @property
    def address(self) -> tuple[str, int]:
        host, port = self._transport.get_extra_info("sockname")
        return host, port


@asynccontextmanager
async def name_server() -> AsyncIterator[NameServer]:
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(NameServer, local_addr=("127.0.0.1", 0))
    yield server
    transport.close()


class Hosts:
    """Names and their addresses; stands for the system's resolver."""

    def __init__(self) -> None:
        self.table: dict[str, tuple[str, ...]] = {}
        self.asked: list[str] = []

    def look_up(self, host: str, _port: None, **_options: Any) -> Sequence[Any]:
        self.asked.append(host)
        if host not in self.table:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(0, 0, 0, "", (address, 0)) for address in self.table[host]]
