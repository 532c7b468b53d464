"""Profiles of other servers' users, asked of their servers and remembered for a short while.

Source: server-server API, `GET /query/profile`.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

import orjson

from federation.outbound.directory import RemoteDirectory
from federation.outbound.errors import FederationError
from federation.outbound.single_flight import SingleFlight
from federation.protocol.errors import NotFound
from federation.protocol.identifiers import UserId, server_of
from homeserver.clock import Clock
from storage.cache import Cache

REMEMBERED_MS = 60_000
MOST_AT_ONCE = 50
"""Questions under way; anybody may ask, also without an account, so others wait."""
OVERHEAD_BYTES = 300
OF_MEMBERS = ("displayname", "avatar_url")


class RemoteProfiles:
    """Asks for profiles."""

    def __init__(self, directory: RemoteDirectory, clock: Clock, cache_bytes: int) -> None:
        self._directory = directory
        self._clock = clock
        self._known: Cache[UserId, tuple[bytes, int]] = Cache(cache_bytes)
        self._flights: SingleFlight[UserId, Mapping[str, Any]] = SingleFlight()
        self._places = asyncio.Semaphore(MOST_AT_ONCE)

    async def profile(self, user_id: UserId) -> Mapping[str, Any]:
        """All fields of a profile.

        Raises `NotFound`, `Forbidden` as the other server does, `FederationError` when it does not
        answer.
        """
        known = self._known.get(user_id)
        if known is not None and known[1] > self._clock():
            return orjson.loads(known[0])  # type: ignore[no-any-return]
        return await self._flights.run(user_id, lambda: self._ask(user_id))

    async def _ask(self, user_id: UserId) -> Mapping[str, Any]:
        try:
            async with self._places:
                told = await self._directory.profile(server_of(user_id), user_id)
        except FederationError as error:
            raise error.relayed() from error
        # Some servers tell of what is not set.
        profile = {f: v for f, v in told.items() if v is not None or f not in OF_MEMBERS}
        encoded = orjson.dumps(profile)
        until_ts = self._clock() + REMEMBERED_MS
        self._known.put(user_id, (encoded, until_ts), len(encoded) + OVERHEAD_BYTES)
        return profile


class NoRemoteProfiles:
    """For a server that keeps to itself."""

    async def profile(self, user_id: UserId) -> Mapping[str, Any]:
        """Raise `NotFound`."""
        raise NotFound(f"The server of {user_id} cannot be asked")
