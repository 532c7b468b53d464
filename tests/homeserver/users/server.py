"""A server with accounts and nothing else, over real HTTP and a real PostgreSQL."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from time import monotonic
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
from yarl import URL

from federation.protocol.errors import ServerNotTrusted
from federation.protocol.identifiers import DeviceId, UserId
from homeserver.admin_api.endpoints import ENDPOINTS as ADMIN_ENDPOINTS
from homeserver.appservices.third_party import ThirdPartyNetworks
from homeserver.client_api import (
    account_deactivation,
    account_password,
    admin_users,
    auth_fallback,
    auth_metadata,
    capabilities,
    devices,
    login,
    login_fallback,
    login_token,
    logout,
    openid,
    refresh,
    registration,
    registration_tokens,
    third_party_ids,
    third_party_lookup,
    voip,
    whoami,
)
from homeserver.config.sections.accounts import Auth, Registration
from homeserver.config.sections.limits import Limits
from homeserver.config.sections.server import Server
from homeserver.config.settings import Settings
from homeserver.http.authenticate import Authenticator
from homeserver.http.dispatch import Dispatcher
from homeserver.http.listener import HttpServer, ListenAddress
from homeserver.http.settings import HttpSettings
from homeserver.mail.mailer import Mailer
from homeserver.services import Services
from homeserver.users.users import UserPorts, Users, build_users
from storage.committer import Committer, Write
from storage.database import Pool, open_pool
from storage.names import Names

PASSWORD = "correct horse"
V3 = "/_matrix/client/v3"
V1 = "/_matrix/client/v1"
MODULES = (
    account_deactivation,
    account_password,
    admin_users,
    auth_fallback,
    auth_metadata,
    capabilities,
    devices,
    login,
    login_fallback,
    login_token,
    logout,
    openid,
    refresh,
    registration,
    registration_tokens,
    third_party_ids,
    third_party_lookup,
    voip,
    whoami,
)
CLIENT_ENDPOINTS = tuple(one for module in MODULES for one in module.ENDPOINTS)
SETTINGS = Settings(
    server=Server(name="hs1"),
    auth=Auth(bcrypt_rounds=4),
    limits=Limits(enabled=False),
    registration=Registration(enabled=True, token_required=False, shared_secret="shared"),
)
UNLIMITED = HttpSettings()


@dataclass
class Surroundings:
    """Stands where other services will, and keeps what it is told."""

    announced: list[str] = field(default_factory=list)
    changed: list[tuple[UserId, tuple[DeviceId, ...]]] = field(default_factory=list)
    added: list[tuple[UserId, DeviceId]] = field(default_factory=list)
    announced_again: list[tuple[int, UserId, DeviceId]] = field(default_factory=list)
    left: list[UserId] = field(default_factory=list)
    joined: list[UserId] = field(default_factory=list)

    async def announce(self, text: str) -> None:
        self.announced.append(text)

    async def writes_for_change(
        self, user_nid: int, user_id: UserId, device_ids: Sequence[DeviceId]
    ) -> Sequence[Write]:
        self.changed.append((user_id, tuple(device_ids)))
        return ()

    async def writes_for_removal(
        self, user_nid: int, user_id: UserId, device_ids: Sequence[DeviceId]
    ) -> Sequence[Write]:
        return await self.writes_for_change(user_nid, user_id, device_ids)

    async def announce_again(self, users: Sequence[tuple[int, UserId, DeviceId]]) -> None:
        self.announced_again.extend(users)

    async def note_new_device(self, user_nid: int, user_id: UserId, device_id: DeviceId) -> None:
        self.added.append((user_id, device_id))

    async def may_log_in(self, user_nid: int, device_id: DeviceId) -> bool:
        return device_id != "CROSSSIGNINGKEY"

    async def leave_all_rooms(self, user_id: UserId) -> None:
        self.left.append(user_id)

    async def join_first_rooms(self, user_id: UserId) -> None:
        self.joined.append(user_id)

    async def bind(self, server: str, *_: str) -> tuple[str, str]:
        raise ServerNotTrusted(f"{server} is not trusted")

    async def unbind(self, *_: str) -> bool:
        return False

    def is_reserved(self, user_id: UserId) -> bool:
        return user_id.startswith("@bridge-")


@dataclass
class Time:
    """A clock that moves only when told to."""

    now: int = 1_700_000_000_000

    def __call__(self) -> int:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += int(seconds * 1000)


@dataclass(frozen=True)
class Answer:
    """A response that was read."""

    status: int
    body: Any

    @property
    def error(self) -> tuple[int, str]:
        return self.status, self.body["errcode"]


@dataclass(frozen=True)
class Session:
    """A logged-in device of the tests."""

    user_id: str
    device_id: str
    token: str
    refresh_token: str | None


@dataclass(frozen=True)
class UserServer:
    """A started server, with a client for it."""

    users: Users
    db: Pool
    time: Time
    around: Surroundings
    http: aiohttp.ClientSession
    url: str

    async def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        token: str | None = None,
    ) -> Answer:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with self.http.request(
            method, URL(self.url + path, encoded=True), json=body, headers=headers
        ) as response:
            return Answer(response.status, await response.json())

    async def register(self, name: str, **body: Any) -> Session:
        answer = await self.call(
            "POST",
            f"{V3}/register",
            {"username": name, "password": PASSWORD, "auth": {"type": "m.login.dummy"}, **body},
        )
        return read_session(answer)

    async def log_in(self, name: str, **body: Any) -> Session:
        return read_session(await self.try_login(name, **body))

    async def try_login(self, name: str, **body: Any) -> Answer:
        return await self.call("POST", f"{V3}/login", {**password_login(name), **body})

    async def whoami(self, token: str) -> Answer:
        return await self.call("GET", f"{V3}/account/whoami", token=token)


def read_session(answer: Answer) -> Session:
    assert answer.status == 200, answer
    body = answer.body
    return Session(
        body["user_id"], body["device_id"], body["access_token"], body.get("refresh_token")
    )


def password_login(name: str, password: str = PASSWORD) -> dict[str, Any]:
    """A login, or the stage of an interactive authentication, by password."""
    return {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": name},
        "password": password,
    }


@asynccontextmanager
async def running_user_server(
    database_url: str,
    settings: Settings = SETTINGS,
    http_settings: HttpSettings = UNLIMITED,
    **changes: Any,
) -> AsyncIterator[UserServer]:
    """A server over the database; `changes` replace parts of the settings.

    How often one address may call is said by `http_settings`, so that other limits can be tested.
    """
    settings = replace(settings, **changes)
    pool = await open_pool(database_url, 4)
    committer = Committer(database_url, published, {})
    committing = asyncio.create_task(committer.run())
    time, around = Time(), Surroundings()
    users = build_users(
        db=pool,
        names=Names(pool, 1_000_000),
        committer=committer,
        clock=time,
        settings=settings,
        session_cache_bytes=1_000_000,
        ports=UserPorts(
            around.announce,
            around,
            around,
            around,
            Mailer(SETTINGS.mail, "hs1", ssl.create_default_context),
            around,
        ),
    )
    networks = ThirdPartyNetworks((), {}, monotonic, timeout_s=1)
    appservices = SimpleNamespace(services=(), networks=networks)
    services = cast(
        Services,
        SimpleNamespace(
            settings=settings, clock=time, db=pool, users=users, appservices=appservices
        ),
    )
    authenticator = Authenticator(users.sessions, None, time, users.last_seen)
    dispatcher = Dispatcher(
        (*CLIENT_ENDPOINTS, *ADMIN_ENDPOINTS), services, authenticator, http_settings
    )
    server = HttpServer(dispatcher, http_settings)
    await server.start([ListenAddress("127.0.0.1", 0)])
    try:
        async with aiohttp.ClientSession() as client:
            url = f"http://127.0.0.1:{server.ports[0]}"
            yield UserServer(users, pool, time, around, client, url)
    finally:
        await server.stop(grace_s=1)
        committer.close()
        await committing
        await pool.close()


async def published(before: int, after: int, changes: Sequence[Any]) -> None:
    """Nobody listens to the stream here."""
