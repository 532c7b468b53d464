"""Media of other servers: fetched over TLS, once, with limits, and given on."""

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest_asyncio
from aiohttp import web

from federation.outbound.errors import Refused
from storage.cluster import Cluster
from tests.federation.certificates import Authority
from tests.federation.sides import Side, side
from tests.federation.world import free_address
from tests.homeserver.conftest import Client, Homes
from tests.homeserver.media import pictures
from tests.homeserver.media.files import (
    THUMBNAIL,
    UPLOAD,
    arriving_files,
    create,
    download,
    fetch,
    kept_files,
    path_of,
    upload,
)
from tests.patience import LONG_POLL_MS
from tests.ports import free_port

MEBIBYTE = 1_048_576
DATA = bytes(range(256)) * 4000

Answer = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@dataclass
class Pair:
    """Alice at the one server and Bob at the other; they share nothing."""

    here: Side
    there: Side
    alice: Client
    bob: Client


@pytest_asyncio.fixture
async def pair(cluster: Cluster, authority: Authority, tmp_path: Path) -> AsyncIterator[Pair]:
    async with (
        aiohttp.ClientSession() as session,
        side(cluster, authority, tmp_path / "here", session) as here,
        side(cluster, authority, tmp_path / "there", session) as there,
    ):
        yield Pair(here, there, await here.user("alice"), await there.user("bob"))


def homes_of(one: Side) -> Homes:
    assert one.homes is not None
    return one.homes


async def test_a_file_comes_over_and_stays(pair: Pair) -> None:
    uri = await upload(pair.alice, DATA, "image/png", filename="🐔.png")
    got = await download(pair.bob, uri)
    assert (got.status, got.body) == (200, DATA)
    assert got.headers["Content-Type"] == "image/png"
    assert got.headers["Content-Disposition"] == "inline; filename*=utf-8''%F0%9F%90%94.png"
    await pair.here.stop()
    assert (await download(pair.bob, uri)).body == DATA
    part = await download(pair.bob, uri, headers={"Range": "bytes=5-9"})
    assert (part.status, part.body) == (206, DATA[5:10])


async def test_all_who_ask_at_once_wait_for_one_fetch(pair: Pair) -> None:
    uri = await upload(pair.alice, DATA)
    answers = await asyncio.gather(*(download(pair.bob, uri) for _ in range(10)))
    assert all(answer.body == DATA for answer in answers)
    assert len(kept_files(homes_of(pair.there))) == 1
    assert not arriving_files(homes_of(pair.there))


async def test_a_thumbnail_is_made_of_a_file_from_elsewhere(pair: Pair) -> None:
    uri = await upload(pair.alice, pictures.png(1000, 500))
    got = await fetch(pair.bob, "GET", f"{THUMBNAIL}{path_of(uri)}", width=32, height=32)
    assert got.status == 200
    assert got.headers["Content-Type"] == "image/png"


async def test_what_is_not_there_is_not_found_and_not_asked_for_at_once_again(pair: Pair) -> None:
    uri = f"mxc://{pair.here.name}/nothing"
    (await download(pair.bob, uri)).refused(404, "M_NOT_FOUND")
    await pair.here.stop()
    (await download(pair.bob, uri)).refused(404, "M_NOT_FOUND")


async def test_an_upload_elsewhere_is_waited_for(pair: Pair) -> None:
    uri = await create(pair.alice)
    (await download(pair.bob, uri, timeout_ms=0)).refused(504, "M_NOT_YET_UPLOADED")
    waiting = asyncio.create_task(download(pair.bob, uri, timeout_ms=LONG_POLL_MS))
    while not homes_of(pair.here).services.media.library._awaited._waiting:
        await asyncio.sleep(0.01)
    await fetch(pair.alice, "PUT", f"{UPLOAD}{path_of(uri)}", b"at last")
    assert (await waiting).body == b"at last"


async def test_nothing_is_fetched_for_who_does_not_want_it_or_has_no_token(pair: Pair) -> None:
    uri = await upload(pair.alice, DATA)
    queries: tuple[dict[str, Any], ...] = ({}, {"allow_remote": "true"})
    for query in queries:
        path = f"/_matrix/media/v3/download{path_of(uri)}"
        (await fetch(pair.bob, "GET", path, **query)).refused(404, "M_NOT_FOUND")
    assert not kept_files(homes_of(pair.there))


async def test_a_server_that_is_gone_is_a_failure(pair: Pair) -> None:
    uri = await upload(pair.alice, DATA)
    await pair.here.stop()
    assert (await download(pair.bob, uri)).status == 504


@dataclass
class FarHost:
    """A server that answers as it is told, by path."""

    name: str
    answers: dict[str, Answer]
    asked: list[str]

    def uri(self, media_id: str = "file") -> str:
        return f"mxc://{self.name}/{media_id}"

    def serve(self, answer: Answer, media_id: str = "file") -> None:
        self.answers[f"/_matrix/federation/v1/media/download/{media_id}"] = answer

    def serve_legacy(self, answer: Answer) -> None:
        self.answers[f"/_matrix/media/v3/download/{self.name}/file"] = answer


@pytest_asyncio.fixture
async def far(authority: Authority) -> AsyncIterator[FarHost]:
    address, port = free_address(), free_port()
    host = FarHost(f"{address}:{port}", {}, [])

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        host.asked.append(request.raw_path)
        found = host.answers.get(request.path)
        if found is None:
            return web.json_response({"errcode": "M_UNRECOGNIZED"}, status=404)
        return await found(request)

    runner = web.ServerRunner(web.Server(answer), shutdown_timeout=0.1)
    await runner.setup()
    context = authority.server_context(address)
    await web.TCPSite(runner, address, port, ssl_context=context).start()
    yield host
    await runner.cleanup()


@pytest_asyncio.fixture
async def bob(pair: Pair) -> Client:
    return pair.bob


def in_parts(data: bytes, headers: str = "Content-Type: text/plain\r\n") -> Answer:
    """An answer of two parts."""
    body = (
        b"--b\r\nContent-Type: application/json\r\n\r\n{}\r\n--b\r\n"
        + headers.encode()
        + b"\r\n"
        + data
        + b"\r\n--b--\r\n"
    )

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=body, headers={"Content-Type": "multipart/mixed; boundary=b"})

    return answer


def plainly(data: bytes, status: int = 200, **headers: str) -> Answer:
    """An answer as it is."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(status=status, body=data, headers=named)

    return answer


async def test_an_old_server_is_asked_by_the_old_endpoint(bob: Client, far: FarHost) -> None:
    name = 'attachment; filename="a b.txt"'
    far.serve_legacy(plainly(b"old", Content_Type="text/plain", Content_Disposition=name))
    got = await download(bob, far.uri())
    assert got.body == b"old"
    assert got.headers["Content-Disposition"] == 'inline; filename="a b.txt"'
    assert "allow_remote=false" in far.asked[-1]


async def test_of_a_refusal_little_is_remembered(bob: Client, far: FarHost) -> None:
    far.serve(plainly(b'{"errcode": "M_NOT_FOUND"}', 404))
    (await download(bob, far.uri())).refused(404, "M_NOT_FOUND")
    (await download(bob, far.uri())).refused(404, "M_NOT_FOUND")
    gc.collect()
    assert not [one for one in gc.get_objects() if isinstance(one, Refused)]


async def test_a_refusal_is_not_taken_for_an_old_server(bob: Client, far: FarHost) -> None:
    far.serve(plainly(b'{"errcode": "M_NOT_FOUND"}', 404))
    far.serve_legacy(plainly(b"old"))
    (await download(bob, far.uri())).refused(404, "M_NOT_FOUND")


async def test_a_location_is_followed_without_our_signature(bob: Client, far: FarHost) -> None:
    seen = []

    async def cdn(request: web.BaseRequest) -> web.StreamResponse:
        seen.append(request.headers.get("Authorization"))
        return web.Response(body=DATA, headers={"Content-Type": "image/png"})

    far.answers["/cdn"] = cdn
    far.serve(in_parts(b"", f"Location: https://{far.name}/cdn\r\n"))
    got = await download(bob, far.uri())
    assert (got.body, got.headers["Content-Type"]) == (DATA, "image/png")
    assert seen == [None]


async def test_a_location_that_is_no_web_address_is_refused(bob: Client, far: FarHost) -> None:
    far.serve(in_parts(b"", "Location: file:///etc/passwd\r\n"))
    assert (await download(bob, far.uri())).status == 502


async def test_a_file_without_a_type_is_a_stream_of_bytes(bob: Client, far: FarHost) -> None:
    far.serve(in_parts(b"what", ""))
    got = await download(bob, far.uri())
    assert got.headers["Content-Type"] == "application/octet-stream"
    assert got.headers["Content-Disposition"] == "attachment"


async def test_what_is_too_large_is_not_fetched(pair: Pair, far: FarHost) -> None:
    settings = pair.there.settings
    await pair.there.stop()
    pair.there.settings = replace(settings, media=replace(settings.media, max_remote_mb=1))
    await pair.there.start()
    bob = pair.there.again(pair.bob)
    far.serve(in_parts(bytes(MEBIBYTE + 1)), "large")
    far.serve(in_parts(bytes(MEBIBYTE)))
    for _ in range(2):
        (await download(bob, far.uri("large"))).refused(502, "M_TOO_LARGE")
    assert len(far.asked) == 1
    assert len((await download(bob, far.uri())).body) == MEBIBYTE
    assert not arriving_files(homes_of(pair.there))


async def test_what_breaks_off_leaves_nothing(pair: Pair, far: FarHost) -> None:
    async def half(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "multipart/mixed; boundary=b"})
        await response.prepare(request)
        await response.write(b"--b\r\n\r\n{}\r\n--b\r\n\r\n" + DATA)
        assert request.transport is not None
        request.transport.abort()
        return response

    far.serve(half)
    assert (await download(pair.bob, far.uri())).status in (502, 504)
    assert not arriving_files(homes_of(pair.there))
    assert not kept_files(homes_of(pair.there))


async def test_a_server_that_is_not_allowed_is_not_asked(pair: Pair, far: FarHost) -> None:
    settings = pair.there.settings
    await pair.there.stop()
    allowed = replace(settings.federation, allowed_servers=(pair.here.name,))
    pair.there.settings = replace(settings, federation=allowed)
    await pair.there.start()
    bob = pair.there.again(pair.bob)
    far.serve(in_parts(DATA))
    (await download(bob, far.uri())).refused(403, "M_FORBIDDEN")
    assert not far.asked
    assert (await download(bob, await upload(pair.alice, DATA))).body == DATA
