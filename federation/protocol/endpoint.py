"""An endpoint is a declaration in front of a short handler."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Generic, TypeVar

CallT = TypeVar("CallT")


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
    LOGIN = "login"
    REGISTRATION = "registration"
    JOIN = "join"
    ROOM_CREATION = "room_creation"
    INVITE = "invite"
    SEARCH = "search"
    REPORT = "report"


@dataclass(frozen=True, slots=True)
class Endpoint(Generic[CallT]):
    """What the dispatcher knows of an endpoint.

    `path` names its parameters in braces as the specification does. `locked_allowed` and
    `suspended_allowed` say whether locked or suspended users may still call it.
    """

    method: str
    path: str
    access: Access
    rate: Rate
    handler: Callable[[CallT], Awaitable[Any]]
    max_body_bytes: int
    locked_allowed: bool
    suspended_allowed: bool


def endpoint(
    method: str,
    path: str,
    access: Access,
    *,
    rate: Rate = Rate.NONE,
    max_body_bytes: int = 65_536 * 2,
    locked_allowed: bool = False,
    suspended_allowed: bool = True,
) -> Callable[[Callable[[CallT], Awaitable[Any]]], Endpoint[CallT]]:
    """Declare the endpoint that the decorated handler serves; the name then stands for the record."""

    def declare(handler: Callable[[CallT], Awaitable[Any]]) -> Endpoint[CallT]:
        return Endpoint(
            method, path, access, rate, handler, max_body_bytes, locked_allowed, suspended_allowed
        )

    return declare
