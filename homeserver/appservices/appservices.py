"""Everything around application services, put together."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

from homeserver.appservices.delivery import Delivery
from homeserver.appservices.directory import ServiceDirectories
from homeserver.appservices.identity import ServiceAccounts, ServiceIdentity
from homeserver.appservices.link import ServiceLink
from homeserver.appservices.pinging import UrlNotSet, ping
from homeserver.appservices.registrations import Registration
from homeserver.appservices.third_party import ThirdPartyNetworks
from storage.appservices import forget_other_services
from storage.database import Pool


@dataclass(frozen=True, slots=True)
class AppServices:
    """The application services of this server."""

    db: Pool
    services: Sequence[Registration]
    links: Mapping[str, ServiceLink]
    identity: ServiceIdentity
    accounts: ServiceAccounts
    directories: ServiceDirectories
    networks: ThirdPartyNetworks
    delivery: Delivery | None
    """None where nothing is told to any service."""
    ping_timeout_s: float

    def manages_devices(self, service_id: str) -> bool:
        """Whether a service makes devices instead of logging in."""
        return any(
            service.manages_devices for service in self.services if service.service_id == service_id
        )

    async def ping(self, service_id: str, transaction_id: str | None) -> int:
        """Ping a service; how many milliseconds it took.

        Raises `UrlNotSet`, `BadStatus`, `ConnectionFailed`, `ConnectionTimedOut`.
        """
        link = self.links.get(service_id)
        if link is None:
            raise UrlNotSet("The application service has no URL")
        return await ping(link, transaction_id, self.ping_timeout_s)

    async def prepare(self) -> None:
        """Make the users by whose names services act; forget services that are gone."""
        await forget_other_services(self.db, self.links)
        await self.accounts.make_senders()

    async def run(self) -> None:
        """Tell the services what happens, until cancelled; then close the connections to them."""
        async with self._closing():
            if self.delivery is not None:
                await self.delivery.run()
            await asyncio.Event().wait()

    @contextlib.asynccontextmanager
    async def _closing(self) -> AsyncIterator[None]:
        try:
            yield
        finally:
            for link in self.links.values():
                await link.close()
