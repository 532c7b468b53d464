"""The e-mail addresses and telephone numbers of accounts.

Source: client-server API, "Adding Account Administrative Contact Information".
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from federation.outbound.errors import FederationError
from federation.protocol.errors import (
    Forbidden,
    InvalidParam,
    ServerNotTrusted,
    ThreepidInUse,
)
from federation.protocol.identifiers import UserId
from homeserver.clock import Clock
from homeserver.config.sections.mail import ThirdPartyIds as ThirdPartyIdSettings
from homeserver.mail.addresses import canonical_email
from homeserver.users.contact_validation import ContactValidation, Credentials, Purpose
from homeserver.users.ports import IdentityServers
from storage.database import Pool
from storage.third_party_ids import (
    EMAIL,
    Binding,
    ThirdPartyId,
    add_binding,
    add_third_party_id,
    bindings_of,
    remove_binding,
    remove_third_party_id,
    third_party_ids_of,
)

log = logging.getLogger("hearth.users")

MSISDN = "msisdn"
MEDIUMS = (EMAIL, MSISDN)
UNBOUND = "success"
NOT_UNBOUND = "no-support"


class ThirdPartyIds:
    """Adds, lists and removes them; binds them at identity servers."""

    __slots__ = ("_clock", "_db", "_identity", "_settings", "_validation")

    def __init__(
        self,
        *,
        db: Pool,
        clock: Clock,
        settings: ThirdPartyIdSettings,
        validation: ContactValidation,
        identity: IdentityServers,
    ) -> None:
        self._db = db
        self._clock = clock
        self._settings = settings
        self._validation = validation
        self._identity = identity

    @property
    def can_change(self) -> bool:
        """Whether users may add and remove addresses."""
        return self._settings.changes_allowed and self._validation.is_available

    async def list(self, user_nid: int) -> Sequence[Mapping[str, Any]]:
        """The user's addresses as clients see them."""
        return [
            {
                "medium": one.medium,
                "address": one.address,
                "validated_at": one.validated_ts,
                "added_at": one.added_ts,
            }
            for one in await third_party_ids_of(self._db, user_nid)
        ]

    def check_can_change(self) -> None:
        """Raise `Forbidden` unless users may add and remove addresses."""
        if not self.can_change:
            raise Forbidden("Third-party identifiers cannot be changed on this server")

    async def check_proof(self, credentials: Credentials) -> None:
        """Raise `ThreepidAuthFailed` for what proves no address that is to be added."""
        await self._validation.find(Purpose.ADD, credentials)

    async def add(self, user_nid: int, credentials: Credentials) -> None:
        """Add an address that was proved. Raises `ThreepidAuthFailed`, `ThreepidInUse`."""
        self.check_can_change()
        proved = await self._validation.take(Purpose.ADD, credentials)
        added = ThirdPartyId(proved.medium, proved.address, proved.validated_ts, self._clock())
        if not await add_third_party_id(self._db, user_nid, added):
            raise ThreepidInUse("This address is in use here")

    async def remove(
        self, user_nid: int, user_id: UserId, medium: str, address: str, server: str | None
    ) -> str:
        """Take an address from an account; whether it was unbound everywhere, as a word."""
        self._check_removal()
        address = canonical_address(medium, address)
        await remove_third_party_id(self._db, user_nid, medium, address)
        return await self.unbind(user_nid, user_id, medium, address, server)

    async def bind(
        self, user_nid: int, user_id: UserId, server: str, access_token: str, proof: Credentials
    ) -> None:
        """Bind an address at an identity server, which has proved it.

        Raises `ServerNotTrusted`, `Unreachable`, and what the identity server refuses with.
        """
        bound = await self._identity.bind(
            server, access_token, proof.session_id, proof.client_secret, user_id
        )
        medium, address = bound
        await add_binding(self._db, user_nid, medium, address, server)

    async def unbind(
        self, user_nid: int, user_id: UserId, medium: str, address: str, server: str | None
    ) -> str:
        """Have identity servers forget whose an address is: one, or those where it was bound."""
        address = canonical_address(medium, address)
        if server is not None:
            bindings = [Binding(medium, address, server)]
        else:
            known = await bindings_of(self._db, user_nid)
            bindings = [one for one in known if (one.medium, one.address) == (medium, address)]
        return await self._unbind(user_nid, user_id, bindings)

    async def unbind_all(self, user_nid: int, user_id: UserId, server: str | None) -> str:
        """Unbind all of a user's addresses, where they were bound or at one server."""
        bindings = await bindings_of(self._db, user_nid)
        if server is not None:
            addresses = await third_party_ids_of(self._db, user_nid)
            bindings = [Binding(one.medium, one.address, server) for one in addresses]
        return await self._unbind(user_nid, user_id, bindings) if bindings else UNBOUND

    async def _unbind(self, user_nid: int, user_id: UserId, bindings: Sequence[Binding]) -> str:
        result = UNBOUND if bindings else NOT_UNBOUND
        for binding in bindings:
            if await self._is_unbound(user_id, binding):
                await remove_binding(self._db, user_nid, binding)
            else:
                result = NOT_UNBOUND
        return result

    async def _is_unbound(self, user_id: UserId, binding: Binding) -> bool:
        """Have an identity server forget an address; False if it does not, or is not there.

        No identity server keeps users from taking addresses off their accounts or closing them.
        """
        server = binding.identity_server
        try:
            return await self._identity.unbind(server, user_id, binding.medium, binding.address)
        except (FederationError, ServerNotTrusted) as error:
            log.info("%s did not forget an address of %s: %s", server, user_id, error.message)
            return False

    def _check_removal(self) -> None:
        if not self._settings.changes_allowed:
            raise Forbidden("Third-party identifiers cannot be changed on this server")


def canonical_address(medium: str, address: str) -> str:
    """The form in which an address is kept. Raises `InvalidParam`."""
    if medium not in MEDIUMS:
        raise InvalidParam("'medium' must be email or msisdn")
    return canonical_email(address) if medium == EMAIL else address.removeprefix("+")
