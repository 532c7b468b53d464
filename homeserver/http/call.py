"""What a handler gets to know of a request."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar, overload

from aiohttp.web_request import BaseRequest

from federation.protocol.canonical_json import MAX_HANDED_ON
from federation.protocol.errors import InvalidParam, MissingParam, MissingToken, Unauthorized
from federation.protocol.identifiers import DeviceId, ServerName, UserId
from homeserver.http.query import parse_query
from homeserver.http.read_body import StreamedRequest
from homeserver.users.requester import CallingService, Requester

if TYPE_CHECKING:
    from homeserver.services import Services

T = TypeVar("T")

DIGITS = 20
"""Longer numbers are refused before they are parsed."""


class Call:
    """One request: its parameters, its body, and who makes it.

    `path` holds the path parameters, percent-decoded, under the names that the endpoint's path
    has in braces. `json` is the body's object (empty for GET and for an empty body) and `body` its
    bytes. `requester` is None where nobody logged in makes the request; `user_id` and its
    neighbours are for endpoints that demand a user.
    """

    __slots__ = (
        "_query",
        "_stream",
        "body",
        "json",
        "method",
        "path",
        "query_string",
        "remote_address",
        "request",
        "request_id",
        "requester",
        "sending_server",
        "service",
        "services",
    )

    def __init__(
        self,
        *,
        services: "Services",
        request: BaseRequest,
        path: dict[str, str],
        query_string: str,
        request_id: str,
        remote_address: str,
    ) -> None:
        self.services = services
        self.request = request
        """aiohttp's request, for the rare handler that needs a header or the bare body."""
        self.method = request.method
        self.path = path
        self.query_string = query_string
        self.request_id = request_id
        self.remote_address = remote_address
        """The client's IP address, as trusted proxies tell it."""
        self.requester: Requester | None = None
        self.service: CallingService | None = None
        """The application service that calls, also where it acts as one of its users."""
        self.sending_server: ServerName | None = None
        self.json: dict[str, Any] = {}
        self.body = b""
        self._query: dict[str, list[str]] | None = None
        self._stream: StreamedRequest | None = None

    @property
    def stream(self) -> StreamedRequest:
        """The body of a call whose endpoint reads it as it arrives."""
        if self._stream is None:
            raise TypeError("The endpoint is not declared to read a stream")
        return self._stream

    @stream.setter
    def stream(self, stream: StreamedRequest) -> None:
        self._stream = stream

    @property
    def user(self) -> Requester:
        """The user, device and token behind the call. Raises `MissingToken` if there are none."""
        if self.requester is None:
            raise MissingToken
        return self.requester

    @property
    def user_id(self) -> UserId:
        """The calling user."""
        return self.user.user_id

    @property
    def user_nid(self) -> int:
        """The calling user's number in the database."""
        return self.user.user_nid

    @property
    def device_id(self) -> DeviceId | None:
        """The calling device; None for a token without one."""
        return self.user.device_id

    @property
    def device_nid(self) -> int:
        """The calling device's number in the database; 0 for a token without a device."""
        return self.user.device_nid

    @property
    def token_id(self) -> int:
        """The access token's number in the database."""
        return self.user.token_id

    @property
    def is_guest(self) -> bool:
        """Whether a guest calls."""
        return self.user.is_guest

    @property
    def is_admin(self) -> bool:
        """Whether a server administrator calls."""
        return self.user.is_admin

    @property
    def service_id(self) -> str | None:
        """The application service that calls; None for anybody else."""
        return self.service.service_id if self.service is not None else None

    @property
    def is_unlimited(self) -> bool:
        """Whether the caller may call as often as it likes: an application service mostly may."""
        service, requester = self.service, self.requester
        if service is None:
            return False
        return (
            not service.is_rate_limited
            or requester is None
            or (requester.user_id == service.sender)
        )

    @property
    def origin(self) -> ServerName:
        """The server that signed the request. Raises `Unauthorized` if none did."""
        if self.sending_server is None:
            raise Unauthorized("The request is not signed by a server")
        return self.sending_server

    @property
    def headers(self) -> Mapping[str, str]:
        """The request's headers; names are compared without regard to case."""
        return self.request.headers

    @property
    def query(self) -> Mapping[str, list[str]]:
        """The values of each query parameter, in order. Raises `InvalidParam`."""
        if self._query is None:
            self._query = parse_query(self.query_string)
        return self._query

    def query_str(self, name: str) -> str:
        """A required query parameter. Raises `MissingParam`."""
        values = self.query.get(name)
        if not values:
            raise MissingParam(f"Missing query parameter '{name}'")
        return values[0]

    def query_optional_str(self, name: str) -> str | None:
        """A query parameter, or None where it is absent."""
        values = self.query.get(name)
        return values[0] if values else None

    def query_list(self, name: str) -> list[str]:
        """All values of a query parameter that may be repeated."""
        return self.query.get(name, [])

    @overload
    def query_int(
        self, name: str, default: int, *, minimum: int = 0, maximum: int = MAX_HANDED_ON
    ) -> int: ...

    @overload
    def query_int(
        self, name: str, default: None = None, *, minimum: int = 0, maximum: int = MAX_HANDED_ON
    ) -> int | None: ...

    def query_int(
        self,
        name: str,
        default: int | None = None,
        *,
        minimum: int = 0,
        maximum: int = MAX_HANDED_ON,
    ) -> int | None:
        """A whole number. What is above `maximum` is lowered to it, as limits and timeouts may be.

        Raises `InvalidParam` for what is no number or below `minimum`.
        """
        text = self.query_optional_str(name)
        if text is None:
            return default
        digits = text.removeprefix("-")
        if not (digits.isascii() and digits.isdecimal()) or len(digits) > DIGITS:
            raise InvalidParam(f"Query parameter '{name}' must be an integer")
        value = int(text)
        if value < minimum:
            raise InvalidParam(f"Query parameter '{name}' must be at least {minimum}")
        return min(value, maximum)

    @overload
    def query_bool(self, name: str, *, default: bool = False) -> bool: ...

    @overload
    def query_bool(self, name: str, *, default: None) -> bool | None: ...

    def query_bool(self, name: str, *, default: bool | None = False) -> bool | None:
        """`true` or `false`. Raises `InvalidParam` for anything else."""
        text = self.query_optional_str(name)
        if text is None:
            return default
        if text not in {"true", "false"}:
            raise InvalidParam(f"Query parameter '{name}' must be true or false")
        return text == "true"

    @overload
    def query_choice(self, name: str, choices: tuple[str, ...], default: str) -> str: ...

    @overload
    def query_choice(
        self, name: str, choices: tuple[str, ...], default: None = None
    ) -> str | None: ...

    def query_choice(
        self, name: str, choices: tuple[str, ...], default: str | None = None
    ) -> str | None:
        """One of `choices`, or `default` where it is absent. Raises `InvalidParam`."""
        text = self.query_optional_str(name)
        if text is None:
            return default
        if text not in choices:
            raise InvalidParam(f"Query parameter '{name}' must be one of {', '.join(choices)}")
        return text
