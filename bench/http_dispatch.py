"""What our HTTP layer costs on top of aiohttp's server.

    python -m bench.http_dispatch [REQUESTS]

A server in this process answers a client in another one over loopback. Counted is the CPU time of
this process for each request: requests per second on one core are its reciprocal. `bare` is
aiohttp's `web.Server` with a constant `web.Response`, without routes or headers of ours. `public`
adds matching and our answers, `user` a token and a rate limit, `event` a body of JSON.
"""

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from types import SimpleNamespace
from typing import Any, cast

import orjson
import uvloop
from aiohttp import web

from federation.protocol.endpoint import Access, Rate, endpoint
from federation.protocol.identifiers import DeviceId, UserId
from homeserver.config.sections.limits import Allowance
from homeserver.http.authenticate import Authenticator
from homeserver.http.call import Call
from homeserver.http.dispatch import Dispatcher
from homeserver.http.listener import HttpServer, ListenAddress
from homeserver.http.settings import HttpSettings
from homeserver.services import Services
from homeserver.users.requester import Requester

CONNECTIONS = 16
ROOM = "/_matrix/client/v3/rooms/!OGEhHVWSdvArJzumhm:example.org"
HEADERS = (
    "Host: example.org\r\nUser-Agent: bench\r\nAccept: application/json\r\n"
    "Authorization: Bearer syt_YWxpY2U_abcdefghijklmnopqrst_0123ab\r\n"
)
EVENT = '{"msgtype":"m.text","body":"Hello, this is a message of usual length."}'


@endpoint("GET", "/_matrix/client/v3/rooms/{roomId}/public", Access.PUBLIC)
async def public(call: Call) -> Mapping[str, Any]:
    return {"room_id": call.path["roomId"]}


@endpoint("GET", "/_matrix/client/v3/rooms/{roomId}/user", Access.USER, rate=Rate.REQUEST)
async def user(call: Call) -> Mapping[str, Any]:
    return {"user_id": call.user_id}


@endpoint("PUT", "/_matrix/client/v3/rooms/{roomId}/event", Access.USER, rate=Rate.MESSAGE)
async def event(call: Call) -> Mapping[str, Any]:
    return {"body": call.json["body"]}


class OneSession:
    """Knows every token, at no cost."""

    requester = Requester(UserId("@alice:example.org"), 1, DeviceId("A"), 1, 1)

    async def find(self, token: str) -> Requester | None:  # noqa: ARG002
        return self.requester


def request_for(name: str) -> bytes:
    """What the client sends for a case."""
    if name == "event":
        head = f"PUT {ROOM}/event HTTP/1.1\r\n{HEADERS}Content-Length: {len(EVENT)}\r\n\r\n"
        return (head + EVENT).encode()
    return f"GET {ROOM}/{name} HTTP/1.1\r\n{HEADERS}\r\n".encode()


async def answer_bare(request: web.BaseRequest) -> web.StreamResponse:  # noqa: ARG001
    """As little as can be done with aiohttp's own response."""
    return web.Response(body=orjson.dumps({"room_id": "x"}), content_type="application/json")


async def start_bare() -> tuple[int, Callable[[], Awaitable[None]]]:
    """A server of aiohttp alone: its port and its end."""
    connections = web.Server(answer_bare, access_log=None)
    server = await asyncio.get_running_loop().create_server(connections, "127.0.0.1", 0)

    async def stop() -> None:
        server.close()
        await connections.shutdown(1)

    return server.sockets[0].getsockname()[1], stop


async def start_ours() -> tuple[int, Callable[[], Awaitable[None]]]:
    """Our server: its port and its end."""
    plenty = Allowance(per_second=1e9, burst=1_000_000)
    settings = HttpSettings(allowances={Rate.REQUEST: plenty, Rate.MESSAGE: plenty})
    authenticator = Authenticator(OneSession(), None, lambda: 0)
    services = cast(Services, SimpleNamespace())
    server = HttpServer(
        Dispatcher((public, user, event), services, authenticator, settings), settings
    )
    await server.start([ListenAddress("127.0.0.1", 0)])
    return server.ports[0], server.stop


async def measure(name: str, requests: int) -> float:
    """Seconds of this process's CPU for one request."""
    port, stop = await (start_bare() if name == "bare" else start_ours())
    await run_client(name, port, requests // 10)
    before_s = time.process_time()
    await run_client(name, port, requests)
    spent_s = time.process_time() - before_s
    await stop()
    return spent_s / requests


async def run_client(name: str, port: int, requests: int) -> None:
    """Let another process send that many requests."""
    arguments = ("-m", "bench.http_dispatch", "client", name, str(port), str(requests))
    client = await asyncio.create_subprocess_exec(sys.executable, *arguments)
    if await client.wait():
        raise subprocess.CalledProcessError(client.returncode or 1, arguments)


def be_client(name: str, port: int, requests: int) -> None:
    """Send requests over some connections, one at a time on each, and read the answers."""
    request = request_for(name)
    connections = [socket.create_connection(("127.0.0.1", port)) for _ in range(CONNECTIONS)]
    for _ in range(requests // CONNECTIONS):
        for connection in connections:
            connection.sendall(request)
        for connection in connections:
            if not connection.recv(65_536).startswith(b"HTTP/1.1 200"):
                raise SystemExit("the server did not answer 200")


async def compare(requests: int) -> None:
    """Measure all cases and print them."""
    await measure("bare", requests)
    print(f"{'case':8} {'µs of CPU':>10} {'over bare':>10} {'requests/s':>11}")
    bare_s = 0.0
    for name in ("bare", "public", "user", "event"):
        each_s = await measure(name, requests)
        bare_s = bare_s or each_s
        over = (each_s - bare_s) * 1e6
        print(f"{name:8} {each_s * 1e6:10.1f} {over:10.1f} {1 / each_s:11.0f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["client"]:
        be_client(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        uvloop.run(compare(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000))
