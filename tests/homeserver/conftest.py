"""A whole server for tests of the client-server API, over real sockets and a real database."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import orjson
import pytest_asyncio

from homeserver.app import Homeserver, running
from homeserver.config.keys import create_signing_key
from homeserver.config.sections.accounts import Auth, Registration
from homeserver.config.sections.federation import Federation
from homeserver.config.sections.limits import Limits
from homeserver.config.sections.media import Media
from homeserver.config.sections.server import Listener, Log, Server
from homeserver.config.sections.storage import Database
from homeserver.config.settings import Settings


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a request."""

    status: int
    body: Any
    headers: Mapping[str, str]

    def ok(self) -> Any:
        """The body of a success."""
        assert self.status == 200, (self.status, self.body)
        return self.body

    def refused(self, status: int, errcode: str) -> Any:
        """The body of a refusal of this kind."""
        assert (self.status, self.body.get("errcode")) == (status, errcode), self.body
        return self.body


class Client:
    """A user at a device, or nobody without a token."""

    def __init__(self, session: aiohttp.ClientSession, base_url: str) -> None:
        self._session = session
        self._base_url = base_url
        self._transactions = 0
        self.token: str | None = None
        self.user_id = ""
        self.device_id = ""

    async def request(
        self, method: str, path: str, body: Any = None, *, raw: bytes | None = None, **query: Any
    ) -> Answer:
        """Make a request; `path` is below /_matrix/client unless it begins with a slash."""
        url = self._base_url + (path if path.startswith("/") else f"/_matrix/client/{path}")
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        data = raw if raw is not None else None if body is None else orjson.dumps(body)
        params = {name: str(value) for name, value in query.items()}
        async with self._session.request(
            method, url, data=data, params=params, headers=headers
        ) as response:
            content = await response.read()
            decoded = orjson.loads(content) if content else None
            return Answer(response.status, decoded, response.headers)

    async def get(self, path: str, **query: Any) -> Answer:
        """GET."""
        return await self.request("GET", path, **query)

    async def post(self, path: str, body: Any = None, **query: Any) -> Answer:
        """POST; without a body an empty object is sent."""
        return await self.request("POST", path, {} if body is None else body, **query)

    async def put(self, path: str, body: Any = None, **query: Any) -> Answer:
        """PUT; without a body an empty object is sent."""
        return await self.request("PUT", path, {} if body is None else body, **query)

    async def delete(self, path: str, **query: Any) -> Answer:
        """DELETE."""
        return await self.request("DELETE", path, **query)

    async def create_room(self, **options: Any) -> str:
        """Create a room and give its ID."""
        return str((await self.post("v3/createRoom", options)).ok()["room_id"])

    async def send(self, room_id: str, text: str, **content: Any) -> str:
        """Send a text message and give its event ID."""
        self._transactions += 1
        path = f"v3/rooms/{quote(room_id)}/send/m.room.message/t{self._transactions}"
        body = {"msgtype": "m.text", "body": text, **content}
        return str((await self.put(path, body)).ok()["event_id"])

    async def set_state(
        self, room_id: str, event_type: str, content: Any, state_key: str = ""
    ) -> str:
        """Send a state event and give its event ID."""
        path = f"v3/rooms/{quote(room_id)}/state/{event_type}/{quote(state_key, safe='')}"
        return str((await self.put(path, content)).ok()["event_id"])

    async def join(self, room: str) -> str:
        """Join a room by ID or alias and give its ID."""
        return str((await self.post(f"v3/join/{quote(room, safe='')}")).ok()["room_id"])

    async def invite(self, room_id: str, user_id: str) -> None:
        """Invite a user."""
        (await self.post(f"v3/rooms/{quote(room_id)}/invite", {"user_id": user_id})).ok()

    async def sync(self, since: str | None = None, timeout_ms: int = 0, **query: Any) -> Any:
        """One sync, which leaves the user's presence alone unless told otherwise."""
        query.setdefault("set_presence", "offline")
        if since is not None:
            query["since"] = since
        return (await self.get("v3/sync", timeout=timeout_ms, **query)).ok()


class Homes:
    """A running server and clients of it."""

    def __init__(self, server: Homeserver, session: aiohttp.ClientSession) -> None:
        self.server = server
        self.services = server.services
        self._session = session
        self._users = 0

    @property
    def base_url(self) -> str:
        """Where the server listens."""
        return f"http://127.0.0.1:{self.server.port}"

    def nobody(self) -> Client:
        """A client that is not logged in."""
        return Client(self._session, self.base_url)

    async def user(self, localpart: str | None = None) -> Client:
        """A client of a new user."""
        self._users += 1
        client = self.nobody()
        body = {
            "username": localpart or f"user{self._users}",
            "password": "a password that is long",
            "auth": {"type": "m.login.dummy"},
        }
        self.log_in(client, (await client.post("v3/register", body)).ok())
        return client

    async def second_device(self, client: Client) -> Client:
        """The same user at another device."""
        other = self.nobody()
        body = {
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": client.user_id},
            "password": "a password that is long",
        }
        self.log_in(other, (await other.post("v3/login", body)).ok())
        return other

    @staticmethod
    def log_in(client: Client, body: Mapping[str, Any]) -> None:
        """Use what registration or login answered."""
        client.token = body["access_token"]
        client.user_id = body["user_id"]
        client.device_id = body["device_id"]


def settings_for_tests(database_url: str, directory: Path) -> Settings:
    """A server named "test" that lets everybody in and limits nothing."""
    key = directory / "signing.key"
    create_signing_key(key)
    return Settings(
        server=Server(
            name="test",
            public_baseurl="http://localhost",
            data_dir=directory,
            signing_key_path=key,
        ),
        listen=(Listener(address="127.0.0.1", port=0),),
        database=Database(url=database_url),
        registration=Registration(
            enabled=True, token_required=False, shared_secret="secret", guests=True
        ),
        auth=Auth(bcrypt_rounds=4),
        limits=replace(Limits(), enabled=False),
        federation=replace(Federation(), enabled=False),
        media=Media(directory=directory / "media"),
        log=Log(level="warning"),
    )


@pytest_asyncio.fixture
async def homes(database_url: str, tmp_path: Path) -> AsyncIterator[Homes]:
    """A server of its own for the test."""
    settings = settings_for_tests(database_url, tmp_path)
    async with (
        running(settings) as server,
        aiohttp.ClientSession() as session,
    ):
        yield Homes(server, session)
