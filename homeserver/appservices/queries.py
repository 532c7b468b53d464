"""Asking application services for users and aliases that are not here yet.

Whoever names a user or an alias that a service looks after may be the first to do so: the service
is asked, and makes what it knows before it answers. What it does not know is not asked for again at
once, and one question is asked once, however many wait for the answer.
Source: application service API, "Querying".
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from urllib.parse import quote

from federation.protocol.errors import RequestTimeout
from federation.protocol.identifiers import RoomAlias, UserId
from homeserver.appservices.link import ServiceLink, ServiceRequest, ServiceUnreachable
from homeserver.appservices.namespaces import Namespaces
from storage.accounts import find_accounts
from storage.cache import Cache
from storage.database import Database

log = logging.getLogger("hearth.appservices")

UNKNOWN_FOR_S = 10.0
"""What a service does not know it is not asked for again so soon."""
MOST_AT_ONCE = 50
"""Questions under way; what is asked beyond them is unknown."""
ENTRY_COST = 300


class ServiceQueries:
    """Asks the services that look after something."""

    def __init__(
        self,
        db: Database,
        namespaces: Namespaces,
        links: Mapping[str, ServiceLink],
        now_s: Callable[[], float],
        *,
        timeout_s: float,
        max_bytes: int,
    ) -> None:
        self._db = db
        self._namespaces = namespaces
        self._links = links
        self._now_s = now_s
        self._timeout_s = timeout_s
        self._unknown: Cache[str, float] = Cache(max_bytes)
        self._asking: dict[str, asyncio.Task[bool]] = {}

    async def make_user_known(self, user_id: UserId) -> bool:
        """Whether a service has made the user, who has no account, just now.

        A service that cannot be asked knows nobody.
        """
        mask = self._namespaces.of_user(user_id)
        try:
            return bool(mask) and await self._ask(
                user_id, f"/users/{quote(user_id, safe='')}", mask
            )
        except ServiceUnreachable:
            return False

    async def make_unknown_user_known(self, user_id: UserId) -> None:
        """Have a user made who has no account, if a service knows who it is."""
        if self._namespaces.of_user(user_id) and not await find_accounts(self._db, [user_id]):
            await self.make_user_known(user_id)

    async def make_alias_known(self, alias: RoomAlias) -> bool:
        """Whether a service has made the alias, which was not there, just now.

        Raises `RequestTimeout` if the service that would know does not answer.
        """
        mask, path = self._namespaces.of_alias(alias), f"/rooms/{quote(alias, safe='')}"
        try:
            return bool(mask) and await self._ask(alias, path, mask)
        except ServiceUnreachable as error:
            raise RequestTimeout(f"The bridge of {alias} does not answer") from error

    def check_alias(self, alias: RoomAlias, service_id: str | None) -> None:
        """Refuse an alias that is not for the service, or, without one, that is reserved.

        Raises `Exclusive`.
        """
        self._namespaces.check_alias(alias, service_id)

    async def _ask(self, wanted: str, path: str, mask: int) -> bool:
        known_until = self._unknown.get(wanted)
        if known_until is not None and known_until > self._now_s():
            return False
        asking = self._asking.get(wanted)
        if asking is None:
            if len(self._asking) >= MOST_AT_ONCE:
                return False
            asking = asyncio.create_task(self._ask_services(wanted, path, mask))
            self._asking[wanted] = asking
            asking.add_done_callback(lambda _: self._asking.pop(wanted, None))
        return await asyncio.shield(asking)

    async def _ask_services(self, wanted: str, path: str, mask: int) -> bool:
        """Ask one service after another. Raises `ServiceUnreachable` if one does not answer."""
        failure: ServiceUnreachable | None = None
        for service in self._namespaces.among(mask):
            if service.url is None:
                continue
            link = self._links[service.service_id]
            try:
                request = ServiceRequest("GET", path, legacy_path=path)
                answer = await link.call(request, self._timeout_s)
            except ServiceUnreachable as error:
                log.info("%s cannot be asked for %s: %s", service.service_id, wanted, error)
                failure = error
                continue
            if answer.is_success:
                return True
        if failure is not None:
            raise failure
        self._unknown.put(wanted, self._now_s() + UNKNOWN_FOR_S, ENTRY_COST + len(wanted))
        return False
