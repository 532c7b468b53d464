"""Bodies that are read as they arrive, and answers that are sent as they are read."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any, cast

import aiohttp
import pytest_asyncio

from federation.protocol.endpoint import Access, Body, endpoint
from federation.protocol.errors import NotFound
from federation.protocol.response import Response, StreamedBody
from homeserver.http.call import Call
from homeserver.http.settings import HttpSettings
from tests.homeserver.http.server import RunningServer, error_of, running_server

V3 = "/_matrix/client/v3"
MAX_BYTES = 1_000_000
closed: list[str] = []


@endpoint("POST", f"{V3}/count", Access.PUBLIC, body=Body.STREAM)
async def count(call: Call) -> Mapping[str, Any]:
    total = 0
    async for chunk in call.stream.chunks(MAX_BYTES):
        total += len(chunk)
    return {"total": total, "length": call.stream.length}


@endpoint("GET", f"{V3}/zeros/{{count}}", Access.PUBLIC)
async def zeros(call: Call) -> Response:
    length = int(call.path["count"])
    return Response(200, StreamedBody(length, generate(length)), content_type="text/plain")


@endpoint("GET", f"{V3}/short", Access.PUBLIC)
async def short(call: Call) -> Response:
    return Response(200, StreamedBody(2_000_000, generate(1_000_000)), content_type="text/plain")


@endpoint("GET", f"{V3}/missing", Access.PUBLIC)
async def missing(call: Call) -> Response:
    return Response(200, StreamedBody(5, fail(NotFound("It is not there"))))


@endpoint("GET", f"{V3}/unreadable", Access.PUBLIC)
async def unreadable(call: Call) -> Response:
    return Response(200, StreamedBody(5, fail(OSError("The disk is broken"))))


async def generate(length: int) -> AsyncGenerator[bytes, None]:
    try:
        for start in range(0, length, 100_000):
            yield bytes(min(100_000, length - start))
    finally:
        closed.append("generate")


async def fail(error: Exception) -> AsyncGenerator[bytes, None]:
    raise error
    yield b""


ENDPOINTS = (count, zeros, short, missing, unreadable)


@pytest_asyncio.fixture
async def server() -> AsyncIterator[RunningServer]:
    closed.clear()
    async with running_server(ENDPOINTS) as server:
        yield server


@pytest_asyncio.fixture
async def impatient() -> AsyncIterator[RunningServer]:
    """A server that gives clients up which are slow."""
    closed.clear()
    settings = HttpSettings(body_timeout_s=0.2, write_timeout_s=0.2)
    async with running_server(ENDPOINTS, settings=settings) as server:
        yield server


async def pieces(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b"x" * 1000


async def test_a_body_is_read_as_it_arrives(server: RunningServer) -> None:
    response = await server.request("POST", f"{V3}/count", data=pieces(900))
    assert await response.json() == {"total": 900_000, "length": None}
    response = await server.request("POST", f"{V3}/count", data=b"x" * 900)
    assert await response.json() == {"total": 900, "length": 900}


async def test_a_body_above_its_limit_is_refused(server: RunningServer) -> None:
    response = await server.request("POST", f"{V3}/count", data=pieces(1001))
    assert await error_of(response) == (413, "M_TOO_LARGE")
    response = await server.request("POST", f"{V3}/count", data=b"x" * (MAX_BYTES + 1))
    assert await error_of(response) == (413, "M_TOO_LARGE")


async def test_a_body_that_stops_coming_is_given_up(impatient: RunningServer) -> None:
    reader, writer = await impatient.connect()
    writer.write(f"POST {V3}/count HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc".encode())
    assert (await reader.readline()).startswith(b"HTTP/1.1 408 ")
    writer.close()


async def test_a_body_that_trickles_is_given_up(impatient: RunningServer) -> None:
    reader, writer = await impatient.connect()
    writer.write(f"POST {V3}/count HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n\r\n".encode())
    answer = asyncio.create_task(reader.readline())
    while not answer.done():
        writer.write(b"x")
        await asyncio.wait((answer,), timeout=0.02)
    assert answer.result().startswith(b"HTTP/1.1 408 ")
    writer.close()


async def test_a_client_that_waits_to_be_told_is_told_to_go_on(server: RunningServer) -> None:
    reader, writer = await server.connect()
    writer.write(
        f"POST {V3}/count HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
        "Content-Length: 3\r\n\r\n".encode()
    )
    assert await reader.readline() == b"HTTP/1.1 100 Continue\r\n"
    writer.write(b"abc")
    await reader.readline()
    assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
    writer.close()


async def test_an_answer_is_sent_as_it_is_read(server: RunningServer) -> None:
    for length in (0, 1, 100_000, 5_000_001):
        response = await server.request("GET", f"{V3}/zeros/{length}")
        assert response.headers["Content-Length"] == str(length)
        assert await response.read() == bytes(length)
    assert closed == ["generate"] * 4


async def test_an_answer_to_head_is_not_read(server: RunningServer) -> None:
    response = await server.request("HEAD", f"{V3}/zeros/5000")
    assert response.headers["Content-Length"] == "5000"
    assert (await server.request("GET", f"{V3}/zeros/1")).status == 200


async def test_what_cannot_be_read_is_answered_with_the_error(server: RunningServer) -> None:
    assert await error_of(await server.request("GET", f"{V3}/missing")) == (404, "M_NOT_FOUND")
    assert await error_of(await server.request("GET", f"{V3}/unreadable")) == (500, "M_UNKNOWN")


async def test_an_answer_that_breaks_off_does_not_look_whole(server: RunningServer) -> None:
    try:
        await server.request("GET", f"{V3}/short")
    except aiohttp.ClientPayloadError:
        return
    raise AssertionError("the answer looks whole")


async def test_a_client_that_does_not_read_is_let_go(impatient: RunningServer) -> None:
    _reader, writer = await impatient.connect()
    # A stream's writer has the transport of both directions, and is said to have one for writing.
    cast(asyncio.Transport, writer.transport).pause_reading()
    writer.write(f"GET {V3}/zeros/500000000 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    while not closed:
        await asyncio.sleep(0.02)
    writer.close()


async def test_a_client_that_goes_away_ends_the_reading(server: RunningServer) -> None:
    reader, writer = await server.connect()
    writer.write(f"GET {V3}/zeros/500000000 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    await reader.readexactly(1000)
    writer.transport.abort()
    while not closed:
        await asyncio.sleep(0.02)
