"""A server that a test plays: it has a key and a certificate, answers as told, and may ask."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import aiohttp
import orjson
from aiohttp import web
from yarl import URL

from federation.protocol.build_event import complete_event
from federation.protocol.canonical_json import decode, encode_lax
from federation.protocol.identifiers import ServerName, UserId
from federation.protocol.pdu import Pdu
from federation.protocol.room_versions import get_room_version
from federation.protocol.server_keys import build_server_keys
from federation.protocol.signatures import SigningKey, signing_key_from_seed
from federation.protocol.x_matrix import authorization_header
from tests.federation.certificates import Authority
from tests.federation.sides import Side
from tests.federation.world import KEYS, Handler, Peer, Seen, free_address
from tests.homeserver.conftest import Answer

FOR_EVER = 2**53 - 1
V1 = "/_matrix/federation/v1/"


@dataclass
class PlayedServer:
    """A server at an address and port, which are its name."""

    peer: Peer
    key: SigningKey
    session: aiohttp.ClientSession
    _below: dict[str, Handler] = field(default_factory=dict)

    @property
    def name(self) -> ServerName:
        return ServerName(f"{self.peer.address}:{self.peer.port}")

    def user(self, localpart: str) -> UserId:
        return UserId(f"@{localpart}:{self.name}")

    def asked(self, path: str) -> list[Seen]:
        """The requests so far whose path begins so."""
        return [seen for seen in self.peer.seen if seen.target.startswith(path)]

    def answer(self, path: str, make: Callable[[Mapping[str, Any]], Any]) -> None:
        """Answer requests with what `make` gives for a body: an object, or a status and one."""

        self.peer.answers[path] = handler(make)

    def answer_below(self, prefix: str, make: Callable[[Mapping[str, Any]], Any]) -> None:
        """Answer so whatever is asked below a path, but for what has an answer of its own."""
        self._below[prefix] = handler(make)
        self.peer.fallback = self._find

    async def _find(self, request: web.BaseRequest) -> web.StreamResponse:
        for prefix, handle in self._below.items():
            if request.path.startswith(prefix):
                return await handle(request)
        return web.json_response({"errcode": "M_UNRECOGNIZED"}, status=404)

    async def ask(
        self, side: Side, method: str, target: str, body: Any = None, **query: Any
    ) -> Answer:
        """Make a signed request of one of our servers."""
        assert side.homes is not None
        if query:
            target += "?" + urlencode(query, doseq=True)
        content = None if body is None else encode_lax(body)
        name = ServerName(side.name)
        header = authorization_header(method, target, self.name, name, content, self.key)
        async with self.session.request(
            method,
            URL(side.homes.base_url + target, encoded=True),
            data=content,
            headers={"Authorization": header},
        ) as response:
            answer = await response.read()
            return Answer(response.status, orjson.loads(answer), response.headers)

    async def join(self, side: Side, room_id: str, localpart: str) -> Pdu:
        """Have a user of this server join a room of ours."""
        path = f"make_join/{room_id}/{self.user(localpart)}"
        template = (await self.ask(side, "GET", V1 + path, ver=["11"])).ok()
        join = self.complete(template["event"], template["room_version"])
        path = f"/_matrix/federation/v2/send_join/{room_id}/{join.event_id}"
        (await self.ask(side, "PUT", path, decode(join.encoded))).ok()
        return join

    def complete(self, fields: Mapping[str, Any], version_id: str) -> Pdu:
        """An event of this server, hashed and signed."""
        return complete_event(fields, get_room_version(version_id), self.name, self.key)

    async def send(self, side: Side, txn_id: str, *pdus: Mapping[str, Any]) -> Mapping[str, Any]:
        """Send events in a transaction; what became of each."""
        body = {"origin": self.name, "origin_server_ts": 1, "pdus": list(pdus)}
        answer = await self.ask(side, "PUT", f"{V1}send/{txn_id}", body)
        results: Mapping[str, Any] = answer.ok()["pdus"]
        return results


def handler(make: Callable[[Mapping[str, Any]], Any]) -> Handler:
    """Answers with what `make` gives for a body: an object, or a status and one."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        content = await request.read()
        made = make(orjson.loads(content) if content else {})
        status, body = made if isinstance(made, tuple) else (200, made)
        # Not orjson, which writes no integers beyond 64 bits.
        return web.json_response(body, status=status)

    return handle


def always(answer: Any) -> Callable[[Mapping[str, Any]], Any]:
    """Gives the same answer for every body."""
    return lambda _body: answer


@asynccontextmanager
async def played_server(
    authority: Authority, session: aiohttp.ClientSession
) -> AsyncIterator[PlayedServer]:
    """A server on loopback that publishes its key."""
    address = free_address()
    peer = Peer(address, 0)
    runner = web.ServerRunner(web.Server(peer.handle), shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, address, 0, ssl_context=authority.server_context(address))
        await site.start()
        peer.port = runner.addresses[0][1]
        key = signing_key_from_seed("played", address.encode().ljust(32, b"."))
        server = PlayedServer(peer, key, session)
        peer.answers[KEYS] = build_server_keys(server.name, (key,), valid_until_ts=FOR_EVER)
        yield server
    finally:
        await runner.cleanup()
