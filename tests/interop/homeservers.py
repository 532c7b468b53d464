"""hearth and Synapse as processes, each behind a relay whose address is the server's name."""

import asyncio
import json
import os
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp

from homeserver.config.keys import create_signing_key
from tests.federation.certificates import Authority
from tests.federation.world import free_address
from tests.homeserver.conftest import Client, Homes
from tests.interop.relay import Relay
from tests.ports import free_port
from tests.processes import wait_for_end

ROOT = Path(__file__).parents[2]
STARTED_WITHIN_S = 90
PASSWORD = "a password that is long"
FEDERATION_TIMEOUT_S = 5
"""Both give up a request to the other after this time: a silent link is noticed in the test."""


class Process(ABC):
    """A homeserver that can be stopped and started; what it keeps is in `directory`."""

    kind: str
    environment: Mapping[str, str] = MappingProxyType({})

    def __init__(
        self,
        directory: Path,
        database_url: str,
        authority: Authority,
        session: aiohttp.ClientSession,
    ) -> None:
        directory.mkdir()
        self._session = session
        self._address = free_address()
        self._client_port, self._tls_port, relay_port = free_port(), free_port(), free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._users = 0
        self._directory = directory
        self._log = directory / "server.log"
        self.name = f"{self._address}:{relay_port}"
        self.relay = Relay(self._address, relay_port, self._tls_port)
        self.base_url = f"http://{self._address}:{self._client_port}"
        self._certificate, self._key = authority.issue(self._address)
        self._authority = authority.certificate
        self._signing_key = directory / "signing.key"
        create_signing_key(self._signing_key)
        self._write_configuration(database_url)

    @abstractmethod
    def _write_configuration(self, database_url: str) -> None: ...

    @abstractmethod
    def _command(self) -> list[str]: ...

    async def start(self) -> None:
        """Start it, and wait until it answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command(),
                env={**os.environ, **self.environment},
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        async with asyncio.timeout(STARTED_WITHIN_S):
            while not await self._answers():
                assert self._process.poll() is None, self._log.read_text()
                await asyncio.sleep(0.05)

    async def _answers(self) -> bool:
        try:
            async with self._session.get(f"{self.base_url}/_matrix/client/versions") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    async def stop(self) -> None:
        """End it as an operator does."""
        if self._process is not None:
            self._process.terminate()
            await asyncio.to_thread(wait_for_end, self._process)
            self._process = None

    async def user(self, localpart: str) -> Client:
        """A client of a new user, whose name begins with `localpart`."""
        self._users += 1
        client = Client(self._session, self.base_url)
        body = {
            "username": f"{localpart}{self._users}",
            "password": PASSWORD,
            "auth": {"type": "m.login.dummy"},
        }
        Homes.log_in(client, (await client.post("v3/register", body)).ok())
        return client

    async def second_device(self, client: Client) -> Client:
        """The same user at another device."""
        other = Client(self._session, self.base_url)
        body = {
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": client.user_id},
            "password": PASSWORD,
        }
        Homes.log_in(other, (await other.post("v3/login", body)).ok())
        return other


class Hearth(Process):
    """This server, from this checkout."""

    kind = "hearth"
    environment = MappingProxyType({"PYTHONPATH": str(ROOT)})

    def _write_configuration(self, database_url: str) -> None:
        federation_listener = {
            "address": self._address,
            "port": self._tls_port,
            "tls_certificate": str(self._certificate),
            "tls_key": str(self._key),
            "serves": ["federation"],
        }
        client_listener = {"address": self._address, "port": self._client_port}
        settings = {
            "server": {
                "name": self.name,
                "public_baseurl": self.base_url,
                "data_dir": str(self._directory),
                "signing_key_path": str(self._signing_key),
            },
            "listen": [{**client_listener, "serves": ["client"]}, federation_listener],
            "database": {"url": database_url},
            "registration": {"enabled": True, "token_required": False},
            "auth": {"bcrypt_rounds": 4},
            "rooms": {"directory_over_federation": True},
            "limits": {"enabled": False},
            "federation": {
                "trusted_key_servers": [],
                "request_timeout_s": FEDERATION_TIMEOUT_S,
            },
            "outgoing": {
                "extra_ca_files": [str(self._authority)],
                "allow_ip_ranges": ["127.0.0.0/8"],
            },
            "log": {"level": "info"},
        }
        self._configuration.write_text("".join(f"{line}\n" for line in toml_lines(settings)))

    @property
    def _configuration(self) -> Path:
        return self._directory / "hearth.toml"

    def _command(self) -> list[str]:
        run = ("homeserver", "run", "--config", str(self._configuration))
        return [sys.executable, "-P", "-m", *run]


class Synapse(Process):
    """Synapse, run by the Python that has it installed."""

    kind = "synapse"

    def __init__(
        self,
        directory: Path,
        database_url: str,
        authority: Authority,
        session: aiohttp.ClientSession,
        python: str,
    ) -> None:
        self._python = python
        super().__init__(directory, database_url, authority, session)

    def _write_configuration(self, database_url: str) -> None:
        listener = {
            "type": "http",
            "bind_addresses": [self._address],
            "resources": [{"names": ["client", "federation"]}],
        }
        at = urlsplit(database_url)
        connection = {
            "user": at.username,
            "host": parse_qs(at.query)["host"][0],
            "dbname": at.path.removeprefix("/"),
            "cp_min": 3,
            "cp_max": 6,
        }
        settings = {
            "server_name": self.name,
            "public_baseurl": self.base_url,
            "report_stats": False,
            "pid_file": str(self._directory / "synapse.pid"),
            "listeners": [
                {**listener, "port": self._client_port, "tls": False},
                {**listener, "port": self._tls_port, "tls": True},
            ],
            "tls_certificate_path": str(self._certificate),
            "tls_private_key_path": str(self._key),
            "database": {"name": "psycopg2", "args": connection},
            "log_config": str(self._write_log_configuration()),
            "media_store_path": str(self._directory / "media"),
            "signing_key_path": str(self._signing_key),
            "macaroon_secret_key": "macaroon",
            "form_secret": "form",
            "trusted_key_servers": [],
            "suppress_key_server_warning": True,
            "bcrypt_rounds": 4,
            "enable_registration": True,
            "enable_registration_without_verification": True,
            "federation_custom_ca_list": [str(self._authority)],
            "federation_ip_range_blacklist": [],
            "ip_range_blacklist": [],
            "allow_public_rooms_over_federation": True,
            "room_list_publication_rules": [{"action": "allow"}],
            "filter_timeline_limit": -1,
            **IMPATIENT,
            **UNLIMITED,
        }
        # JSON is YAML too.
        self._configuration.write_text(json.dumps(settings, indent=1))

    def _write_log_configuration(self) -> Path:
        path = self._directory / "log.json"
        handler = {"class": "logging.StreamHandler", "formatter": "plain"}
        plain = {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}
        logging = {
            "version": 1,
            "formatters": {"plain": plain},
            "handlers": {"console": handler},
            "root": {"level": "INFO", "handlers": ["console"]},
            "disable_existing_loggers": False,
        }
        path.write_text(json.dumps(logging))
        return path

    @property
    def _configuration(self) -> Path:
        return self._directory / "homeserver.yaml"

    def _command(self) -> list[str]:
        return [self._python, "-m", "synapse.app.homeserver", "-c", str(self._configuration)]


IMPATIENT = {
    "federation": {
        "client_timeout": f"{FEDERATION_TIMEOUT_S}s",
        "max_long_retries": 2,
        "max_long_retry_delay": "1s",
        "max_short_retries": 1,
        "max_short_retry_delay": 200,
        "destination_min_retry_interval": "1s",
        "destination_retry_multiplier": 1,
        "destination_max_retry_interval": "2s",
    },
}
"""Out of the box Synapse leaves a server that failed alone for ten minutes and more."""

ANY_NUMBER = {"per_second": 99_999, "burst_count": 99_999}
UNLIMITED: Mapping[str, Any] = {
    **{
        f"rc_{what}": ANY_NUMBER
        for what in (
            "message",
            "registration",
            "admin_redaction",
            "joins_per_room",
            "room_creation",
        )
    },
    "rc_login": dict.fromkeys(("address", "account", "failed_attempts"), ANY_NUMBER),
    "rc_joins": dict.fromkeys(("local", "remote"), ANY_NUMBER),
    "rc_invites": dict.fromkeys(("per_room", "per_user", "per_issuer"), ANY_NUMBER),
    "rc_presence": {"per_user": ANY_NUMBER},
    "rc_federation": {"sleep_limit": 99_999, "reject_limit": 99_999, "concurrent": 30},
    "federation_rr_transactions_per_room_per_second": 99_999,
}


def toml_lines(settings: Mapping[str, Any]) -> Iterable[str]:
    """The settings as TOML, which shares JSON's strings, numbers, booleans and arrays of them."""
    for section, content in settings.items():
        for table in content if isinstance(content, list) else [content]:
            yield f"[[{section}]]" if isinstance(content, list) else f"[{section}]"
            yield from (f"{name} = {json.dumps(value)}" for name, value in table.items())
