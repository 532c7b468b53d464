"""Application services, put together: what other areas need of them first, then the rest."""

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from homeserver.appservices.appservices import AppServices
from homeserver.appservices.composing import Composer
from homeserver.appservices.courier import Courier
from homeserver.appservices.delivery import Delivery
from homeserver.appservices.directory import ServiceDirectories
from homeserver.appservices.identity import ServiceAccounts, ServiceIdentity
from homeserver.appservices.interest import Interest
from homeserver.appservices.link import ServiceLink
from homeserver.appservices.namespaces import Namespaces
from homeserver.appservices.queries import ServiceQueries
from homeserver.appservices.registrations import Registration
from homeserver.appservices.third_party import ThirdPartyNetworks
from homeserver.building.core import Core
from homeserver.rooms.client_events import ClientEvents
from homeserver.rooms.typing import Typing
from homeserver.users.sessions import Sessions
from storage.appservices import Progress
from storage.duties import TELLING


@dataclass(frozen=True, slots=True)
class Bridges:
    """What rooms and users need of application services."""

    namespaces: Namespaces
    links: Mapping[str, ServiceLink]
    queries: ServiceQueries


def build_bridges(core: Core, services: Sequence[Registration]) -> Bridges:
    """Who looks after what, and how to ask them."""
    settings = core.settings.appservices
    namespaces = Namespaces(services, core.server_name, core.cache_part)
    links = {
        service.service_id: ServiceLink(service, token_in_query=settings.token_in_query)
        for service in services
        if service.url is not None
    }
    queries = ServiceQueries(
        core.db,
        namespaces,
        links,
        time.monotonic,
        timeout_s=settings.query_timeout_s,
        max_bytes=core.cache_part // 8,
    )
    return Bridges(namespaces, links, queries)


def build_appservices(
    core: Core, bridges: Bridges, sessions: Sessions, clients: ClientEvents, typing: Typing
) -> AppServices:
    """Everything around application services."""
    namespaces, timeout_s = bridges.namespaces, core.settings.appservices.query_timeout_s
    delivery = _build_delivery(core, bridges, clients, typing) if bridges.links else None

    def heard_from(service_id: str) -> None:
        if delivery is not None:
            delivery.heard_from(service_id)

    return AppServices(
        db=core.db,
        services=namespaces.services,
        links=bridges.links,
        identity=ServiceIdentity(core.db, namespaces, sessions, heard_from),
        accounts=ServiceAccounts(core.db, core.names, namespaces, core.clock, core.server_name),
        directories=ServiceDirectories(core.db, core.names),
        networks=ThirdPartyNetworks(
            namespaces.services, bridges.links, time.monotonic, timeout_s=timeout_s
        ),
        delivery=delivery,
        ping_timeout_s=timeout_s,
    )


def _build_delivery(
    core: Core, bridges: Bridges, clients: ClientEvents, typing: Typing
) -> Delivery:
    """Tells the services that have a URL; it hears of the stream and of typing."""
    db, names, namespaces = core.db, core.names, bridges.namespaces
    told = [s for s in namespaces.services if s.service_id in bridges.links]
    composer = Composer(db, names, namespaces, clients, typing, core.clock)

    def make_courier(service: Registration, progress: Progress) -> Courier:
        return Courier(
            service,
            bridges.links[service.service_id],
            composer,
            db=db,
            names=names,
            namespaces=namespaces,
            stream=core.stream,
            clock=core.clock,
            chance=random.random,
            number=core.committer.number,
            timeout_s=core.settings.appservices.transaction_timeout_s,
            progress=progress,
        )

    interest = Interest(db, names, namespaces, namespaces.where(told), core.cache_part)
    duty = core.duty(TELLING)
    delivery = Delivery(db, core.stream, interest, told, make_courier, duty)
    core.stream.listen(delivery.heard)
    typing.listen(delivery.typing_changed)
    return delivery
