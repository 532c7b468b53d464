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

from federation.outbound.connections import Connections, reason_of

MAX_ANSWER_BYTES = 65_536
AT_ONCE = 8
"""Requests to one gateway at once, so that one that is slow keeps nobody else waiting."""
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

    async def notify(self, url: str, notification: Mapping[str, Any]) -> Sequence[str]:
        """Hand a notification over; the pushkeys that the gateway rejects.

        Raises `GatewayFailed`, `NotificationRefused`.
        """
        body = orjson.dumps({"notification": notification})
        target = URL(url)
        async with self._turn(target.authority):
            try:
                async with asyncio.timeout(self._timeout_s):
                    return await self._post(target, body)
            except TimeoutError as error:
                raise GatewayFailed("no answer in time") from error
            except (aiohttp.ClientError, OSError) as error:
                raise GatewayFailed(reason_of(error)) from error

    async def _post(self, target: URL, body: bytes) -> Sequence[str]:
        async with self._connections.session().post(
            target,
            data=body,
            headers={"Content-Type": "application/json"},
            allow_redirects=False,
        ) as response:
            answer = await response.content.read(MAX_ANSWER_BYTES)
            if response.status in REFUSING:
                raise NotificationRefused(f"status {response.status}")
            if not 200 <= response.status < 300:
                retry_after = response.headers.get("Retry-After", "")
                seconds = int(retry_after) if retry_after.isdecimal() else 0
                raise GatewayFailed(f"status {response.status}", min(seconds, 86_400) * 1000)
        return read_rejected(answer)

    def _turn(self, authority: str) -> asyncio.Semaphore:
        turn = self._turns.get(authority)
        if turn is None:
            turn = self._turns[authority] = asyncio.Semaphore(AT_ONCE)
        return turn


def read_rejected(answer: bytes) -> Sequence[str]:
    """The rejected pushkeys in an answer; some gateways answer otherwise than they should."""
    try:
        body = orjson.loads(answer)
    except orjson.JSONDecodeError:
        return ()
    rejected = body.get("rejected") if isinstance(body, dict) else None
    return [key for key in rejected if isinstance(key, str)] if isinstance(rejected, list) else ()
