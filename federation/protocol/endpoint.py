"""An endpoint is a declaration in front of a short handler."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Generic, TypeVar

CallT = TypeVar("CallT", contravariant=True)

MAX_DEPTH = 100
"""Bodies nested deeper are refused: whatever walks over a value recurses at most so often."""


class Access(Enum):
    """Who may call an endpoint."""

    PUBLIC = "public"
    """Anybody; a token is not looked at."""
    OPTIONAL = "optional"
    """Anybody; a token, where given, must be valid."""
    GUEST = "guest"
    """Users and guests."""
    USER = "user"
    """Users, not guests."""
    ADMIN = "admin"
    """Server administrators."""
    SERVER = "server"
    """Other homeservers, by X-Matrix signature."""


class Rate(Enum):
    """Which allowance a call draws on; the figures are configuration."""

    NONE = "none"
    REQUEST = "request"
    """The general allowance for reads and small writes."""
    MESSAGE = "message"
    DELAYED_EVENT = "delayed_event"
    """Restarting, sending and cancelling what was delayed."""
    LOGIN = "login"
    REGISTRATION = "registration"
    JOIN = "join"
    ROOM_CREATION = "room_creation"
    INVITE = "invite"
    SEARCH = "search"
    REPORT = "report"
    UPLOAD = "upload"
    PREVIEW = "preview"
    CALL = "call"


class Body(Enum):
    """How the body of a request is read. GET requests have none."""

    JSON = "json"
    """A JSON object; an empty body counts as an empty object."""
    BYTES = "bytes"
    """As it is."""
    STREAM = "stream"
    """By the handler, as it arrives: its size and pace are limited, the time it takes is not."""


@dataclass(frozen=True, slots=True)
class Endpoint(Generic[CallT]):
    """What the dispatcher knows of an endpoint.

    `path` names its parameters in braces as the specification does; `aliases` are further paths
    that reach the same handler (legacy and unstable names, or the form without an optional last
    parameter). Bodies nested deeper than `max_depth` are refused; without it that is left to the
    handler. `locked_allowed` and `suspended_allowed` say whether locked or suspended users may
    still call it. A call of a `long_poll` endpoint is cancelled when its client goes away and when
    the server stops; every other call runs to its end.
    """

    method: str
    path: str
    access: Access
    rate: Rate
    handler: Callable[[CallT], Awaitable[Any]]
    max_body_bytes: int
    max_depth: int | None
    locked_allowed: bool
    suspended_allowed: bool
    aliases: tuple[str, ...] = ()
    body: Body = Body.JSON
    long_poll: bool = False


def endpoint(
    method: str,
    path: str,
    access: Access,
    *,
    rate: Rate = Rate.NONE,
    max_body_bytes: int = 65_536 * 2,
    max_depth: int | None = MAX_DEPTH,
    locked_allowed: bool = False,
    suspended_allowed: bool = True,
    aliases: tuple[str, ...] = (),
    body: Body = Body.JSON,
    long_poll: bool = False,
) -> Callable[[Callable[[CallT], Awaitable[Any]]], Endpoint[CallT]]:
    """Declare the endpoint that the decorated handler serves; its name stands for the record."""

    def declare(handler: Callable[[CallT], Awaitable[Any]]) -> Endpoint[CallT]:
        return Endpoint(
            method=method,
            path=path,
            access=access,
            rate=rate,
            handler=handler,
            max_body_bytes=max_body_bytes,
            max_depth=max_depth,
            locked_allowed=locked_allowed,
            suspended_allowed=suspended_allowed,
            aliases=aliases,
            body=body,
            long_poll=long_poll,
        )

    return declare
