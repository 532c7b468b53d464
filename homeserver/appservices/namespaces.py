"""Which application services look after a user, an alias or a room.

Services are told by bits of a number, so that a whole set of them is one integer: the first service
is 1, the second 2, the third 4. What was found for an ID is remembered within a budget.
"""

from collections.abc import Iterable, Iterator, Sequence

from federation.protocol.errors import Exclusive
from federation.protocol.identifiers import ServerName, server_of
from homeserver.appservices.registrations import Namespace, Registration
from storage.cache import Cache

ENTRY_COST = 300
MAX_ID = 255


class Namespaces:
    """The namespaces of all services."""

    __slots__ = ("_known", "server_name", "services", "with_aliases")

    def __init__(
        self, services: Sequence[Registration], server_name: ServerName, max_bytes: int
    ) -> None:
        self.services = tuple(services)
        self.with_aliases = self.where(service for service in services if service.aliases)
        """The services that look after any aliases."""
        self.server_name = server_name
        self._known: Cache[str, tuple[int, int]] = Cache(max_bytes)

    def bit_of(self, service_id: str) -> int:
        """The bit of a service. Raises `KeyError`."""
        for bit, service in self._by_bit():
            if service.service_id == service_id:
                return bit
        raise KeyError(service_id)

    def among(self, mask: int) -> Iterator[Registration]:
        """The services of a set."""
        return (service for bit, service in self._by_bit() if mask & bit)

    def where(self, services: Iterable[Registration]) -> int:
        """The set of some services."""
        wanted = {service.service_id for service in services}
        return sum(bit for bit, service in self._by_bit() if service.service_id in wanted)

    def of_user(self, user_id: str) -> int:
        """The services that look after a user of this server; nobody's are those of others."""
        return self._find(user_id)[0]

    def reserving_user(self, user_id: str) -> int:
        """The services that have a user for themselves."""
        return self._find(user_id)[1]

    def of_alias(self, alias: str) -> int:
        """The services that look after a room alias."""
        return self._find(alias)[0]

    def reserving_alias(self, alias: str) -> int:
        """The services that have an alias for themselves."""
        return self._find(alias)[1]

    def of_room(self, room_id: str) -> int:
        """The services that look after a room by its ID."""
        return self._find(room_id)[0]

    def is_reserved(self, user_id: str) -> bool:
        """Whether only an application service may make this user."""
        return self.reserving_user(user_id) != 0

    def check_user(self, user_id: str, service_id: str) -> None:
        """Refuse a user who is not the service's, or who is another's alone. Raises `Exclusive`."""
        bit = self.bit_of(service_id)
        if not self.of_user(user_id) & bit:
            raise Exclusive(f"{user_id} is not in the application service's namespace")
        if self.reserving_user(user_id) & ~bit:
            raise Exclusive(f"{user_id} is reserved by another application service")

    def check_alias(self, alias: str, service_id: str | None) -> None:
        """Refuse an alias that is not for the service, or, without one, that is reserved.

        Raises `Exclusive`.
        """
        bit = 0 if service_id is None else self.bit_of(service_id)
        if bit and not self.of_alias(alias) & bit:
            raise Exclusive(f"{alias} is not in the application service's namespace")
        if self.reserving_alias(alias) & ~bit:
            raise Exclusive(f"{alias} is reserved by an application service")

    def _by_bit(self) -> Iterator[tuple[int, Registration]]:
        return ((1 << number, service) for number, service in enumerate(self.services))

    def _find(self, text: str) -> tuple[int, int]:
        if len(text) > MAX_ID:
            return 0, 0
        known = self._known.get(text)
        if known is None:
            known = self._work_out(text)
            self._known.put(text, known, ENTRY_COST)
        return known

    def _work_out(self, text: str) -> tuple[int, int]:
        """The services that look after something, and those that have it for themselves."""
        interested = reserving = 0
        if text.startswith("@") and server_of(text) != self.server_name:
            return 0, 0
        for bit, service in self._by_bit():
            matching = [one for one in listed(service, text[:1]) if one.pattern.matches(text)]
            if matching or text == service.sender:
                interested |= bit
            if text == service.sender or any(one.exclusive for one in matching):
                reserving |= bit
        return interested, reserving


def listed(service: Registration, sigil: str) -> tuple[Namespace, ...]:
    """The service's namespaces for IDs of a kind."""
    return {"@": service.users, "#": service.aliases, "!": service.rooms}.get(sigil, ())
