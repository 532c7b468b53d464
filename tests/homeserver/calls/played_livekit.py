"""A LiveKit server that a test plays: its API over a real socket, and its webhooks."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

from homeserver.config.sections.calls import Calls
from tests.homeserver.conftest import Answer
from tests.patience import PATIENCE_S

KEY_NAME = "hearth"
SECRET = "a secret of thirty-two characters"
URL = "wss://sfu.test"
SERVICE = "/livekit/jwt"
ROOMS = "/twirp/livekit.RoomService/"


def encoded(value: Any) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def signed(claims: Mapping[str, Any], *, secret: str = SECRET, alg: str = "HS256") -> str:
    """A token as LiveKit's library makes it."""
    text = f"{encoded({'alg': alg, 'typ': 'JWT'})}.{encoded(claims)}"
    mac = hmac.digest(secret.encode(), text.encode(), hashlib.sha256)
    return f"{text}.{encoded(mac)}"


def opened(token: str) -> dict[str, Any]:
    """The claims of a token, whose signature is checked."""
    text, _, signature = token.rpartition(".")
    mac = hmac.digest(SECRET.encode(), text.encode(), hashlib.sha256)
    assert signature == encoded(mac)
    header, claims = (
        json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        for part in text.split(".")
    )
    assert header == {"alg": "HS256", "typ": "JWT"}
    return dict(claims)


@dataclass
class PlayedLiveKit:
    """Keeps what it is asked; `participants` are those who are connected."""

    port: int = 0
    is_broken: bool = False
    rooms: list[Any] = field(default_factory=list)
    participants: set[tuple[str, str]] = field(default_factory=set)
    looked: asyncio.Queue[tuple[str, str]] = field(default_factory=asyncio.Queue)
    """Whom it was asked after."""
    removed: asyncio.Queue[tuple[str, str]] = field(default_factory=asyncio.Queue)
    """Whom it was asked to cut off."""

    @property
    def settings(self) -> Calls:
        """The settings of a server that uses it."""
        return Calls(
            livekit_url=URL,
            livekit_api_url=f"http://127.0.0.1:{self.port}",
            api_key=KEY_NAME,
            api_secret=SECRET,
            service_url=f"https://hearth.test{SERVICE}",
        )

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/rtc/validate":
            return web.Response(status=401, text="permissions denied")
        body = json.loads(await request.read())
        claims = opened(request.headers["Authorization"].removeprefix("Bearer "))
        assert claims["iss"] == KEY_NAME
        assert claims["nbf"] <= time.time() < claims["exp"]
        if self.is_broken:
            return web.json_response({"code": "internal", "msg": "broken"}, status=500)
        grant = claims["video"]
        match request.path.removeprefix(ROOMS):
            case "CreateRoom":
                assert grant == {"roomCreate": True}
                self.rooms.append(body)
                return web.json_response({"sid": "RM_x", "name": body["name"]})
            case "GetParticipant":
                assert grant == {"roomAdmin": True, "room": body["room"]}
                key = (body["room"], body["identity"])
                self.looked.put_nowait(key)
                if key in self.participants:
                    return web.json_response({"identity": key[1], "state": "ACTIVE"})
                return web.json_response({"code": "not_found", "msg": "no such"}, status=404)
            case "RemoveParticipant":
                assert grant == {"roomAdmin": True, "room": body["room"]}
                key = (body["room"], body["identity"])
                self.participants.discard(key)
                self.removed.put_nowait(key)
                return web.json_response({})
        return web.json_response({"code": "bad_route", "msg": "no such method"}, status=404)

    async def next_removal(self) -> tuple[str, str]:
        """Whom it is asked to cut off next."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.removed.get()

    async def next_look(self) -> tuple[str, str]:
        """Whom it is asked after next."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.looked.get()


@asynccontextmanager
async def played_livekit() -> AsyncIterator[PlayedLiveKit]:
    """A LiveKit server on loopback."""
    played = PlayedLiveKit()
    runner = web.ServerRunner(web.Server(played.handle), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    played.port = runner.addresses[0][1]
    try:
        yield played
    finally:
        await runner.cleanup()


async def tell(
    session: aiohttp.ClientSession,
    base_url: str,
    event: str,
    room: str,
    identity: str,
    *,
    secret: str = SECRET,
    **changes: Any,
) -> Answer:
    """Send a webhook; `changes` are of its claims."""
    told = {"event": event, "room": {"name": room}, "participant": {"identity": identity}}
    body = json.dumps(told).encode()
    now_s = int(time.time())
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    claims = {"iss": KEY_NAME, "nbf": now_s, "exp": now_s + 300, "sha256": digest, **changes}
    headers = {
        "Authorization": signed(claims, secret=secret),
        "Content-Type": "application/webhook+json",
    }
    url = f"{base_url}{SERVICE}/sfu_webhook"
    async with session.post(url, data=body, headers=headers) as response:
        return Answer(response.status, await response.json(), response.headers)
