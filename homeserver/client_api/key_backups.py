"""Backups of room keys.

Source: client-server API, "Server-side key backups".
"""

from collections.abc import Mapping
from typing import Any

import orjson

from federation.protocol import canonical_json
from federation.protocol.canonical_json import MAX_INTEGER
from federation.protocol.endpoint import Access, Rate, endpoint
from federation.protocol.errors import BadJson, InvalidParam
from homeserver.http.call import Call
from homeserver.http.request_body import (
    optional_str,
    require_bool,
    require_int,
    require_object,
    require_str,
)
from storage.key_backups import BackedUpKey, KeyBackup, Section

MAX_BODY_BYTES = 4_194_304
VERSION = "/_matrix/client/v3/room_keys/version/{version}"
ALL = "/_matrix/client/v3/room_keys/keys"
OF_ROOM = ALL + "/{roomId}"
OF_SESSION = OF_ROOM + "/{sessionId}"


@endpoint("POST", "/_matrix/client/v3/room_keys/version", Access.USER, rate=Rate.REQUEST)
async def create_backup(call: Call) -> dict[str, Any]:
    """Begin a new backup. Errors: `MissingParam`, `BadJson`."""
    algorithm, auth_data = read_description(call)
    backups = call.services.encryption.key_backups
    return {"version": await backups.create(call.user_nid, algorithm, auth_data)}


@endpoint("GET", "/_matrix/client/v3/room_keys/version", Access.USER, rate=Rate.REQUEST)
async def get_latest_backup(call: Call) -> dict[str, Any]:
    """Describe the latest backup. Errors: `NotFound`."""
    return described(await call.services.encryption.key_backups.latest(call.user_nid))


@endpoint("GET", VERSION, Access.USER, rate=Rate.REQUEST)
async def get_backup(call: Call) -> dict[str, Any]:
    """Describe a backup. Errors: `NotFound`."""
    backups = call.services.encryption.key_backups
    return described(await backups.get(call.user_nid, call.path["version"]))


@endpoint("PUT", VERSION, Access.USER, rate=Rate.REQUEST)
async def update_backup(call: Call) -> dict[str, Any]:
    """Change a backup's `auth_data`. Errors: `NotFound`, `InvalidParam`, `MissingParam`."""
    algorithm, auth_data = read_description(call)
    version = call.path["version"]
    if optional_str(call.json, "version") not in (None, version):
        raise InvalidParam("The version in the body is another one than that in the path")
    await call.services.encryption.key_backups.change(call.user_nid, version, algorithm, auth_data)
    return {}


@endpoint("DELETE", VERSION, Access.USER, rate=Rate.REQUEST)
async def delete_backup(call: Call) -> dict[str, Any]:
    """Delete a backup with all its keys. Errors: `NotFound`."""
    await call.services.encryption.key_backups.delete(call.user_nid, call.path["version"])
    return {}


@endpoint("PUT", ALL, Access.USER, rate=Rate.REQUEST, max_body_bytes=MAX_BODY_BYTES)
async def put_keys(call: Call) -> dict[str, Any]:
    """Add keys of several rooms. Errors: `NotFound`, `WrongRoomKeysVersion`, `BadJson`."""
    rooms = require_object(call.json, "rooms")
    keys = [key for room_id, room in rooms.items() for key in read_room(room_id, room)]
    return await add(call, keys)


@endpoint("PUT", OF_ROOM, Access.USER, rate=Rate.REQUEST, max_body_bytes=MAX_BODY_BYTES)
async def put_room_keys(call: Call) -> dict[str, Any]:
    """Add keys of a room. Errors: `NotFound`, `WrongRoomKeysVersion`, `BadJson`."""
    return await add(call, read_room(call.path["roomId"], call.json))


@endpoint("PUT", OF_SESSION, Access.USER, rate=Rate.REQUEST)
async def put_session_key(call: Call) -> dict[str, Any]:
    """Add the key of a session. Errors: `NotFound`, `WrongRoomKeysVersion`, `BadJson`."""
    return await add(call, [read_key(call.path["roomId"], call.path["sessionId"], call.json)])


@endpoint("GET", ALL, Access.USER, rate=Rate.REQUEST)
async def get_keys(call: Call) -> dict[str, Any]:
    """All keys of a backup, by room. Errors: `MissingParam`, `NotFound`."""
    rooms: dict[str, dict[str, dict[str, Any]]] = {}
    for key in await find(call, Section()):
        sessions = rooms.setdefault(key.room_id, {"sessions": {}})["sessions"]
        sessions[key.session_id] = rendered(key)
    return {"rooms": rooms}


@endpoint("GET", OF_ROOM, Access.USER, rate=Rate.REQUEST)
async def get_room_keys(call: Call) -> dict[str, Any]:
    """The keys of a room. Errors: `MissingParam`, `NotFound`."""
    keys = await find(call, Section(checked_id(call.path["roomId"])))
    return {"sessions": {key.session_id: rendered(key) for key in keys}}


@endpoint("GET", OF_SESSION, Access.USER, rate=Rate.REQUEST)
async def get_session_key(call: Call) -> dict[str, Any]:
    """The key of a session. Errors: `MissingParam`, `NotFound`."""
    key = await call.services.encryption.key_backups.key(
        call.user_nid,
        call.query_str("version"),
        checked_id(call.path["roomId"]),
        checked_id(call.path["sessionId"]),
    )
    return rendered(key)


@endpoint("DELETE", ALL, Access.USER, rate=Rate.REQUEST)
async def delete_keys(call: Call) -> dict[str, Any]:
    """Delete all keys of a backup. Errors: `MissingParam`, `NotFound`."""
    return await remove(call, Section())


@endpoint("DELETE", OF_ROOM, Access.USER, rate=Rate.REQUEST)
async def delete_room_keys(call: Call) -> dict[str, Any]:
    """Delete the keys of a room. Errors: `MissingParam`, `NotFound`."""
    return await remove(call, Section(checked_id(call.path["roomId"])))


@endpoint("DELETE", OF_SESSION, Access.USER, rate=Rate.REQUEST)
async def delete_session_key(call: Call) -> dict[str, Any]:
    """Delete the key of a session. Errors: `MissingParam`, `NotFound`."""
    room_id, session_id = checked_id(call.path["roomId"]), checked_id(call.path["sessionId"])
    return await remove(call, Section(room_id, session_id))


async def add(call: Call, keys: list[BackedUpKey]) -> dict[str, Any]:
    """Add keys to the backup of the query."""
    version = call.query_str("version")
    backups = call.services.encryption.key_backups
    return state_of(await backups.add_keys(call.user_nid, version, keys))


async def find(call: Call, section: Section) -> list[BackedUpKey]:
    """Keys of the backup of the query."""
    backups = call.services.encryption.key_backups
    return await backups.keys(call.user_nid, call.query_str("version"), section)


async def remove(call: Call, section: Section) -> dict[str, Any]:
    """Delete keys of the backup of the query."""
    version = call.query_str("version")
    backups = call.services.encryption.key_backups
    return state_of(await backups.delete_keys(call.user_nid, version, section))


def read_description(call: Call) -> tuple[str, dict[str, Any]]:
    """What the body says of a backup. Raises `MissingParam`, `BadJson`."""
    return require_str(call.json, "algorithm"), require_object(call.json, "auth_data")


def read_room(room_id: str, room: object) -> list[BackedUpKey]:
    """The keys of a room. Raises `MissingParam`, `BadJson`."""
    if not isinstance(room, Mapping):
        raise BadJson("The keys of a room must be an object")
    sessions = require_object(room, "sessions")
    return [read_key(room_id, session_id, key) for session_id, key in sessions.items()]


def read_key(room_id: str, session_id: str, key: object) -> BackedUpKey:
    """A key. Raises `MissingParam`, `BadJson`."""
    if not isinstance(key, Mapping):
        raise BadJson("A key must be an object")
    return BackedUpKey(
        checked_id(room_id),
        checked_id(session_id),
        require_count(key, "first_message_index"),
        require_count(key, "forwarded_count"),
        require_bool(key, "is_verified"),
        canonical_json.encode_lax(require_object(key, "session_data")),
    )


def require_count(key: Mapping[str, Any], name: str) -> int:
    """The natural number of this name. Raises `MissingParam`, `BadJson`."""
    value = require_int(key, name)
    if not 0 <= value <= MAX_INTEGER:
        raise BadJson(f"'{name}' must be a natural number")
    return value


def checked_id(text: str) -> str:
    """The ID of a room or session. Raises `BadJson`."""
    if "\0" in text:
        raise BadJson("An ID must not contain a NUL character")
    return text


def described(backup: KeyBackup) -> dict[str, Any]:
    """A backup as its user sees it."""
    return {
        "version": str(backup.version),
        "algorithm": backup.algorithm,
        "auth_data": orjson.Fragment(backup.auth_data),
        **state_of(backup),
    }


def state_of(backup: KeyBackup) -> dict[str, Any]:
    """How many keys there are, and by what one knows that they have changed."""
    return {"count": backup.key_count, "etag": str(backup.etag)}


def rendered(key: BackedUpKey) -> dict[str, Any]:
    """A key as its user gets it back."""
    return {
        "first_message_index": key.first_message_index,
        "forwarded_count": key.forwarded_count,
        "is_verified": key.is_verified,
        "session_data": orjson.Fragment(key.session_data),
    }


ENDPOINTS = (
    create_backup,
    get_latest_backup,
    get_backup,
    update_backup,
    delete_backup,
    put_keys,
    put_room_keys,
    put_session_key,
    get_keys,
    get_room_keys,
    get_session_key,
    delete_keys,
    delete_room_keys,
    delete_session_key,
)
