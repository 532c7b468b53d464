"""LiveKit's API for servers, as far as calls need it: rooms and who is in them.

Its address is the operator's own word, so these connections do not pass the guard that keeps
strangers from making us connect to our own network: LiveKit mostly runs beside the server.
Source: LiveKit, "RoomService API" (Twirp: JSON by POST).
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp
import orjson

from federation.outbound.connections import read_beginning, reason_of
from federation.protocol.errors import MatrixError
from homeserver.calls.signed_tokens import ApiKey

log = logging.getLogger("hearth.calls")

TIMEOUT_S = 10.0
MAX_CONNECTIONS = 10
MAX_ANSWER_BYTES = 1_048_576
TOKEN_LIFETIME_S = 60
EMPTY_TIMEOUT_S = 300
"""How long a room stays in which nobody has ever been."""
DEPARTURE_TIMEOUT_S = 20
"""How long a room stays when the last one has gone."""


class LiveKitFailed(MatrixError):
    """LiveKit does not do what it is asked; it may do so later."""

    status = 500

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason
        """Why, for the operator: clients are told no more than that it failed."""


class LiveKit:
    """The API of one LiveKit server."""

    def __init__(self, api_url: str, key: ApiKey, clock: Callable[[], int]) -> None:
        self._api_url = api_url
        self._key = key
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None

    async def create_room(self, name: str) -> None:
        """Have a room, new or not. Raises `LiveKitFailed`."""
        wanted = {
            "name": name,
            "empty_timeout": EMPTY_TIMEOUT_S,
            "departure_timeout": DEPARTURE_TIMEOUT_S,
            "max_participants": 0,
        }
        try:
            await self._call("CreateRoom", {"roomCreate": True}, wanted)
        except LiveKitFailed as error:
            log.warning("LiveKit at %s makes no room: %s", self._api_url, error.reason)
            raise

    async def is_in_room(self, room: str, identity: str) -> bool:
        """Whether a participant is connected. Raises `LiveKitFailed`."""
        grant = {"roomAdmin": True, "room": room}
        wanted = {"room": room, "identity": identity}
        found = await self._call("GetParticipant", grant, wanted)
        return found is not None and found.get("state") not in ("DISCONNECTED", 3)

    async def remove(self, room: str, identity: str) -> None:
        """Cut a participant off; one who is not there is no error. Raises `LiveKitFailed`."""
        grant = {"roomAdmin": True, "room": room}
        await self._call("RemoveParticipant", grant, {"room": room, "identity": identity})

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def _call(
        self, method: str, grant: Mapping[str, Any], wanted: Mapping[str, Any]
    ) -> Mapping[str, Any] | None:
        """The answer of a method; None if there is no such thing. Raises `LiveKitFailed`."""
        now_s = self._clock() // 1000
        token = self._key.sign({"video": grant}, now_s=now_s, lifetime_s=TOKEN_LIFETIME_S)
        try:
            async with (
                asyncio.timeout(TIMEOUT_S),
                self._opened().post(
                    f"{self._api_url}/twirp/livekit.RoomService/{method}",
                    data=orjson.dumps(wanted),
                    headers={"Authorization": f"Bearer {token}"},
                    allow_redirects=False,
                ) as response,
            ):
                answer = _decode(await read_beginning(response, MAX_ANSWER_BYTES))
                status = response.status
        except TimeoutError as error:
            raise _failure(method, "it does not answer in time") from error
        except (aiohttp.ClientError, OSError) as error:
            raise _failure(method, reason_of(error)) from error
        if status == 404 and answer.get("code") == "not_found":
            return None
        if status in (401, 403):
            raise _failure(method, f"it does not know the key or the secret ({status})")
        if status != 200:
            raise _failure(method, f"{status} {answer.get('msg', '')}".rstrip())
        return answer

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=MAX_CONNECTIONS),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": "hearth", "Content-Type": "application/json"},
                trust_env=False,
            )
        return self._session


def _failure(method: str, reason: str) -> LiveKitFailed:
    what = "create room on" if method == "CreateRoom" else "ask"
    return LiveKitFailed(f"Unable to {what} SFU", reason)


def _decode(body: bytes) -> Mapping[str, Any]:
    """The object of an answer; nothing where it is none."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}
