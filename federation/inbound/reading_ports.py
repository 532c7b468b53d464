"""What answering other servers' questions needs of the rest."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, overload

from federation.inbound.ports import SignedRequest
from federation.protocol.identifiers import EventId, RoomAlias, RoomId, ServerName, UserId
from federation.protocol.response import StreamedBody


@dataclass(frozen=True, slots=True)
class ServedState:
    """The state before an event and the chain that vouches for it, as JSON of PDUs."""

    pdus: Sequence[bytes]
    auth_chain: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Gap:
    """Which events are missing: what precedes `latest`, back to `earliest` and `min_depth`."""

    earliest: Sequence[EventId]
    latest: Sequence[EventId]
    min_depth: int
    limit: int


@dataclass(frozen=True, slots=True)
class EventTime:
    """An event and the time that its sender gave it."""

    event_id: EventId
    origin_server_ts: int


class ServedEvents(Protocol):
    """Hands the events of rooms on, as JSON of PDUs.

    All raise `NotFound` for what is not here, and `Forbidden` for a server that is not in the room
    or that the room's access control list shuts out. An event that the server may not see comes
    redacted.
    """

    async def event(self, origin: ServerName, event_id: EventId) -> bytes:
        """A single event. One that the server may see is given to it in the room or not."""

    async def state(self, origin: ServerName, room_id: RoomId, event_id: EventId) -> ServedState:
        """The state before an event."""

    async def state_ids(self, origin: ServerName, room_id: RoomId, event_id: EventId) -> bytes:
        """The state before an event as the answer's JSON, `pdu_ids` and `auth_chain_ids`."""

    async def auth_chain(
        self, origin: ServerName, room_id: RoomId, event_id: EventId
    ) -> Sequence[bytes]:
        """All that vouches for an event, what was first in front."""

    async def backfill(
        self, origin: ServerName, room_id: RoomId, event_ids: Sequence[EventId], limit: int
    ) -> Sequence[bytes]:
        """The events given and what precedes them, the latest in front, at most `limit`."""

    async def missing_events(
        self, origin: ServerName, room_id: RoomId, gap: Gap
    ) -> Sequence[bytes]:
        """The events of a gap that are closest to its end, what was first in front."""

    async def closest_event(
        self, origin: ServerName, room_id: RoomId, ts: int, *, backwards: bool
    ) -> EventTime:
        """The first event at or after a time, or the last one at or before it, if `backwards`."""


@dataclass(frozen=True, slots=True)
class SpaceView:
    """A room with its children, as a server may see them. All have the fields of `RoomSummary`."""

    room: Mapping[str, Any]
    children: Sequence[Mapping[str, Any]]
    inaccessible_children: Sequence[str]


class ServedSpaces(Protocol):
    """Shows spaces to other servers."""

    async def view(self, origin: ServerName, room_id: RoomId, *, suggested_only: bool) -> SpaceView:
        """A room and its children. Raises `NotFound`, also for what the server may not see."""


@dataclass(frozen=True, slots=True)
class PublicRoomsQuery:
    """Which published rooms are asked for.

    `since` is a token of an earlier answer. `room_types` has None for rooms without type.
    """

    limit: int
    since: str | None
    search_term: str | None
    room_types: Sequence[str | None] | None
    third_party_network: str | None
    all_networks: bool


class AliasTarget(Protocol):
    """Where an alias leads, and servers that know the room."""

    @property
    def room_id(self) -> RoomId:
        """The room."""

    @property
    def servers(self) -> Sequence[str]:
        """Servers that are likely to be in it."""


class ServedDirectory(Protocol):
    """Tells of published rooms and of aliases."""

    async def public_rooms(self, query: PublicRoomsQuery) -> Mapping[str, Any]:
        """A page of this server's directory. Raises `Forbidden` (not shown), `InvalidParam`."""

    async def find_alias(self, alias: RoomAlias) -> AliasTarget:
        """Where an alias of this server leads. Raises `NotFound`."""


class ServedProfiles(Protocol):
    """Tells of this server's users."""

    async def profile(self, user_id: UserId, field: str | None) -> Mapping[str, Any]:
        """A user's profile, or one field of it. Raises `Forbidden` (not told), `NotFound`."""


class ServedDevices(Protocol):
    """Tells of the devices of this server's users and of their keys."""

    async def device_list(self, user_id: UserId) -> Mapping[str, Any]:
        """All devices of a user: `user_id`, `stream_id`, `devices`. Raises `NotFound`."""

    async def query_keys(self, wanted: Mapping[UserId, Sequence[str]]) -> Mapping[str, Any]:
        """The keys of users' devices; no devices given means all of the user's."""

    async def claim_keys(self, wanted: Mapping[UserId, Mapping[str, str]]) -> Mapping[str, Any]:
        """One-time keys, by user and device, of the algorithms given, each once and never again."""


class OpenIdTokens(Protocol):
    """Tokens by which users prove to third parties who they are."""

    async def find_openid_user(self, token: str) -> UserId | None:
        """The user who was given the token; None if it is not good."""


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """Which thumbnail is wanted; `method` is `crop` or `scale`."""

    width: int
    height: int
    method: str
    animated: bool | None


@dataclass(frozen=True, slots=True)
class ServedMedia:
    """Media as another server gets them: a file, or where it is to be fetched (`body` is None)."""

    content_type: str
    content_disposition: str | None = None
    body: StreamedBody | None = None
    location: str = ""


class MediaFiles(Protocol):
    """The media that were uploaded here.

    Both raise `NotFound`, and wait at most `timeout_ms` for what is still to be uploaded, which
    ends in `NotYetUploaded`.
    """

    async def download(self, media_id: str, timeout_ms: int) -> ServedMedia:
        """A file."""

    async def thumbnail(self, media_id: str, wanted: Thumbnail, timeout_ms: int) -> ServedMedia:
        """A smaller picture of it. Raises `Unknown` (no picture), `TooLarge`, `LimitExceeded`."""


class PolicyServer(Protocol):
    """Judges events of the rooms that have chosen this server as their policy server."""

    async def sign(self, origin: ServerName, event: Mapping[str, Any]) -> Mapping[str, Any]:
        """The signatures for an event. Raises `Forbidden`, `NotFound`, `BadJson`."""


@dataclass(frozen=True, slots=True)
class CallPlace:
    """Where in a call a member wants to be."""

    room_id: str
    slot_id: str
    member_id: str


class CallTokens(Protocol):
    """Lets users of other servers listen on our LiveKit server."""

    async def get_token_for_server(
        self, origin: ServerName, user_id: UserId, url: str, place: CallPlace
    ) -> str:
        """A token for one of the server's users. Raises `Forbidden`, `InvalidParam`."""


@dataclass(frozen=True, slots=True)
class Answering:
    """All that questions of other servers are answered from. What is None is not offered."""

    server_name: ServerName
    clock: Callable[[], int]
    events: ServedEvents
    spaces: ServedSpaces
    directory: ServedDirectory
    profiles: ServedProfiles
    devices: ServedDevices
    openid: OpenIdTokens
    media: MediaFiles | None = None
    policy: PolicyServer | None = None
    call_tokens: CallTokens | None = None


class AnsweringServices(Protocol):
    """The services of a server that answers questions."""

    @property
    def answering(self) -> Answering:
        """What the answers come from."""


class QueryParameters(Protocol):
    """The query of a request, by parameter.

    All raise `InvalidParam`, and `MissingParam` where a parameter is required.
    """

    def query_str(self, name: str) -> str:
        """A required query parameter."""

    def query_optional_str(self, name: str) -> str | None:
        """A query parameter, or None where it is absent."""

    def query_list(self, name: str) -> Sequence[str]:
        """All values of a query parameter that may be repeated."""

    def query_int(
        self, name: str, default: None = None, *, minimum: int = 0, maximum: int = 2**63 - 1
    ) -> int | None:
        """A whole number; what is above `maximum` is lowered to it."""

    @overload
    def query_bool(self, name: str, *, default: bool = False) -> bool: ...

    @overload
    def query_bool(self, name: str, *, default: None) -> bool | None: ...

    def query_bool(self, name: str, *, default: bool | None = False) -> bool | None:
        """`true` or `false`."""

    def query_choice(self, name: str, choices: tuple[str, ...], default: None = None) -> str | None:
        """One of `choices`, or None."""


class ReadingCall(SignedRequest, QueryParameters, Protocol):
    """A request as the handlers of questions know it."""

    @property
    def services(self) -> AnsweringServices:
        """What the server can do."""
