"""Users and places of other networks, as the application services tell of them.

Source: application service API, "Third-party networks"; client-server API, "Third-party Lookups".
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal
from urllib.parse import quote

from federation.protocol.errors import NotFound
from homeserver.appservices.link import (
    LEGACY_THIRD_PARTY,
    ServiceLink,
    ServiceRequest,
    ServiceUnreachable,
)
from homeserver.appservices.registrations import Registration

log = logging.getLogger("hearth.appservices")

Kind = Literal["user", "location"]
REQUIRED = {"user": "userid", "location": "alias"}
DESCRIPTION_KEPT_S = 3600.0
MAX_RESULTS = 1_000

Description = dict[str, Any]


class ThirdPartyNetworks:
    """Asks the services of a protocol, all at once, and puts their answers together."""

    def __init__(
        self,
        services: Sequence[Registration],
        links: Mapping[str, ServiceLink],
        now_s: Callable[[], float],
        *,
        timeout_s: float,
    ) -> None:
        self._services = [service for service in services if service.url is not None]
        self._links = links
        self._now_s = now_s
        self._timeout_s = timeout_s
        self._described: dict[tuple[str, str], tuple[float, Description]] = {}

    async def protocols(self) -> dict[str, Description]:
        """All protocols, described."""
        names = sorted({name for service in self._services for name in service.protocols})
        found = await asyncio.gather(*(self._described_by_all(name) for name in names))
        return {name: one for name, one in zip(names, found, strict=True) if one is not None}

    async def protocol(self, name: str) -> Description:
        """A protocol, described. Raises `NotFound`."""
        description = await self._described_by_all(name)
        if description is None:
            raise NotFound(f"Unknown protocol {name!r}")
        return description

    async def query(
        self, kind: Kind, protocol: str, fields: Sequence[tuple[str, str]]
    ) -> list[dict[str, Any]]:
        """Users or places of a protocol that fit the fields. Raises `NotFound` (protocol)."""
        services = self._of_protocol(protocol)
        if not services:
            raise NotFound(f"Unknown protocol {protocol!r}")
        return await self._ask_all(
            services, kind, f"/thirdparty/{kind}/{quote(protocol, safe='')}", fields
        )

    async def reverse(self, kind: Kind, name: str, matrix_id: str) -> list[dict[str, Any]]:
        """What a Matrix user or alias, given as the parameter `name`, is in other networks.

        Raises `NotFound`.
        """
        services = [service for service in self._services if service.protocols]
        path = f"/thirdparty/{kind}"
        found = await self._ask_all(services, kind, path, [(name, matrix_id)])
        if not found:
            raise NotFound(f"{matrix_id} is in no other network")
        return found

    def _of_protocol(self, name: str) -> list[Registration]:
        return [service for service in self._services if name in service.protocols]

    async def _described_by_all(self, name: str) -> Description | None:
        """What the services of a protocol say of it: the first describes, all have instances."""
        asked = [self._description(service, name) for service in self._of_protocol(name)]
        found = [one for one in await asyncio.gather(*asked) if one is not None]
        if not found:
            return None
        instances = [instance for one in found for instance in one["instances"]]
        return {**found[0], "instances": instances}

    async def _description(self, service: Registration, name: str) -> Description | None:
        key = (service.service_id, name)
        kept_until, known = self._described.get(key, (0.0, None))
        if known is not None and kept_until > self._now_s():
            return known
        answer = await self._get(service, f"/thirdparty/protocol/{quote(name, safe='')}")
        if not isinstance(answer, dict) or not isinstance(answer.get("instances"), list):
            return None
        instances = [
            with_instance_id(one, service.service_id)
            for one in answer["instances"]
            if isinstance(one, dict)
        ]
        description = {**answer, "instances": instances}
        self._described[key] = (self._now_s() + DESCRIPTION_KEPT_S, description)
        return description

    async def _ask_all(
        self,
        services: Iterable[Registration],
        kind: Kind,
        path: str,
        fields: Sequence[tuple[str, str]],
    ) -> list[dict[str, Any]]:
        answers = await asyncio.gather(*(self._get(one, path, fields) for one in services))
        results = [
            one
            for answer in answers
            if isinstance(answer, list)
            for one in answer
            if is_result(one, REQUIRED[kind])
        ]
        return results[:MAX_RESULTS]

    async def _get(
        self, service: Registration, path: str, query: Sequence[tuple[str, str]] = ()
    ) -> Any:
        """The JSON that a service answers; None if it has none."""
        request = ServiceRequest(
            "GET", path, legacy_path=LEGACY_THIRD_PARTY + path, query=tuple(query)
        )
        try:
            answer = await self._links[service.service_id].call(request, self._timeout_s)
        except ServiceUnreachable as error:
            log.info("%s cannot be asked of its network: %s", service.service_id, error)
            return None
        return answer.value() if answer.is_success else None


def with_instance_id(instance: Mapping[str, Any], service_id: str) -> dict[str, Any]:
    """An instance with the ID by which its room directory is asked for."""
    network_id = instance.get("network_id")
    if not isinstance(network_id, str):
        return dict(instance)
    return {**instance, "instance_id": f"{service_id}|{network_id}"}


def is_result(value: object, required: str) -> bool:
    """Whether a service has answered with something that clients can be given."""
    return (
        isinstance(value, dict)
        and isinstance(value.get(required), str)
        and isinstance(value.get("protocol"), str)
        and isinstance(value.get("fields"), dict)
    )
