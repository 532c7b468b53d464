"""Matrix identifiers: the types that keep them apart, and their grammar.

`is_valid_*` answers, `check_*` returns the typed identifier or raises `InvalidParam`. Checked
where an identifier enters, it is free afterwards. Source: appendices, "Identifier Grammar".
"""

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import NewType

from federation.protocol.errors import InvalidParam, InvalidUsername

EventId = NewType("EventId", str)
RoomId = NewType("RoomId", str)
RoomAlias = NewType("RoomAlias", str)
UserId = NewType("UserId", str)
ServerName = NewType("ServerName", str)
DeviceId = NewType("DeviceId", str)
KeyId = NewType("KeyId", str)

MAX_ID_BYTES = 255
"""User IDs, room IDs, aliases, event IDs, event types and state keys, in UTF-8."""

_LOCALPART = re.compile(r"[a-z0-9._=/+-]+")
_HISTORICAL_LOCALPART = re.compile(r"[!-9;-~]+")
_SERVER_NAME = re.compile(
    r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]{2,45})\]|(?P<host>[0-9A-Za-z.-]{1,255}))(?::(?P<port>[0-9]{1,5}))?"
)
_DOTTED_QUAD = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+")
_HASH_ROOM_ID = re.compile(r"![A-Za-z0-9_-]{43}")
_KEY_ID = re.compile(r"[a-z0-9_]+:[A-Za-z0-9_]+")
_OPAQUE_ID = re.compile(r"[0-9A-Za-z._~-]{1,255}")
_MEDIA_ID = re.compile(r"[A-Za-z0-9_-]{1,255}")
_FORBIDDEN = re.compile("[\0\ud800-\udfff]")


def server_of(identifier: str) -> ServerName:
    """The server name after the first colon of a user ID, room alias or old-style room or event ID.

    An identifier without a colon (event IDs from room version 3 on, room IDs from version 12 on)
    gives an empty name.
    """
    return ServerName(identifier.partition(":")[2])


def localpart_of(identifier: str) -> str:
    """What stands between the sigil and the first colon."""
    return identifier[1:].partition(":")[0]


def build_user_id(localpart: str, server_name: ServerName) -> UserId:
    """`@localpart:server_name`, unchecked."""
    return UserId(f"@{localpart}:{server_name}")


def is_within_bytes(value: str, max_bytes: int = MAX_ID_BYTES) -> bool:
    """Whether the UTF-8 form is no longer than `max_bytes`; a lone surrogate has no such form."""
    if value.isascii():
        return len(value) <= max_bytes
    if len(value) > max_bytes:
        return False
    try:
        return len(value.encode()) <= max_bytes
    except UnicodeEncodeError:
        return False


def is_valid_server_name(value: str) -> bool:
    """Whether this is a DNS name, an IPv4 literal or a bracketed IPv6 literal, and maybe a port."""
    match = _SERVER_NAME.fullmatch(value)
    if match is None:
        return False
    host = match["host"]
    if host is None:
        return _is_address(match["ipv6"], IPv6Address)
    return _DOTTED_QUAD.fullmatch(host) is None or _is_address(host, IPv4Address)


def check_server_name(value: str) -> ServerName:
    """The value as a server name; raises `InvalidParam`."""
    if not is_valid_server_name(value):
        raise InvalidParam(f"{value!r} is not a server name")
    return ServerName(value)


def split_server_name(server_name: str) -> tuple[str, int | None]:
    """Host (an IPv6 literal with its brackets) and port, if any; raises `InvalidParam`."""
    match = _SERVER_NAME.fullmatch(server_name)
    if match is None:
        raise InvalidParam(f"{server_name!r} is not a server name")
    host = f"[{match['ipv6']}]" if match["host"] is None else match["host"]
    return host, None if match["port"] is None else int(match["port"])


def is_valid_user_id(value: str) -> bool:
    """Whether a new user may have this ID: the strict grammar."""
    return is_valid_historical_user_id(value) and bool(_LOCALPART.fullmatch(localpart_of(value)))


def is_valid_historical_user_id(value: str) -> bool:
    """Whether an existing user may have this ID: any localpart without colon and NUL, even none.

    Source: appendices, "Historical User IDs".
    """
    return _has_domain_form(value, "@") and is_within_bytes(value)


def check_user_id(value: str) -> UserId:
    """The value as the ID of an existing user, historical ones too; raises `InvalidParam`."""
    if not is_valid_historical_user_id(value):
        raise InvalidParam(f"{value!r} is not a user ID")
    return UserId(value)


def check_new_user_id(value: str) -> UserId:
    """The value as the ID of a new user; raises `InvalidParam`."""
    if not is_valid_user_id(value):
        raise InvalidParam(f"{value!r} is not a user ID of the current grammar")
    return UserId(value)


def check_new_localpart(localpart: str, server_name: ServerName) -> UserId:
    """The user ID that a registration under this name gives; raises `InvalidUsername`.

    Upper case is refused; whoever wants to be kind lowers it before.
    """
    if not _LOCALPART.fullmatch(localpart):
        raise InvalidUsername("A user name may only contain a-z, 0-9 and . _ = - / +")
    return _check_length(build_user_id(localpart, server_name))


def check_service_localpart(localpart: str, server_name: ServerName) -> UserId:
    """The user ID that an application service's own name for a user gives.

    Those of the historical grammar will do: bridges of the mautrix family draw their
    `sender_localpart` from letters of both cases, and those to IRC name users by their nicks.
    Source: appendices, "Historical User IDs". Raises `InvalidUsername`.
    """
    if not _HISTORICAL_LOCALPART.fullmatch(localpart):
        raise InvalidUsername("A user name may only contain printable ASCII without space and :")
    return _check_length(build_user_id(localpart, server_name))


def _check_length(user_id: UserId) -> UserId:
    if not is_within_bytes(user_id):
        raise InvalidUsername(f"A user ID may not be longer than {MAX_ID_BYTES} bytes")
    return user_id


def is_valid_room_id(value: str) -> bool:
    """Whether this is a room ID of either form."""
    return is_hash_room_id(value) or is_domain_room_id(value)


def is_hash_room_id(value: str) -> bool:
    """Whether this is a room ID of room version 12: the create event's hash."""
    return _HASH_ROOM_ID.fullmatch(value) is not None


def is_domain_room_id(value: str) -> bool:
    """Whether this is a room ID of room versions 1 to 11, which ends in a server name."""
    return _has_domain_form(value, "!") and is_within_bytes(value)


def check_room_id(value: str) -> RoomId:
    """The value as a room ID of either form; raises `InvalidParam`."""
    if not is_valid_room_id(value):
        raise InvalidParam(f"{value!r} is not a room ID")
    return RoomId(value)


def is_valid_room_alias(value: str) -> bool:
    """Whether this is a room alias; its localpart has at least one character."""
    return _has_domain_form(value, "#") and value[1] != ":" and is_within_bytes(value)


def check_room_alias(value: str) -> RoomAlias:
    """The value as a room alias; raises `InvalidParam`."""
    if not is_valid_room_alias(value):
        raise InvalidParam(f"{value!r} is not a room alias")
    return RoomAlias(value)


def is_valid_event_id(value: str) -> bool:
    """Whether this may be an event ID of some room version; past the sigil it is opaque."""
    return (
        len(value) > 1
        and value[0] == "$"
        and _FORBIDDEN.search(value) is None
        and is_within_bytes(value)
    )


def check_event_id(value: str) -> EventId:
    """The value as an event ID; raises `InvalidParam`."""
    if not is_valid_event_id(value):
        raise InvalidParam(f"{value!r} is not an event ID")
    return EventId(value)


def is_valid_device_id(value: str) -> bool:
    """Whether a device may be called so: opaque, but neither empty nor endless, and no NUL."""
    return bool(value) and _FORBIDDEN.search(value) is None and is_within_bytes(value)


def check_device_id(value: str) -> DeviceId:
    """The value as a device ID; raises `InvalidParam`."""
    if not is_valid_device_id(value):
        raise InvalidParam(f"{value!r} is not a device ID")
    return DeviceId(value)


def is_valid_key_id(value: str) -> bool:
    """Whether this names a server's signing key: `algorithm:version`."""
    return _KEY_ID.fullmatch(value) is not None


def check_key_id(value: str) -> KeyId:
    """The value as the ID of a server's signing key; raises `InvalidParam`."""
    if not is_valid_key_id(value):
        raise InvalidParam(f"{value!r} is not a key ID")
    return KeyId(value)


def is_valid_opaque_id(value: str) -> bool:
    """Whether the value follows the Opaque Identifier Grammar."""
    return _OPAQUE_ID.fullmatch(value) is not None


def check_opaque_id(value: str) -> str:
    """The value, if it follows the Opaque Identifier Grammar; raises `InvalidParam`."""
    if not is_valid_opaque_id(value):
        raise InvalidParam(f"{value!r} is not an identifier")
    return value


def is_valid_mxc(value: str) -> bool:
    """Whether this is a Matrix Content URI."""
    return _split_mxc(value) is not None


def parse_mxc(value: str) -> tuple[ServerName, str]:
    """Server name and media ID of a Matrix Content URI; raises `InvalidParam`."""
    parts = _split_mxc(value)
    if parts is None:
        raise InvalidParam(f"{value!r} is not a Matrix Content URI")
    return parts


def _split_mxc(value: str) -> tuple[ServerName, str] | None:
    server_name, slash, media_id = value.removeprefix("mxc://").partition("/")
    if not value.startswith("mxc://") or not slash or not _MEDIA_ID.fullmatch(media_id):
        return None
    return (ServerName(server_name), media_id) if is_valid_server_name(server_name) else None


def _has_domain_form(value: str, sigil: str) -> bool:
    localpart, colon, server_name = value.partition(":")
    return (
        localpart[:1] == sigil
        and bool(colon)
        and _FORBIDDEN.search(localpart) is None
        and is_valid_server_name(server_name)
    )


def _is_address(value: str, kind: type[IPv4Address] | type[IPv6Address]) -> bool:
    try:
        kind(value)
    except AddressValueError:
        return False
    return True
