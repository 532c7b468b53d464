"""What clients ask the token service for, as they write it.

Source: the public protocol of the stand-alone token service (MSC4195, "Implementation differences
in the reference implementation"). It takes no fields that it does not know.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from federation.protocol.canonical_json import decode
from federation.protocol.errors import BadJson, MatrixError, NotJson
from homeserver.calls.livekit_names import (
    CALL_SLOT,
    device_identity,
    participant_identity,
    plain_identity,
    room_name,
)

MAX_LENGTH = 512
"""Of each text, in characters."""
LONGEST_DELAY_MS = 366 * 86_400_000
UNREADABLE = "Error reading request"

Shape = Mapping[str, "type | Shape"]

OPENID: Shape = {
    "access_token": str,
    "token_type": str,
    "matrix_server_name": str,
    "expires_in": int,
}
MEMBER: Shape = {"id": str, "claimed_user_id": str, "claimed_device_id": str}
DELAY: Shape = {"delay_id": str, "delay_timeout": int, "delay_cs_api_url": str}
SLOT_REQUEST: Shape = {
    "room_id": str,
    "slot_id": str,
    "openid_token": OPENID,
    "member": MEMBER,
    **DELAY,
}
ROOM_REQUEST: Shape = {"room": str, "openid_token": OPENID, "device_id": str, **DELAY}


@dataclass(frozen=True, slots=True)
class OpenIdToken:
    """By which somebody proves to be a user of a server."""

    access_token: str
    server: str


@dataclass(frozen=True, slots=True)
class Delay:
    """A delayed event that is handed over, with its delay."""

    delay_id: str
    delay_ms: int


@dataclass(frozen=True, slots=True)
class Member:
    """A membership of a call; `claimed_user_id` is None where the request names nobody.

    Without an ID of its own it is its device's; without a device it is named as MSC4195 has it.
    """

    id: str | None
    device_id: str | None
    claimed_user_id: str | None = None

    def identity_of(self, user_id: str) -> str:
        """The participant on LiveKit that the user is by this membership."""
        if self.id is None:
            return plain_identity(user_id, self.device_id or "")
        if self.device_id is None:
            return participant_identity(user_id, self.id)
        return device_identity(user_id, self.device_id, self.id)


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a call somebody wants to be."""

    room_id: str
    slot_id: str
    member: Member

    @property
    def livekit_room(self) -> str:
        """The LiveKit room."""
        return room_name(self.room_id, self.slot_id)


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """A request to the token service."""

    place: Place
    openid: OpenIdToken
    delay: Delay | None


def read_slot_request(body: bytes) -> TokenRequest:
    """A request of /get_token. Raises `NotJson`, `BadJson`."""
    request = _read(body, SLOT_REQUEST)
    room_id, slot_id, member = request["room_id"], request["slot_id"], request["member"]
    if not room_id or not slot_id:
        raise BadJson("The request body is missing `room_id` or `slot_id`")
    if not all(member.values()):
        raise BadJson("The request body `member` is missing a field")
    found = Member(member["id"], member["claimed_device_id"], member["claimed_user_id"])
    return TokenRequest(Place(room_id, slot_id, found), _openid(request), _delay(request))


def read_room_request(body: bytes) -> TokenRequest:
    """A request of /sfu/get. Raises `NotJson`, `BadJson`."""
    request = _read(body, ROOM_REQUEST)
    if not request["room"]:
        raise BadJson("The request body is missing `room`")
    place = Place(request["room"], CALL_SLOT, Member(None, request["device_id"]))
    return TokenRequest(place, _openid(request), _delay(request))


def read_delegation(body: bytes) -> tuple[TokenRequest, Delay]:
    """A request of /delegate_delayed_leave. Raises `NotJson`, `BadJson`."""
    request = read_slot_request(body)
    if request.delay is None:
        raise BadJson("The request body is missing `delay_id` or `delay_timeout`")
    return request, request.delay


def _openid(request: Mapping[str, Any]) -> OpenIdToken:
    token = request["openid_token"]
    if not token["access_token"] or not token["matrix_server_name"]:
        raise BadJson("The request body `openid_token` is missing a field")
    return OpenIdToken(token["access_token"], token["matrix_server_name"])


def _delay(request: Mapping[str, Any]) -> Delay | None:
    delay_id, delay_ms = request["delay_id"], request["delay_timeout"]
    if not delay_id and not delay_ms:
        return None
    if not delay_id or delay_ms <= 0:
        raise BadJson("`delay_id` and `delay_timeout` must be given together")
    return Delay(delay_id, min(delay_ms, LONGEST_DELAY_MS))


def _read(body: bytes, shape: Shape) -> dict[str, Any]:
    try:
        return _fitted(decode(body), shape)
    except MatrixError as error:
        raise NotJson(UNREADABLE) from error


def _fitted(value: object, shape: Shape) -> dict[str, Any]:
    """The object with all fields of the shape; empty ones where it has none. Raises `BadJson`."""
    if not isinstance(value, dict) or not value.keys() <= shape.keys():
        raise BadJson(UNREADABLE)
    return {name: _fitted_field(value.get(name), kind) for name, kind in shape.items()}


def _fitted_field(value: object, kind: "type | Shape") -> Any:
    if isinstance(kind, Mapping):
        return _fitted({} if value is None else value, kind)
    if value is None:
        return kind()
    # The exact type: to Python a bool is an int, to JSON it is not.
    if type(value) is not kind or (isinstance(value, str) and not _is_good(value)):
        raise BadJson(UNREADABLE)
    return value


def _is_good(text: str) -> bool:
    return len(text) <= MAX_LENGTH and "\0" not in text
