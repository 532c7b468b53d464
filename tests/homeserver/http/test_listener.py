"""Listeners: disconnects, the graceful end, TLS, and what each listener serves."""

import asyncio
import os
import shutil
import ssl
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from federation.protocol.endpoint import Access, endpoint
from homeserver.config.sections.server import Listener
from homeserver.http.call import Call
from homeserver.http.listener import ListenAddress, TlsFiles, listen_addresses
from homeserver.http.settings import HttpSettings
from tests.homeserver.http.server import (
    RunningServer,
    body_of,
    error_of,
    running_server,
)
from tests.patience import PATIENCE_S

V3 = "/_matrix/client/v3"


class Stage:
    """Handlers that wait on the test, and say how they ended."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.go_on = asyncio.Event()
        self.ended = asyncio.Event()
        self.end = ""

        @endpoint("GET", f"{V3}/sync", Access.PUBLIC, long_poll=True)
        async def sync(call: Call) -> Mapping[str, Any]:
            return await self.play(call)

        @endpoint("PUT", f"{V3}/write", Access.PUBLIC)
        async def write(call: Call) -> Mapping[str, Any]:
            return await self.play(call)

        self.endpoints = (sync, write)

    async def play(self, call: Call) -> Mapping[str, Any]:
        self.entered.set()
        try:
            await self.go_on.wait()
            self.end = "finished"
        except asyncio.CancelledError:
            self.end = "cancelled"
            raise
        finally:
            self.ended.set()
        return {"done": True}


async def soon(event: asyncio.Event) -> None:
    async with asyncio.timeout(PATIENCE_S):
        await event.wait()


async def send_and_hang_up(server: RunningServer, stage: Stage, request: str) -> None:
    _, writer = await server.connect()
    writer.write(f"{request} HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n".encode())
    await soon(stage.entered)
    writer.close()
    await writer.wait_closed()


async def test_a_long_poll_ends_when_its_client_hangs_up() -> None:
    stage = Stage()
    async with running_server(stage.endpoints) as server:
        await send_and_hang_up(server, stage, f"GET {V3}/sync")
        await soon(stage.ended)
        assert stage.end == "cancelled"


async def test_a_write_is_finished_although_its_client_hangs_up() -> None:
    stage = Stage()
    async with running_server(stage.endpoints) as server:
        await send_and_hang_up(server, stage, f"PUT {V3}/write")
        # Once a later connection is served, the server has seen the earlier one end.
        assert (await server.request("GET", "/")).status == 404
        stage.go_on.set()
        await soon(stage.ended)
        assert stage.end == "finished"


async def test_hanging_up_in_the_middle_of_a_body_calls_no_handler(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stage = Stage()
    async with running_server(stage.endpoints) as server:
        _, writer = await server.connect()
        writer.write(f"PUT {V3}/write HTTP/1.1\r\nHost: t\r\nContent-Length: 9\r\n\r\n{{".encode())
        await writer.drain()
        assert (await server.request("GET", "/")).status == 404
        writer.close()
        await writer.wait_closed()
        assert (await server.request("GET", "/")).status == 404
        assert not stage.entered.is_set()
    assert "Traceback" not in caplog.text


async def test_stopping_answers_long_polls_at_once_and_lets_writes_finish() -> None:
    polls, writes = Stage(), Stage()
    async with running_server((polls.endpoints[0], writes.endpoints[1])) as server:
        poll = asyncio.create_task(server.request("GET", f"{V3}/sync"))
        write = asyncio.create_task(server.request("PUT", f"{V3}/write"))
        await soon(polls.entered)
        await soon(writes.entered)
        stop = asyncio.create_task(server.http.stop(grace_s=PATIENCE_S))
        answer = await poll
        assert await error_of(answer) == (503, "M_UNKNOWN")
        assert answer.headers["Connection"] == "close"
        assert not stop.done()
        writes.go_on.set()
        assert await body_of(await write) == {"done": True}
        async with asyncio.timeout(PATIENCE_S):
            await stop
        with pytest.raises(aiohttp.ClientConnectionError):
            await server.request("GET", "/")


async def test_what_does_not_finish_in_time_is_cancelled() -> None:
    stage = Stage()
    async with running_server(stage.endpoints) as server:
        write = asyncio.create_task(server.request("PUT", f"{V3}/write"))
        await soon(stage.entered)
        await server.http.stop(grace_s=0)
        with pytest.raises(aiohttp.ClientConnectionError):
            await write
        assert stage.end == "cancelled"


async def test_stopping_does_not_wait_for_idle_connections() -> None:
    async with running_server(Stage().endpoints) as server:
        reader, writer = await server.connect()
        async with asyncio.timeout(PATIENCE_S):
            await server.http.stop(grace_s=60)
            assert await reader.read() == b""
        writer.close()


async def test_idle_connections_are_closed_in_the_end() -> None:
    address = ListenAddress("127.0.0.1", 0, keepalive_s=0.05)
    async with running_server((), address=address) as server:
        reader, writer = await server.connect()
        async with asyncio.timeout(PATIENCE_S):
            assert await reader.read() == b""
        writer.close()


async def test_headers_that_trickle_in_are_not_waited_for() -> None:
    address = ListenAddress("127.0.0.1", 0, keepalive_s=0.3)
    async with running_server((), address=address) as server:
        reader, writer = await server.connect()
        answer = asyncio.create_task(reader.read())
        async with asyncio.timeout(PATIENCE_S):
            writer.write(b"GET / HTTP/1.1\r\n")
            while not answer.done():
                writer.write(b"X: x\r\n")
                await asyncio.sleep(0.02)
        assert answer.exception() is not None or answer.result() == b""
        writer.close()


async def test_an_address_in_use_is_an_error() -> None:
    async with running_server(()) as server:
        with pytest.raises(OSError, match="address already in use"):
            async with running_server((), address=ListenAddress("127.0.0.1", server.port)):
                pass


@endpoint("GET", "/_matrix/federation/v1/version", Access.PUBLIC)
async def get_version(call: Call) -> Mapping[str, Any]:
    return {"api": "federation"}


@endpoint("GET", "/_matrix/client/versions", Access.PUBLIC)
async def get_versions(call: Call) -> Mapping[str, Any]:
    return {"api": "client"}


@endpoint("GET", "/_matrix/federation/v1/query/profile", Access.PUBLIC)
async def query_profile(call: Call) -> Mapping[str, Any]:
    return {}


@endpoint("GET", "/.well-known/matrix/server", Access.PUBLIC)
async def get_well_known(call: Call) -> Mapping[str, Any]:
    return {}


@pytest.mark.parametrize(
    ("serves", "statuses"),
    [
        (("client",), (200, 404, 200, 200)),
        (("federation",), (404, 200, 200, 200)),
        (("client", "federation"), (200, 200, 200, 200)),
    ],
)
async def test_a_listener_serves_what_it_is_meant_to(
    serves: Any, statuses: tuple[int, int, int, int]
) -> None:
    address = ListenAddress("127.0.0.1", 0, serves=serves)
    endpoints = (get_version, get_versions, get_well_known, query_profile)
    async with running_server(endpoints, address=address) as server:
        targets = [one.path for one in (get_versions, query_profile, get_version, get_well_known)]
        answers = [(await server.request("GET", target)).status for target in targets]
    assert tuple(answers) == statuses


def make_certificate(directory: Path, name: str) -> TlsFiles:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs the openssl program")
    files = TlsFiles(directory / f"{name}.crt", directory / f"{name}.key")
    options = ["req", "-x509", "-nodes", "-days", "2", "-newkey", "ec"]
    options += ["-pkeyopt", "ec_paramgen_curve:P-256"]
    options += ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"]
    options += ["-keyout", str(files.key), "-out", str(files.certificate)]
    subprocess.run([openssl, *options], check=True, capture_output=True)
    return files


def install(source: TlsFiles, target: TlsFiles, stamp_ns: int) -> None:
    for name in ("certificate", "key"):
        shutil.copy(getattr(source, name), getattr(target, name))
        os.utime(getattr(target, name), ns=(stamp_ns, stamp_ns))


async def certificate_served(server: RunningServer) -> bytes:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    _, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=context)
    certificate: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return certificate


def der_of(files: TlsFiles) -> bytes:
    return ssl.PEM_cert_to_DER_cert(files.certificate.read_text())


async def test_tls_is_spoken_and_a_renewed_certificate_is_taken_up(tmp_path: Path) -> None:
    first, second = make_certificate(tmp_path, "first"), make_certificate(tmp_path, "second")
    live = TlsFiles(tmp_path / "live.crt", tmp_path / "live.key")
    install(first, live, stamp_ns=1)
    address = ListenAddress("127.0.0.1", 0, tls=live)
    async with running_server((get_versions,), address=address) as server:
        context = ssl.create_default_context(cafile=str(first.certificate))
        response = await server.request("GET", get_versions.path, ssl=context)
        assert await body_of(response) == {"api": "client"}
        assert await certificate_served(server) == der_of(first)

        # A key that does not belong to the certificate changes nothing.
        shutil.copy(second.key, live.key)
        server.http.reload_certificates()
        assert await certificate_served(server) == der_of(first)

        install(second, live, stamp_ns=2)
        server.http.reload_certificates()
        assert await certificate_served(server) == der_of(second)


async def test_a_renewed_certificate_is_noticed_without_being_told(tmp_path: Path) -> None:
    first, second = make_certificate(tmp_path, "first"), make_certificate(tmp_path, "second")
    live = TlsFiles(tmp_path / "live.crt", tmp_path / "live.key")
    install(first, live, stamp_ns=1)
    settings = HttpSettings(certificate_check_s=0.01)
    address = ListenAddress("127.0.0.1", 0, tls=live)
    async with running_server((get_versions,), address=address, settings=settings) as server:
        assert await certificate_served(server) == der_of(first)
        install(second, live, stamp_ns=2)
        async with asyncio.timeout(PATIENCE_S):
            while await certificate_served(server) != der_of(second):
                await asyncio.sleep(0.01)


def test_configured_listeners_become_addresses() -> None:
    plain = Listener(address="::", port=80, serves=("client",), trusted_proxies=("10.0.0.1",))
    tls = Listener(tls_certificate=Path("c"), tls_key=Path("k"))
    assert listen_addresses([plain, tls]) == [
        ListenAddress("::", 80, None, ("client",), ("10.0.0.1",)),
        ListenAddress(
            tls.address,
            tls.port,
            TlsFiles(Path("c"), Path("k")),
            trusted_proxies=tls.trusted_proxies,
        ),
    ]
    with pytest.raises(ValueError, match="without a key"):
        listen_addresses([Listener(tls_certificate=Path("c"))])
