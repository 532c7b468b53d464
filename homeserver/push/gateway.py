"""Asking push gateways to notify devices, by way of the guarded connections.

Source: push gateway API, POST /_matrix/push/v1/notify.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from weakref import WeakValueDictionary

import aiohttp
import orjson
from yarl import URL

from federation.outbound.connections import Connections, read_beginning, reason_of
from federation.protocol import canonical_json

MAX_ANSWER_BYTES = 65_536
AT_ONCE = 8
"""Requests to one gateway at once, so that one that is slow keeps nobody else waiting."""
AT_ONCE_OF_USER = 4
"""Requests for one user at once: gateways that never answer are easily made up."""
AT_ONCE_ALTOGETHER = 100
"""The server's other requests need connections too."""
LONGEST_WAIT_S = 86_400
MAX_DIGITS = 10
REFUSING = (400, 413, 422)
"""What says that the notification itself is at fault: it would be so the next time too."""


class GatewayFailed(Exception):
    """The gateway did not take a notification; it may take it later."""

    def __init__(self, reason: str, retry_after_ms: int = 0) -> None:
        super().__init__(reason)
        self.retry_after_ms = retry_after_ms


class NotificationRefused(Exception):
    """The gateway will never take this notification."""


class Gateways:
    """All push gateways."""

    def __init__(self, connections: Connections, timeout_s: float) -> None:
        self._connections = connections
        self._timeout_s = timeout_s
        self._turns: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._places = asyncio.Semaphore(AT_ONCE_ALTOGETHER)

    async def notify(
        self, url: str, user_id: str, notification: Mapping[str, Any]
    ) -> Sequence[str]:
        """Hand a notification for a user over; the pushkeys that the gateway rejects.

        Raises `GatewayFailed`, `NotificationRefused`.
        """
        body = canonical_json.encode_lax({"notification": notification})
        target = read_url(url)
        async with (
            self._turn(user_id, AT_ONCE_OF_USER),
            self._turn(target.authority, AT_ONCE),
            self._places,
        ):
            try:
                async with asyncio.timeout(self._timeout_s):
                    return await self._post(target, body)
            except TimeoutError as error:
                raise GatewayFailed("no answer in time") from error
            except (aiohttp.ClientError, OSError, UnicodeError) as error:
                raise GatewayFailed(reason_of(error)) from error

    async def _post(self, target: URL, body: bytes) -> Sequence[str]:
        async with self._connections.session().post(
            target,
            data=body,
            headers={"Content-Type": "application/json"},
            allow_redirects=False,
        ) as response:
            answer = await read_beginning(response, MAX_ANSWER_BYTES)
            if response.status in REFUSING:
                raise NotificationRefused(f"status {response.status}")
            if not 200 <= response.status < 300:
                wait_ms = read_retry_after_ms(response.headers.get("Retry-After", ""))
                raise GatewayFailed(f"status {response.status}", wait_ms)
        return read_rejected(answer)

    def _turn(self, whose: str, places: int) -> asyncio.Semaphore:
        turn = self._turns.get(whose)
        if turn is None:
            turn = self._turns[whose] = asyncio.Semaphore(places)
        return turn


def read_url(url: str) -> URL:
    """The URL of a gateway. Raises `GatewayFailed`."""
    try:
        return URL(url)
    except ValueError as error:
        raise GatewayFailed(f"this is no URL: {error}") from error


def read_retry_after_ms(header: str) -> int:
    """For how long a gateway asks to be left alone, at most a day."""
    if not (header.isascii() and header.isdecimal()):
        return 0
    return min(int(header[:MAX_DIGITS]), LONGEST_WAIT_S) * 1000


def read_rejected(answer: bytes) -> Sequence[str]:
    """The rejected pushkeys in an answer; some gateways answer otherwise than they should."""
    try:
        body = orjson.loads(answer)
    except orjson.JSONDecodeError:
        return ()
    rejected = body.get("rejected") if isinstance(body, dict) else None
    return [key for key in rejected if isinstance(key, str)] if isinstance(rejected, list) else ()
