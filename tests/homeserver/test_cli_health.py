"""`hearth health`, by which containers ask whether the server works."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.homeserver.server_process import ROOT, ServerProcess
from tests.ports import free_port

LOADED = (
    "import sys; from homeserver.__main__ import main\ntry: main()\nfinally: print(*sys.modules)"
)


async def ask(*arguments: str, **environment: str) -> tuple[int, str, str]:
    """Status, output and complaints of the command."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "homeserver", "health", *arguments),
        env={"PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await process.communicate()
    return await process.wait(), out.decode(), err.decode()


@pytest.fixture
async def server(tmp_path: Path, database_url: str) -> AsyncIterator[ServerProcess]:
    process = ServerProcess(tmp_path, database_url)
    async with aiohttp.ClientSession() as session:
        await process.start(session)
    yield process
    await process.stop()


async def test_a_server_that_works_is_well(server: ServerProcess) -> None:
    assert await ask("--config", str(server.config)) == (0, "ok\n", "")
    assert await ask(HEARTH_CONFIG=str(server.config)) == (0, "ok\n", "")


async def test_listeners_in_the_environment_win(server: ServerProcess) -> None:
    listen = f'[{{"address": "0.0.0.0", "port": {server.port}}}]'
    assert await ask(HEARTH_LISTEN=listen) == (0, "ok\n", "")


async def test_a_server_that_is_not_there_is_not_well(tmp_path: Path) -> None:
    config = tmp_path / "hearth.toml"
    config.write_text(f"[[listen]]\nport = {free_port()}\n")
    status, out, err = await ask("--config", str(config))
    assert (status, out) == (1, "")
    assert "Connection refused" in err


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\nno database", "failing: no database"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "not a web server"),
    ],
)
async def test_what_else_answers_is_told(answer: bytes, said: str) -> None:
    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(respond, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        status, _, err = await ask(HEARTH_LISTEN=f'[{{"port": {port}}}]')
    assert status == 1
    assert said in err


async def test_a_listener_for_clients_without_tls_is_asked(server: ServerProcess) -> None:
    listen = f"""[
        {{"port": 1, "serves": ["federation"]}},
        {{"port": 2, "tls_certificate": "/cert.pem"}},
        {{"port": {server.port}, "serves": ["client"]}}
    ]"""
    assert await ask(HEARTH_LISTEN=listen) == (0, "ok\n", "")


async def test_where_no_listener_serves_clients_there_is_none_to_ask() -> None:
    status, _, err = await ask(HEARTH_LISTEN='[{"serves": ["federation"]}]')
    assert status == 1
    assert "No listener" in err


def test_asking_loads_neither_the_servers_nor_the_command_lines_tools(tmp_path: Path) -> None:
    config = tmp_path / "hearth.toml"
    config.write_text(f"[[listen]]\nport = {free_port()}\n")
    done = subprocess.run(
        [sys.executable, "-P", "-S", "-c", LOADED, "health", "--config", str(config)],
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    loaded = set(done.stdout.split())
    assert "homeserver.cli.health" in loaded
    assert not loaded & {"asyncio", "aiohttp", "asyncpg", "pydantic", "typer", "dataclasses"}
