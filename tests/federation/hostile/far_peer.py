"""A whole other server on loopback: it asks ours, and answers ours as honestly as it is told to."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote, urlencode

import aiohttp
from aiohttp import web
from yarl import URL

from federation.protocol.canonical_json import decode, encode_lax
from federation.protocol.event_id import event_id_of
from federation.protocol.identifiers import EventId, ServerName
from federation.protocol.room_versions import ROOM_VERSIONS, get_room_version
from federation.protocol.server_keys import build_server_keys
from federation.protocol.signatures import SigningKey, signing_key_from_seed
from federation.protocol.x_matrix import authorization_header
from tests.federation.certificates import Authority
from tests.federation.hostile.room_copy import Fields, RoomCopy, empty_copy
from tests.federation.world import free_address
from tests.homeserver.conftest import Answer, Homes

OURS = ServerName("test")
FEDERATION = "/_matrix/federation/v1"
KEYS = "/_matrix/key/v2/server"
FOR_EVER = 2**53 - 1

Respond = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@dataclass
class FarPeer:
    """A server of that name; `answers` has what it says instead of the truth, by path prefix."""

    name: ServerName
    key: SigningKey
    homes: Homes
    session: aiohttp.ClientSession
    rooms: dict[str, RoomCopy] = field(default_factory=dict)
    answers: dict[str, Any] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    """The paths that our server has asked for."""
    received: list[tuple[str, bytes]] = field(default_factory=list)
    """The paths and bodies of our server's requests that change something."""
    transactions: int = 0
    server: web.Server = field(init=False)

    async def send(
        self, *pdus: Mapping[str, Any], edus: Any = (), txn_id: str | None = None, **more: Any
    ) -> Answer:
        """PUT a transaction."""
        self.transactions += 1
        body = self.transaction(*pdus, edus=edus, **more)
        return await self.put_bytes(f"send/{txn_id or f't{self.transactions}'}", body)

    def transaction(self, *pdus: Mapping[str, Any], edus: Any = (), **more: Any) -> bytes:
        """The JSON of a transaction, canonical however deep it is."""
        return self.encoded({"pdus": list(pdus), "edus": list(edus), **more})

    def encoded(self, body: Mapping[str, Any]) -> bytes:
        """The JSON of a transaction with this in it."""
        envelope = {"origin": self.name, "origin_server_ts": 1, **body}
        return json.dumps(
            envelope, sort_keys=True, separators=(",", ":"), ensure_ascii=False
        ).encode()

    async def put_bytes(self, path: str, body: bytes) -> Answer:
        return await self.raw("PUT", f"{FEDERATION}/{path}", body)

    async def get(self, path: str, **query: Any) -> Answer:
        target = f"{FEDERATION}/{path}"
        return await self.request(
            "GET", target + ("?" + urlencode(query, doseq=True) if query else "")
        )

    async def put(self, path: str, body: Any) -> Answer:
        prefix = "" if path.startswith("/") else f"{FEDERATION}/"
        return await self.request("PUT", prefix + path, body)

    async def request(self, method: str, target: str, body: Any = None) -> Answer:
        content = None if body is None else encode_lax(body)
        return await self.raw(method, target, content)

    async def raw(
        self,
        method: str,
        target: str,
        content: bytes | None,
        *,
        sent: Any = None,
        key: SigningKey | None = None,
        **headers: str,
    ) -> Answer:
        """A signed request of these bytes; `sent` is what goes over the wire instead."""
        signed = authorization_header(method, target, self.name, OURS, content, key or self.key)
        async with self.session.request(
            method,
            URL(self.homes.base_url + target, encoded=True),
            data=content if sent is None else sent,
            headers={"Authorization": signed, **headers},
        ) as response:
            answer = await response.read()
            is_json = response.content_type == "application/json"
            return Answer(response.status, decode(answer) if is_json else answer, response.headers)

    async def join(self, room_id: str, localpart: str = "rem") -> RoomCopy:
        """Have a user of this server join a room of ours, as servers do."""
        user_id = f"@{localpart}:{self.name}"
        path = f"make_join/{quote(room_id, safe='')}/{quote(user_id, safe='')}"
        template = (await self.get(path, ver=list(ROOM_VERSIONS))).ok()
        copy = self.rooms.get(room_id) or empty_copy(
            room_id, template["room_version"], self.name, self.key
        )
        self.rooms[room_id] = copy
        copy.made += 1
        join = {**template["event"], "origin_server_ts": 1}
        if copy.version.id in ("1", "2"):
            join["event_id"] = f"$join{copy.made}{room_id[1:6]}:{self.name}"
        sealed = copy.seal(join)
        event_id = copy.id_of(sealed)
        path = f"send_join/{quote(room_id, safe='')}/{quote(event_id, safe='')}"
        answer = (await self.put(f"/_matrix/federation/v2/{path}", sealed)).ok()
        copy.keep(answer["auth_chain"])
        copy.keep(answer["state"])
        copy.state = {(e["type"], e["state_key"]): copy.id_of(e) for e in answer["state"]}
        copy.depth = sealed["depth"] - 1
        copy.take(answer["event"])
        return copy

    async def hang_up(self) -> None:
        """Leave everything unanswered that our server waits for."""
        for connection in tuple(self.server.connections):
            if connection.transport is not None:
                connection.transport.abort()

    async def respond(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer our server."""
        path = unquote(request.path)
        self.asked.append(path)
        body = await request.read()
        if request.method == "PUT":
            self.received.append((path, body))
        for prefix in sorted(self.answers, key=len, reverse=True):
            if path.startswith((prefix, f"{FEDERATION}/{prefix}")):
                answer = self.answers[prefix]
                if callable(answer):
                    response: web.StreamResponse = await answer(request)
                    return response
                return json_answer(answer)
        if path == KEYS:
            return json_answer(build_server_keys(self.name, [self.key], valid_until_ts=FOR_EVER))
        return json_answer(self._truth(path, request, body))

    def _truth(self, path: str, request: web.BaseRequest, body: bytes) -> Any:
        what, _, rest = path.removeprefix(f"{FEDERATION}/").partition("/")
        if what == "send":
            return {"pdus": {}}
        if what == "event":
            found = [c.events[EventId(rest)] for c in self.rooms.values() if rest in c.events]
            return {"pdus": found[:1]} if found else NOT_FOUND
        room_id, _, event_id = rest.partition("/")
        copy = self.rooms.get(room_id)
        if copy is None:
            return NOT_FOUND
        if what == "backfill":
            starts = [EventId(one) for one in request.query.getall("v")]
            return {"pdus": copy.upto(starts, int(request.query["limit"]))}
        if what == "timestamp_to_event":
            ts, backwards = int(request.query["ts"]), request.query["dir"] == "b"
            return copy.nearest(ts, backwards=backwards) or NOT_FOUND
        return self._of_room(copy, what, event_id or request.query.get("event_id", ""), body)

    @staticmethod
    def _of_room(copy: RoomCopy, what: str, event_id: str, body: bytes) -> Any:
        at = EventId(event_id)
        if what == "get_missing_events":
            wanted = json.loads(body)
            limit = wanted["limit"]
            found = copy.behind(wanted["latest_events"], wanted["earliest_events"], limit)
            return {"events": found}
        if at not in copy.events:
            return NOT_FOUND
        if what == "event_auth":
            return {"auth_chain": [copy.events[i] for i in copy.auth_chain([at])]}
        if at not in copy.before:
            return NOT_FOUND
        state = list(copy.before[at].values())
        chain = copy.auth_chain(state)
        if what == "state_ids":
            return {"pdu_ids": state, "auth_chain_ids": chain}
        if what == "state":
            events = copy.events
            return {"pdus": [events[i] for i in state], "auth_chain": [events[i] for i in chain]}
        return NOT_FOUND


NOT_FOUND = (404, {"errcode": "M_NOT_FOUND", "error": "no"})


def json_answer(answer: Any) -> web.Response:
    """An object, or a status with one."""
    status, body = answer if isinstance(answer, tuple) else (200, answer)
    return web.Response(status=status, body=encode_lax(body), content_type="application/json")


@asynccontextmanager
async def far_peer(authority: Authority, homes: Homes) -> AsyncIterator[FarPeer]:
    """A server that speaks TLS at a loopback address of its own."""
    async with AsyncExitStack() as stack:
        address = free_address()
        session = await stack.enter_async_context(aiohttp.ClientSession())
        key = signing_key_from_seed("far", address.encode().ljust(32, b"."))
        peer = FarPeer(ServerName(address), key, homes, session)
        peer.server = web.Server(peer.respond)
        runner = web.ServerRunner(peer.server, shutdown_timeout=0.1)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        context = authority.server_context(address)
        await web.TCPSite(runner, address, 0, ssl_context=context).start()
        peer.name = ServerName(f"{address}:{runner.addresses[0][1]}")
        yield peer


async def never(request: web.BaseRequest) -> web.StreamResponse:
    """Give no answer."""
    del request
    await asyncio.Event().wait()
    raise AssertionError


def id_in(fields: Fields, version_id: str) -> EventId:
    return event_id_of(fields, get_room_version(version_id))
