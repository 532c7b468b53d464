"""What sending transactions needs of the rest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from federation.protocol.identifiers import ServerName


@dataclass(frozen=True, slots=True)
class OutgoingPdu:
    """An event that other servers have to get; `room` is the room's number.

    `encoded` is the signed event in canonical JSON.
    """

    position: int
    room: int
    encoded: bytes


@dataclass(frozen=True, slots=True)
class MissedPdus:
    """Events that a destination has missed, by room in the order of the stream.

    `covered` says for each of the rooms that were read up to which position they were.
    """

    pdus: Sequence[OutgoingPdu]
    covered: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class QueuedEdu:
    """An EDU that must not be lost, in canonical JSON; they are sent in the order of `position`."""

    position: int
    encoded: bytes


@dataclass(frozen=True, slots=True)
class RoomMark:
    """From `missed_from` on a destination lacks the events of a room; None: it lacks none.

    With `is_new` an earlier mark that may be kept already stands.
    """

    missed_from: int | None
    is_new: bool


@dataclass(slots=True)
class Progress:
    """What sending has come to since it was last kept.

    `edus` says up to which position destinations have got the queued EDUs. Whatever of the stream
    is not later than `position` has been sent or is marked as missed.
    """

    position: int = 0
    marks: dict[tuple[ServerName, int], RoomMark] = field(default_factory=dict)
    edus: dict[ServerName, int] = field(default_factory=dict)

    def add_earlier(self, earlier: "Progress") -> None:
        """Take over what an earlier progress says and this one does not."""
        self.marks = {**earlier.marks, **self.marks}
        self.edus = {**earlier.edus, **self.edus}

    @property
    def is_empty(self) -> bool:
        """Whether no destination has come any further."""
        return not self.marks and not self.edus


class Backlog(Protocol):
    """What is kept of that which destinations still have to get."""

    async def waiting_destinations(self) -> Sequence[ServerName]:
        """The destinations that lack something."""

    async def missed_rooms(self, destination: ServerName) -> Mapping[int, int]:
        """The rooms of which a destination lacks events, each with the first position of these."""

    async def missed_pdus(
        self, destination: ServerName, rooms: Mapping[int, int], upto: int, limit: int
    ) -> MissedPdus:
        """The next events that a destination lacks, up to a position, at most `limit`.

        `rooms` are the rooms, the most urgent first, each with the position from which on it is
        read. If a room holds very many such events only the latest are sent: the destination can
        ask for those before.
        """

    async def queued_edus(
        self, destination: ServerName, after: int, limit: int
    ) -> Sequence[QueuedEdu]:
        """The next EDUs that are queued for a destination, after a position (exclusive)."""

    async def keep(self, progress: Progress) -> bool:
        """Keep what has been sent; False if another process has taken over the sending."""


class Requests(Protocol):
    """Makes signed requests of other servers; `FederationClient` is one."""

    async def request(
        self,
        destination: ServerName,
        method: str,
        path: str,
        *,
        body: bytes,
        timeout_s: float,
        max_bytes: int,
        backoff: bool,
    ) -> Any:
        """The JSON that the server answers with; `body` is canonical JSON.

        Without `backoff` the request is made although the destination may have failed of late.
        Raises `FederationError`.
        """
