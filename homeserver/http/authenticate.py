"""Who makes a request, and whether they may.

Source: client-server API, "Client authentication" and "Account moderation"; server-server API,
"Request authentication".
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from federation.protocol.endpoint import Access, Endpoint
from federation.protocol.errors import (
    Forbidden,
    GuestAccessForbidden,
    MissingToken,
    Unauthorized,
    UnknownToken,
    UserLocked,
    UserSuspended,
)
from federation.protocol.identifiers import ServerName
from homeserver.http.call import Call
from homeserver.users.requester import CallingService, Requester

AUTHORIZATION = "Authorization"
DEVICE_PARAMETERS = ("device_id", "org.matrix.msc3202.device_id")
"""By which an application service says which device it is, with the name of before v1.17."""


class Sessions(Protocol):
    """The access tokens that are in use."""

    async def find(self, token: str) -> Requester | None:
        """Who holds the token, expired or not; None for an unknown one."""


class CallingServices(Protocol):
    """The application services, which act as their users."""

    def find(self, token: str) -> CallingService | None:
        """The service whose token it is, if it is one's."""

    async def act_as(
        self, service: CallingService, user_id: str | None, device_id: str | None
    ) -> Requester:
        """The user, and the device, that a service wants to be; its sender if it names none.

        Raises `Forbidden`, `UnknownDevice`.
        """


class Sightings(Protocol):
    """When and from where devices are used."""

    def is_noted(self, device_nid: int) -> bool:
        """Whether the device was noted a short while ago."""

    def note(self, device_nid: int, ip: str, agent: str | None) -> None:
        """Take a note of a device in use; 0 stands for no device."""


class ServerAuth(Protocol):
    """Verifies the requests of other servers."""

    async def verify(
        self,
        *,
        authorization: Sequence[str],
        method: str,
        uri: str,
        content: dict[str, Any] | None,
        body: bytes = b"",
    ) -> ServerName:
        """The server that signed the request.

        `authorization` are the X-Matrix headers, `uri` is the request target as it was sent,
        `content` the object in the `body`, or None for a request without a body. Raises
        `Unauthorized`.
        """


class Authenticator:
    """Finds out who makes a request and refuses those who may not."""

    __slots__ = ("_now_ms", "_server_auth", "_services", "_sessions", "_sightings")

    def __init__(
        self,
        sessions: Sessions,
        server_auth: ServerAuth | None,
        now_ms: Callable[[], int],
        sightings: Sightings | None = None,
        services: CallingServices | None = None,
    ) -> None:
        self._sessions = sessions
        self._server_auth = server_auth
        self._now_ms = now_ms
        self._sightings = sightings
        self._services = services

    async def admit(self, call: Call, endpoint: Endpoint[Call]) -> None:
        """Set the call's requester and check that the endpoint is open to them.

        Not for `Access.SERVER`, whose signature covers a body that has not been read yet.
        Raises `MissingToken`, `UnknownToken`, `UserLocked`, `UserSuspended`,
        `GuestAccessForbidden`, `Forbidden`, `UnknownDevice`.
        """
        access, services = endpoint.access, self._services
        if access is Access.PUBLIC and services is None:
            return
        token = find_access_token(call)
        if services is not None and token is not None:
            call.service = services.find(token)
        if access is Access.PUBLIC:
            return
        if token is None:
            if access is Access.OPTIONAL:
                return
            raise MissingToken
        requester = await self._identify_caller(call, token)
        check_account(requester, endpoint)
        check_rank(requester, access)
        call.requester = requester
        sightings, device_nid = self._sightings, requester.device_nid
        if sightings is not None and not sightings.is_noted(device_nid):
            sightings.note(device_nid, call.remote_address, call.headers.get("User-Agent"))

    async def _identify_caller(self, call: Call, token: str) -> Requester:
        """Who holds the token, or whom the application service wants to be that does."""
        if self._services is None or call.service is None:
            return await self.identify(token)
        device_id = next(
            (found for name in DEVICE_PARAMETERS if (found := call.query_optional_str(name))), None
        )
        user_id = call.query_optional_str("user_id")
        return await self._services.act_as(call.service, user_id, device_id)

    async def identify(self, token: str) -> Requester:
        """Who holds the token. Raises `UnknownToken`."""
        requester = await self._sessions.find(token)
        if requester is None or requester.is_deactivated:
            raise UnknownToken
        expires_at_ms = requester.expires_at_ms
        if expires_at_ms is not None and expires_at_ms <= self._now_ms():
            # The client still has a refresh token; it need not forget its session.
            raise UnknownToken("The access token has expired", soft_logout=True)
        return requester

    def check_signed(self, call: Call) -> None:
        """Refuse a request that no server claims to have signed. Raises `Unauthorized`."""
        if self._server_auth is None:
            raise Unauthorized("This server does not federate")
        if not signature_headers(call):
            raise Unauthorized("Missing X-Matrix authorization")

    async def admit_server(self, call: Call) -> None:
        """Set the call's origin by its signature, once its body is there. Raises `Unauthorized`."""
        if self._server_auth is None:
            raise Unauthorized("This server does not federate")
        call.sending_server = await self._server_auth.verify(
            authorization=signature_headers(call),
            method=call.method,
            uri=call.request.raw_path,
            content=call.json if call.body else None,
            body=call.body,
        )


def find_access_token(call: Call) -> str | None:
    """The access token, from the header or (deprecated) the query; None if there is none."""
    header = call.request.headers.get(AUTHORIZATION)
    if header is not None:
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer":
            return None
        return token.strip() or None
    if "access_token" not in call.query_string:
        return None
    return call.query_optional_str("access_token") or None


def signature_headers(call: Call) -> list[str]:
    """The request's X-Matrix authorisations; there is one for each of the origin's keys."""
    headers = call.request.headers.getall(AUTHORIZATION, ())
    return [header for header in headers if header[:9].lower() == "x-matrix "]


def check_account(requester: Requester, endpoint: Endpoint[Call]) -> None:
    """Refuse locked and suspended users where the endpoint does not let them in.

    Raises `UserLocked`, `UserSuspended`.
    """
    if requester.is_locked and not endpoint.locked_allowed:
        raise UserLocked("This account has been locked")
    if requester.is_suspended and not endpoint.suspended_allowed:
        raise UserSuspended("You cannot perform this action while suspended")


def check_rank(requester: Requester, access: Access) -> None:
    """Refuse guests where users are asked for, and users where administrators are.

    Raises `GuestAccessForbidden`, `Forbidden`.
    """
    if access is Access.ADMIN and not requester.is_admin:
        raise Forbidden("You are not a server administrator")
    if requester.is_guest and access is Access.USER:
        raise GuestAccessForbidden("Guests may not do this")
