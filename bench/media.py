"""What media cost: memory while a large file goes up and down, CPU for small pictures.

    python -m bench.media LAUNCHER [--large-mib 1024] [--pictures 500] [--picture-kib 60]

LAUNCHER is tests/peers/hearth-launcher, or another program that starts a server in the same way. A
server with an empty database is started, and users of this process send and fetch over loopback.
Counted are the processor time and the memory (proportional set size, sampled ten times a second) of
all processes that the launcher has become. A file of 0 MiB is left out, for servers that take none
of that size.
"""

import argparse
import asyncio
import hashlib
import os
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from bench.private_database import private_directory

MEBIBYTE = 1_048_576
SENDERS = 8
UPLOAD = "/_matrix/media/v3/upload"
DOWNLOAD = "/_matrix/client/v1/media/download"
TICKS = os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("launcher", type=Path)
    parser.add_argument("--large-mib", type=int, default=1024)
    parser.add_argument("--pictures", type=int, default=500)
    parser.add_argument("--picture-kib", type=int, default=60)
    asyncio.run(run(parser.parse_args()))


async def run(asked: argparse.Namespace) -> None:
    with private_directory() as directory:
        async with started(asked.launcher, directory) as server:
            if asked.large_mib:
                await measure_large(server, asked.large_mib * MEBIBYTE)
            await measure_pictures(server, asked.pictures, asked.picture_kib * 1024)


@dataclass
class Server:
    """A running server and a user of it."""

    process: int
    session: aiohttp.ClientSession

    def cpu_s(self) -> float:
        return sum(cpu_seconds(pid) for pid in family(self.process))

    def memory(self) -> int:
        return sum(proportional_size(pid) for pid in family(self.process))


@asynccontextmanager
async def started(launcher: Path, directory: Path) -> AsyncIterator[Server]:
    """The server that the launcher starts, once it answers."""
    process, port = launch(launcher, directory)
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
            await log_in(session)
            await asyncio.sleep(2)
            yield Server(process.pid, session)
    finally:
        process.terminate()
        process.wait()


def launch(launcher: Path, directory: Path) -> tuple["subprocess.Popen[bytes]", int]:
    """Start the server; its process and its port."""
    directory.chmod(0o755)
    certificate, key = directory / "ca.crt", directory / "ca.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
         "/CN=bench", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    http, tls = free_ports(2)
    ports = {"HTTP_PORT": str(http), "TLS_PORT": str(tls)}
    process = subprocess.Popen(
        [launcher, "start", "bench.test", "127.0.0.1", directory / "work", certificate, key],
        env={**os.environ, **ports, "HEARTH_MEDIA__MAX_UPLOAD_MB": "4096"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return process, http


async def log_in(session: aiohttp.ClientSession) -> None:
    """Wait for the server and make an account."""
    for _ in range(3000):
        try:
            async with session.get("/_matrix/client/versions") as response:
                if response.status == 200:
                    break
        except aiohttp.ClientConnectionError:
            await asyncio.sleep(0.1)
    body = {"username": "bench", "password": "0123456789", "auth": {"type": "m.login.dummy"}}
    async with session.post("/_matrix/client/v3/register", json=body) as response:
        token = (await response.json())["access_token"]
    session.headers["Authorization"] = f"Bearer {token}"


async def measure_large(server: Server, size: int) -> None:
    """One large file up and down."""
    sent, received = hashlib.sha256(), hashlib.sha256()

    async def up() -> str:
        async def chunks() -> AsyncIterator[bytes]:
            block = os.urandom(MEBIBYTE)
            for number in range(size // MEBIBYTE):
                chunk = number.to_bytes(8) + block[8:]
                sent.update(chunk)
                yield chunk

        return await upload(server.session, chunks())

    async def down() -> None:
        async with server.session.get(DOWNLOAD + path) as response:
            response.raise_for_status()
            async for chunk in response.content.iter_chunked(262_144):
                received.update(chunk)

    print(f"{size // MEBIBYTE} MiB, memory before: {server.memory() / MEBIBYTE:.1f} MiB")
    path = await report("up", server, 1, up)
    await report("down", server, 1, down)
    assert sent.digest() == received.digest()


async def measure_pictures(server: Server, count: int, size: int) -> None:
    """Many small files, some at once: up, down, and up again, which keeps nothing new."""
    pictures = [os.urandom(size) for _ in range(count)]
    paths: list[str] = []

    async def up() -> None:
        await spread(pictures, lambda data: keep(upload(server.session, data)))

    async def keep(uploading: Awaitable[str]) -> None:
        paths.append(await uploading)

    async def down() -> None:
        await spread(paths, fetch)

    async def fetch(path: str) -> None:
        async with server.session.get(DOWNLOAD + path) as response:
            response.raise_for_status()
            assert len(await response.read()) == size

    print(f"{count} pictures of {size // 1024} KiB")
    await report("up", server, count, up)
    await report("down", server, count, down)
    await report("up again", server, count, up)


async def spread(items: Iterable[object], work: Callable[..., Awaitable[None]]) -> None:
    """Do the work for all items, a few side by side."""
    waiting = iter(items)

    async def take() -> None:
        for item in waiting:
            await work(item)

    await asyncio.gather(*(take() for _ in range(SENDERS)))


async def upload(session: aiohttp.ClientSession, data: bytes | AsyncIterator[bytes]) -> str:
    """The path of an uploaded file."""
    async with session.post(UPLOAD, data=data, headers={"Content-Type": "image/png"}) as response:
        response.raise_for_status()
        uri: str = (await response.json())["content_uri"]
    return uri.removeprefix("mxc:/")


async def report(
    title: str, server: Server, count: int, work: Callable[[], Awaitable[str | None]]
) -> str:
    """Do the work and print what it took."""
    peak = server.memory()

    async def watch() -> None:
        nonlocal peak
        while True:
            peak = max(peak, await asyncio.to_thread(server.memory))
            await asyncio.sleep(0.1)

    watching = asyncio.create_task(watch())
    cpu_s, began_s = server.cpu_s(), time.monotonic()
    result = await work()
    wall_s, cpu_s = time.monotonic() - began_s, server.cpu_s() - cpu_s
    watching.cancel()
    print(
        f"  {title:<9} {cpu_s / count * 1000:9.2f} ms CPU each  {count / wall_s:8.1f} a second"
        f"  peak {peak / MEBIBYTE:.1f} MiB"
    )
    return result or ""


def family(process: int) -> list[int]:
    """A process and its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(entry.name))
    found = [process]
    for one in found:
        found += children.get(one, [])
    return found


def cpu_seconds(process: int) -> float:
    """What a process has used, with its children that have ended."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(int(field) for field in fields[11:15]) / TICKS


def proportional_size(process: int) -> int:
    """A process's memory; what it shares counts in part."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports: list[int] = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


if __name__ == "__main__":
    main()
