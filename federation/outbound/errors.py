"""What can go wrong when another server is asked.

All of it is one class, because callers decide by its facts: is it worth trying again, did the
server answer at all, what did it say.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from federation.protocol.errors import (
    BadJson,
    Forbidden,
    IncompatibleRoomVersion,
    InviteBlocked,
    MatrixError,
    NotFound,
    UnableToAuthoriseJoin,
    UnableToGrantJoin,
    UnsupportedRoomVersion,
)
from federation.protocol.identifiers import ServerName

RELAYED: Mapping[str, type[MatrixError]] = {
    one.errcode: one
    for one in (
        BadJson,
        Forbidden,
        InviteBlocked,
        NotFound,
        UnableToAuthoriseJoin,
        UnableToGrantJoin,
    )
}
"""Refusals that mean to our users what they mean to us. What is wrong with our request, as
`M_INVALID_PARAM` and `M_MISSING_PARAM` say, is not theirs to mend."""


class FederationError(MatrixError):
    """Another server did not do what it was asked.

    `status` and `errcode` are what our own user is told, as for every error: 502, or 504 when
    nothing came. What the other server said is in `answer_status` (None: no answer) and
    `answer_errcode`.
    """

    status: ClassVar[int] = 502

    def __init__(
        self,
        destination: ServerName,
        message: str,
        *,
        answer_status: int | None = None,
        answer: Mapping[str, Any] | None = None,
        transient: bool,
        reachable: bool,
        retry_after_ms: int | None = None,
    ) -> None:
        super().__init__(f"{destination}: {message}")
        self.destination = destination
        self.answer_status = answer_status
        """The HTTP status of the answer, None where there was none."""
        self.answer = answer or {}
        """The JSON object of the answer; empty where there was none."""
        self.transient = transient
        """The same request may succeed later."""
        self.reachable = reachable
        """The server answered, if only to refuse."""
        self.retry_after_ms = retry_after_ms
        """How long to wait before trying again, where that is known."""

    @property
    def answer_errcode(self) -> str | None:
        """The Matrix error code of the answer, None where it has none."""
        errcode = self.answer.get("errcode")
        return errcode if isinstance(errcode, str) else None

    def relayed(self) -> MatrixError:
        """What a user is told who asked for something that only the other server could grant.

        Its refusals are handed on where they mean the same to the user (`Forbidden`, `NotFound`,
        `IncompatibleRoomVersion`, …); everything else, such as 401, stays our failure to get it.
        """
        errcode, said = self.answer_errcode, self.answer.get("error")
        message = said if isinstance(said, str) else self.message
        if errcode == IncompatibleRoomVersion.errcode:
            return IncompatibleRoomVersion(str(self.answer.get("room_version", "unknown")))
        if errcode == UnsupportedRoomVersion.errcode:
            return UnsupportedRoomVersion(str(self.answer.get("room_version", "unknown")))
        if errcode is None or self.answer_status not in (400, 403, 404):
            return self
        return RELAYED[errcode](message) if errcode in RELAYED else self


class Unreachable(FederationError):
    """No answer came: no address, no connection, a wrong certificate, or too late."""

    status = 504

    def __init__(self, destination: ServerName, message: str, *, transient: bool = True) -> None:
        super().__init__(destination, message, transient=transient, reachable=False)


class BackingOff(FederationError):
    """The server failed a short while ago and is left alone until `retry_at_ts`."""

    status = 504

    def __init__(self, destination: ServerName, retry_at_ts: int, now_ts: int) -> None:
        super().__init__(
            destination,
            "it could not be reached and is tried again later",
            transient=True,
            reachable=False,
            retry_after_ms=max(retry_at_ts - now_ts, 0),
        )
        self.retry_at_ts = retry_at_ts


class Refused(FederationError):
    """The server answered with an error; `answer_status` and `answer_errcode` say which."""

    def __init__(
        self,
        destination: ServerName,
        answer_status: int,
        answer: Mapping[str, Any],
        *,
        retry_after_ms: int | None = None,
    ) -> None:
        said = answer.get("error")
        text = f": {' '.join(said[:200].split())}" if isinstance(said, str) else ""
        super().__init__(
            destination,
            f"it answered {answer_status} {said_errcode(answer)}".rstrip() + text,
            answer_status=answer_status,
            answer=answer,
            transient=answer_status >= 500 or answer_status in (408, 429),
            reachable=True,
            retry_after_ms=retry_after_ms,
        )


def said_errcode(answer: Mapping[str, Any]) -> str:
    """The error code of an answer as a line of a log can hold it."""
    return " ".join(str(answer.get("errcode", ""))[:100].split())


class BadAnswer(FederationError):
    """The server answered with success and something that is not what was asked for."""

    def __init__(self, destination: ServerName, message: str) -> None:
        super().__init__(destination, message, answer_status=200, transient=False, reachable=True)


class NotFederating(FederationError):
    """We do not talk to this server: by configuration, or because it is ourselves."""

    status = 403
    errcode = "M_FORBIDDEN"

    def __init__(self, destination: ServerName, message: str) -> None:
        super().__init__(destination, message, transient=False, reachable=False)
