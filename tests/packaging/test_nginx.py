"""The nginx configuration that is made of the template, in a real nginx, before a real hearth."""

import asyncio
import hashlib
import os
import re
import struct
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from homeserver.app import Homeserver, running
from tests.homeserver.conftest import Client, Homes, settings_for_tests
from tests.packaging.proxy import (
    HOST,
    NGINX_PROGRAM,
    RENDER,
    Proxy,
    proxied,
    render,
    template_values,
)

pytestmark = pytest.mark.skipif(NGINX_PROGRAM is None, reason="nginx is not installed")

LARGE = 20 * 2**20
GOLDEN = Path(__file__).parent / "golden" / "openwrt" / "etc__hearth__nginx__nginx.conf"
MAX_CONCURRENT_STREAMS = 3
"""The setting of HTTP/2: how many requests a client may have under way on a connection."""
HOUSEHOLD = 10
"""Clients behind one address."""


class Behind:
    """hearth behind nginx, and users who reach it from there."""

    def __init__(self, server: Homeserver, proxy: Proxy, session: aiohttp.ClientSession) -> None:
        self.proxy = proxy
        self.homes = Homes(server, session)
        self._session = session

    async def user(self) -> Client:
        """A new user whose requests go through nginx."""
        direct = await self.homes.user()
        client = Client(self._session, self.proxy.url)
        client.token, client.user_id = direct.token, direct.user_id
        return client


@pytest_asyncio.fixture
async def behind(database_url: str, tmp_path: Path) -> AsyncIterator[Behind]:
    """A hearth that trusts the nginx before it."""
    settings = settings_for_tests(database_url, tmp_path)
    (listener,) = settings.listen
    trusting = replace(settings, listen=(replace(listener, trusted_proxies=("127.0.0.1",)),))
    async with (
        running(trusting) as server,
        proxied(tmp_path, server.port) as proxy,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=proxy.tls())) as session,
    ):
        yield Behind(server, proxy, session)


@asynccontextmanager
async def before(
    directory: Path, app: web.Application, **changed: str
) -> AsyncIterator[tuple[Proxy, aiohttp.ClientSession]]:
    """nginx before another server, which stands for both hearth and LiveKit."""
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    try:
        async with (
            proxied(directory, port, port, **changed) as proxy,
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=proxy.tls())) as session,
        ):
            yield proxy, session
    finally:
        await runner.cleanup()


def echo() -> web.Application:
    """A server that says how a request has arrived."""

    async def answer(request: web.Request) -> web.Response:
        # Not `path`, which is decoded.
        said = {"target": request.raw_path, "headers": dict(request.headers)}
        return web.json_response(said)

    app = web.Application()
    app.router.add_route("*", "/{anything:.*}", answer)
    return app


# -- in the way of nothing --------------------------------------------------------------------


async def test_users_talk_and_wait_for_each_other(behind: Behind) -> None:
    alice, bob = await behind.user(), await behind.user()
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    since = (await bob.sync())["next_batch"]
    waiting = asyncio.create_task(bob.sync(since, timeout_ms=60_000))
    await alice.send(room, "hello")
    news = await waiting
    timeline = news["rooms"]["join"][room]["timeline"]["events"]
    assert timeline[-1]["content"]["body"] == "hello"


async def test_a_large_file_comes_back_as_it_was(behind: Behind) -> None:
    alice = await behind.user()
    content = os.urandom(LARGE)
    uploaded = (await alice.request("POST", "/_matrix/media/v3/upload", raw=content)).ok()
    name = uploaded["content_uri"].removeprefix("mxc://")
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=behind.proxy.tls())
    ) as session:
        url = f"{behind.proxy.url}/_matrix/client/v1/media/download/{name}"
        headers = {"Authorization": f"Bearer {alice.token}"}
        async with session.get(url, headers=headers) as response:
            assert response.status == 200
            fetched = hashlib.sha256(await response.read()).digest()
    assert fetched == hashlib.sha256(content).digest()


async def test_an_upload_is_passed_on_while_it_arrives(tmp_path: Path) -> None:
    arrived = asyncio.Event()
    received = 0

    async def take(request: web.Request) -> web.Response:
        nonlocal received
        async for chunk in request.content.iter_any():
            received += len(chunk)
            if received >= 2**20:
                arrived.set()
        return web.json_response({})

    async def halves() -> AsyncIterator[bytes]:
        yield bytes(2**21)
        # The other half is not sent before the server has seen some of the first.
        await arrived.wait()
        yield bytes(2**21)

    app = web.Application(client_max_size=2**24)
    app.router.add_post("/_matrix/media/v3/upload", take)
    async with before(tmp_path, app) as (proxy, session):
        async with session.post(f"{proxy.url}/_matrix/media/v3/upload", data=halves()) as response:
            assert response.status == 200
        assert received == 2**22
        assert not [path for path in (proxy.directory / "body").rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "target",
    [
        "/_matrix/federation/v1/state/%21room%3Aexample.org?event_id=%24a%2Fb%3Ac",
        "/_matrix/federation/v1/event/%24a%2Bb%2fc",
        "/_matrix/federation/v2/invite/!r:x/$e:x",
        "/_matrix/federation/v1/query/directory?room_alias=%23%C3%A9:x&a=b%20c+d",
        "/_matrix/client/v3/rooms/!r:x/state/m.room.member/@a%252Fb:x",
        "/_matrix/client/v3/rooms/!r:x/state/m.room.name/",
        "/_matrix/client/v3/rooms//double//slashes",
    ],
)
async def test_paths_arrive_byte_by_byte(tmp_path: Path, target: str) -> None:
    async with before(tmp_path, echo()) as (proxy, _):
        for port in (proxy.https, proxy.federation):
            # Written by hand: clients' libraries have ideas of their own about paths.
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=proxy.tls())
            writer.write(
                f"GET {target} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode()
            )
            answer = (await reader.read()).decode()
            writer.close()
            assert f'"target": "{target}"' in answer


async def test_hearth_sees_the_clients_address_and_no_claimed_one(behind: Behind) -> None:
    alice = await behind.user()
    connector = aiohttp.TCPConnector(ssl=behind.proxy.tls(), local_addr=("127.0.0.2", 0))
    headers = {"Authorization": f"Bearer {alice.token}", "X-Forwarded-For": "203.0.113.9"}
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        async with session.get(f"{behind.proxy.url}/_matrix/client/v3/sync") as response:
            assert response.status == 200
        await behind.homes.services.users.last_seen.write()
        async with session.get(f"{behind.proxy.url}/_matrix/client/v3/devices") as response:
            (device,) = (await response.json())["devices"]
    assert device["last_seen_ip"] == "127.0.0.2"


async def test_signalling_of_calls_is_passed_on_as_web_sockets(tmp_path: Path) -> None:
    async def signal(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        async for message in ws:
            await ws.send_str(f"{request.raw_path} {message.data}")
        return ws

    app = web.Application()
    app.router.add_get("/rtc", signal)
    app.router.add_get("/rtc/v1", signal)
    async with before(tmp_path, app) as (proxy, session):
        for path in ("/rtc?access_token=a%2Bb", "/rtc/v1?access_token=c"):
            async with session.ws_connect(f"{proxy.url}/livekit/sfu{path}") as ws:
                await ws.send_str("join")
                assert await ws.receive_str() == f"{path} join"


async def test_tokens_of_calls_come_from_hearth(tmp_path: Path) -> None:
    async with (
        before(tmp_path, echo()) as (proxy, session),
        session.post(f"{proxy.url}/livekit/jwt/get_token", json={}) as response,
    ):
        assert (await response.json())["target"] == "/livekit/jwt/get_token"


# -- in the way of what does not belong outside -----------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/livekit/sfu/twirp/livekit.RoomService/CreateRoom",
        "/livekit/jwt/sfu_webhook",
        "/health",
        "/metrics",
        "/",
    ],
)
async def test_what_is_for_inside_is_not_there_outside(tmp_path: Path, path: str) -> None:
    async with (
        before(tmp_path, echo()) as (proxy, session),
        session.get(f"{proxy.url}{path}") as response,
    ):
        assert response.status == 404


async def test_administration_is_for_home_unless_it_is_off(tmp_path: Path) -> None:
    path = "/_synapse/admin/v1/server_version"
    async with (
        before(tmp_path / "on", echo()) as (proxy, session),
        session.get(f"{proxy.url}{path}") as response,
    ):
        assert (await response.json())["target"] == path
    async with before(tmp_path / "off", echo(), ADMIN_API="no") as (proxy, session):
        async with session.get(f"{proxy.url}{path}") as response:
            assert response.status == 404
        async with session.get(f"{proxy.url}/_synapse/client/x") as response:
            assert response.status == 200


async def test_plain_http_leads_to_https_and_answers_authorities(tmp_path: Path) -> None:
    async with before(tmp_path, echo()) as (proxy, session):
        challenge = proxy.directory / "challenges/.well-known/acme-challenge/token"
        challenge.parent.mkdir(parents=True)
        challenge.write_text("token.thumbprint")
        plain = f"http://127.0.0.1:{proxy.http}"
        async with session.get(f"{plain}/.well-known/acme-challenge/token") as response:
            assert await response.text() == "token.thumbprint"
        headers = {"Host": HOST}
        async with session.get(
            f"{plain}/_matrix/x?a=b", headers=headers, allow_redirects=False
        ) as response:
            assert response.status == 301
            assert response.headers["Location"] == f"https://{HOST}/_matrix/x?a=b"


async def test_http_2_is_offered_and_old_tls_is_not(tmp_path: Path) -> None:
    async with before(tmp_path, echo()) as (proxy, _):
        _, writer = await asyncio.open_connection(
            "127.0.0.1", proxy.https, ssl=proxy.tls("h2", "http/1.1")
        )
        assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
        writer.close()
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{proxy.https}", "-tls1_1"]
        done = await asyncio.to_thread(
            subprocess.run, command, stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
        assert done.returncode != 0


# -- limits -----------------------------------------------------------------------------------


async def test_a_flood_is_told_to_slow_down_and_nobody_else_is(tmp_path: Path) -> None:
    limits = {"CLIENT_RATE": "1", "CLIENT_BURST": "20"}
    async with before(tmp_path, echo(), **limits) as (proxy, session):
        statuses: list[int] = []
        # However slowly they come: sooner or later one does before a second is over.
        while 429 not in statuses:
            async with session.get(f"{proxy.url}/_matrix/client/versions") as response:
                statuses.append(response.status)
                last = await response.json()
                origin = response.headers.get("Access-Control-Allow-Origin")
        assert statuses[:20] == [200] * 20
        assert (last["errcode"], last["retry_after_ms"]) == ("M_LIMIT_EXCEEDED", 2000)
        assert origin == "*"
        # A server of that address has its own allowance.
        async with session.get(f"{proxy.url}/_matrix/federation/v1/version") as response:
            assert response.status == 200
        other = aiohttp.TCPConnector(ssl=proxy.tls(), local_addr=("127.0.0.2", 0))
        async with (
            aiohttp.ClientSession(connector=other) as neighbour,
            neighbour.get(f"{proxy.url}/_matrix/client/versions") as response,
        ):
            assert response.status == 200


async def test_a_household_that_comes_back_at_once_stays_below_the_limit(tmp_path: Path) -> None:
    """nginx counts each request of HTTP/2 as a connection; it says how many a client may make."""
    of_a_router = re.search(r"limit_conn connections (\d+);", GOLDEN.read_text())
    assert of_a_router is not None
    async with before(tmp_path, echo()) as (proxy, _):
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", proxy.https, ssl=proxy.tls("h2")
        )
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
        head = await reader.readexactly(9)
        settings = await reader.readexactly(int.from_bytes(head[:3], "big"))
        writer.close()
    assert head[3] == 4
    told = dict(struct.iter_unpack(">HI", settings))
    at_once = told[MAX_CONCURRENT_STREAMS]
    assert HOUSEHOLD * at_once <= int(of_a_router[1])


async def test_one_address_cannot_take_all_connections(tmp_path: Path) -> None:
    release = asyncio.Event()

    async def wait(request: web.Request) -> web.Response:
        await release.wait()
        return web.json_response({})

    app = web.Application()
    app.router.add_get("/_matrix/client/v3/sync", wait)
    async with before(tmp_path, app, CONNECTIONS_PER_ADDRESS="5") as (proxy, session):

        async def sync() -> int:
            async with session.get(f"{proxy.url}/_matrix/client/v3/sync") as response:
                return response.status

        polls = [asyncio.create_task(sync()) for _ in range(8)]
        refused = []
        for finished in asyncio.as_completed(polls):
            refused.append(await finished)
            if len(refused) == 3:
                break
        assert refused == [429] * 3
        release.set()
        assert sorted(await asyncio.gather(*polls)) == [200] * 5 + [429] * 3


async def test_more_than_the_largest_file_is_refused_before_it_is_sent(tmp_path: Path) -> None:
    async with before(tmp_path, echo(), MAX_UPLOAD_BODY_MB="1") as (proxy, session):
        body = bytes(2**20 + 1)
        async with session.post(f"{proxy.url}/_matrix/media/v3/upload", data=body) as response:
            assert response.status == 413
            assert (await response.json())["errcode"] == "M_TOO_LARGE"


async def test_a_server_that_is_away_is_an_error_of_matrix(tmp_path: Path) -> None:
    async with proxied(tmp_path, hearth=1) as proxy:
        connector = aiohttp.TCPConnector(ssl=proxy.tls())
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.get(f"{proxy.url}/_matrix/client/versions") as response,
        ):
            assert response.status == 502
            assert (await response.json())["errcode"] == "M_UNKNOWN"
            assert response.headers["Access-Control-Allow-Origin"] == "*"


async def test_long_answers_are_compressed_and_short_ones_are_not(tmp_path: Path) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.json_response({"a": "b" * int(request.query["length"])})

    app = web.Application()
    app.router.add_get("/_matrix/client/v3/sync", answer)
    async with before(tmp_path, app) as (proxy, session):
        for length, encoding in ((100, None), (5000, "gzip")):
            url = f"{proxy.url}/_matrix/client/v3/sync?length={length}"
            async with session.get(url) as response:
                assert response.headers.get("Content-Encoding") == encoding
                assert len((await response.json())["a"]) == length


# -- the template -----------------------------------------------------------------------------


def test_a_name_that_is_not_set_is_an_error(tmp_path: Path) -> None:
    values = template_values(tmp_path)
    with pytest.raises(subprocess.CalledProcessError) as raised:
        render(values)
    assert "HEARTH_UPSTREAM is not set" in raised.value.stderr


@pytest.mark.parametrize("text", ["#if A\n", "#endif\n", "#else\n"])
def test_a_template_with_a_broken_condition_is_an_error(tmp_path: Path, text: str) -> None:
    template = tmp_path / "broken"
    template.write_text(text)
    done = subprocess.run(["sh", RENDER, template], capture_output=True, check=False)
    assert done.returncode != 0


def test_conditions_may_be_nested(tmp_path: Path) -> None:
    template = tmp_path / "template"
    template.write_text(
        "#if A\n#if B\nboth\n#else\nonly @A@\n#endif\n#else\nneither\n#endif\nend\n"
    )
    for values, text in (
        ({"A": "1", "B": "yes"}, "both\nend\n"),
        ({"A": "1", "B": "no"}, "only 1\nend\n"),
        ({"B": "yes"}, "neither\nend\n"),
    ):
        done = subprocess.run(
            ["sh", RENDER, template],
            env={"PATH": os.environ["PATH"], **values},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == text
