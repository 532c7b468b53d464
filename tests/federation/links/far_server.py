"""A server in a network namespace, as a process of its own, and clients beside it."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import aiohttp

from storage.cluster import Cluster
from tests.conftest import TEMPLATE, fresh_database
from tests.federation.certificates import Authority
from tests.federation.links.link import NETWORK
from tests.federation.links.namespaces import Namespace
from tests.homeserver.conftest import Client, Homes
from tests.patience import PATIENCE_S
from tests.processes import wait_for_end

ROOT = Path(__file__).parents[3]
CLIENT_PORT = 8008

CONFIG = """\
[server]
name = "{address}:8448"
public_baseurl = "http://127.0.0.1:8008"
data_dir = "data"

[[listen]]
port = 8008
serves = ["client"]

[[listen]]
address = "{address}"
port = 8448
tls_certificate = {certificate}
tls_key = {key}
serves = ["federation"]

[database]
url = {database_url}

[registration]
enabled = true
token_required = false

[auth]
bcrypt_rounds = 4

[limits]
enabled = false

[presence]
enabled = false

[federation]
trusted_key_servers = []
{federation}

[outgoing]
allow_ip_ranges = ["{network}"]
extra_ca_files = [{authority}]

[log]
level = "info"
"""


class FarServer:
    """A server that is starting or runs; its clients reach it without the link."""

    def __init__(
        self,
        address: str,
        database_url: str,
        session: aiohttp.ClientSession,
        begin: Callable[[], "subprocess.Popen[bytes]"],
        log: Path,
    ) -> None:
        self.name = f"{address}:8448"
        self.database_url = database_url
        self._session = session
        self._begin = begin
        self._process = begin()
        self._log = log

    async def ready(self) -> None:
        """Wait until it answers."""
        async with asyncio.timeout(PATIENCE_S):
            while not await self._is_up():
                assert self._process.poll() is None, self._log.read_text()
                await asyncio.sleep(0.02)

    async def end(self) -> None:
        """End it as an operator does."""
        self._process.terminate()
        await asyncio.to_thread(wait_for_end, self._process)

    async def restart(self) -> None:
        """End it, start it again, and wait until it answers."""
        await self.end()
        self._process = self._begin()
        await self.ready()

    def nobody(self) -> Client:
        """A client that is not logged in."""
        return Client(self._session, f"http://127.0.0.1:{CLIENT_PORT}")

    async def user(self, localpart: str) -> Client:
        client = self.nobody()
        body = {
            "username": localpart,
            "password": "a password that is long",
            "auth": {"type": "m.login.dummy"},
        }
        Homes.log_in(client, (await client.post("v3/register", body)).ok())
        return client

    async def _is_up(self) -> bool:
        try:
            async with self._session.get(
                f"http://127.0.0.1:{CLIENT_PORT}/_matrix/client/versions"
            ) as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False


@asynccontextmanager
async def far_server(
    namespace: Namespace,
    address: str,
    cluster: Cluster,
    authority: Authority,
    directory: Path,
    federation: str = "",
    name_servers: Path | None = None,
) -> AsyncIterator[FarServer]:
    """A server at an address of the namespace; `federation` are lines for that section.

    It looks names up as the file `name_servers` says, in place of /etc/resolv.conf.
    """
    directory.mkdir()
    certificate, key = authority.issue(address)
    connector = aiohttp.TCPConnector(socket_factory=namespace.open_socket)
    async with aiohttp.ClientSession(connector=connector) as session:
        async for url in fresh_database(cluster, TEMPLATE):
            config = directory / "hearth.toml"
            config.write_text(
                CONFIG.format(
                    address=address,
                    certificate=json.dumps(str(certificate)),
                    key=json.dumps(str(key)),
                    database_url=json.dumps(url),
                    federation=federation,
                    network=NETWORK,
                    authority=json.dumps(str(authority.certificate)),
                )
            )
            log = directory / "hearth.log"
            begin = partial(start, namespace, config, log, name_servers)
            server = FarServer(address, url, session, begin, log)
            try:
                yield server
            finally:
                await server.end()


def start(
    namespace: Namespace, config: Path, log_file: Path, name_servers: Path | None
) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-P", "-m", "homeserver", "run", "--config", str(config)]
    if name_servers is not None:
        mounted = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
        command = ["unshare", "--mount", "sh", "-c", mounted, str(name_servers), *command]
    with log_file.open("ab") as log, namespace.entered():
        return subprocess.Popen(
            command,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
