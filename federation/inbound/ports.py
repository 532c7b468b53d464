"""What answering other servers needs of the rest: who they are, and our keys.

The chapters that need more name it in ports of their own.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from federation.protocol.identifiers import KeyId, ServerName
from federation.protocol.server_keys import KeyQuery, VerifyKey

Clock = Callable[[], int]
"""Gives milliseconds since the Unix epoch."""


class KnownKeys(Protocol):
    """Other servers' keys."""

    async def verify_keys(
        self, wanted: Mapping[ServerName, Mapping[KeyId, int]], *, backoff: bool
    ) -> Mapping[ServerName, Mapping[KeyId, VerifyKey]]:
        """The best that is known of keys that should be valid up to a time each."""


class KeyObjects(Protocol):
    """The key objects of other servers, as they signed them."""

    async def stored_objects(self, queries: Sequence[KeyQuery]) -> Sequence[bytes]:
        """The objects that answer the queries, each once."""


class KeyServer(Protocol):
    """Publishes keys: this server's, and as a notary those of others."""

    def published(self) -> Mapping[str, Any]:
        """This server's key object."""

    async def notarised(self, queries: Sequence[KeyQuery]) -> Sequence[Mapping[str, Any]]:
        """The key objects that answer the queries, signed by their servers and by this one."""


class KeyServices(Protocol):
    """The services of a server that tells who it is."""

    @property
    def key_server(self) -> KeyServer:
        """Publishes keys."""

    @property
    def clock(self) -> Clock:
        """The time."""

    @property
    def version(self) -> str:
        """Which version of hearth this is."""


class Request(Protocol):
    """What handlers know of every request."""

    @property
    def path(self) -> Mapping[str, str]:
        """The path parameters, percent-decoded."""

    @property
    def json(self) -> Mapping[str, Any]:
        """The body's object."""


class SignedRequest(Request, Protocol):
    """What handlers know of every request that another server has signed."""

    @property
    def origin(self) -> ServerName:
        """The server that signed the request."""


class KeyCall(Request, Protocol):
    """A request as the handlers of keys know it."""

    @property
    def services(self) -> KeyServices:
        """What the server can do."""

    def query_int(
        self, name: str, default: int, *, minimum: int = 0, maximum: int = 2**63 - 1
    ) -> int:
        """A whole number; what is above `maximum` is lowered to it. Raises `InvalidParam`."""
