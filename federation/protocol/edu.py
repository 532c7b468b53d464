"""Ephemeral data units: what servers tell each other beside events, as typed records.

`parse_*` read the content of an EDU from another server, `build_*` make a whole EDU. Parsing is
strict about what a record needs and forgiving about the rest: in an EDU that carries many entries
a malformed one is passed over, and entries beyond `MAX_ENTRIES` are not looked at.
Whether the origin may speak for a user is asked by `is_of`. Source: server-server API, "EDUs".
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from federation.protocol import canonical_json
from federation.protocol.canonical_json import MAX_INTEGER
from federation.protocol.errors import BadJson, InvalidParam
from federation.protocol.identifiers import (
    DeviceId,
    EventId,
    RoomId,
    UserId,
    check_device_id,
    check_event_id,
    check_room_id,
    check_user_id,
    is_within_bytes,
    server_of,
)

TYPING = "m.typing"
RECEIPT = "m.receipt"
PRESENCE = "m.presence"
DIRECT_TO_DEVICE = "m.direct_to_device"
DEVICE_LIST_UPDATE = "m.device_list_update"
SIGNING_KEY_UPDATE = "m.signing_key_update"

READ = "m.read"
PRESENCE_STATES = frozenset({"online", "offline", "unavailable"})

MAX_ENTRIES = 1_000
"""Receipts, presences or messages of one EDU that are looked at."""
MAX_STATUS_LENGTH = 2_000
MAX_PREV_IDS = 100

DeviceMessages = Mapping[UserId, Mapping[str, Mapping[str, Any]]]
"""Contents of messages by user, and by device ID or `*` for all devices of the user."""
ALL_DEVICES = "*"


@dataclass(frozen=True, slots=True)
class Edu:
    """An EDU whose content has not been looked at."""

    type: str
    content: Mapping[str, Any]

    def encode(self) -> bytes:
        """The canonical JSON. Raises `BadJson`."""
        return canonical_json.encode_lax({"content": self.content, "edu_type": self.type})


@dataclass(frozen=True, slots=True)
class Typist:
    """A user begins or ceases to type in a room."""

    room_id: RoomId
    user_id: UserId
    is_typing: bool


@dataclass(frozen=True, slots=True)
class Receipt:
    """A user has read a room, or the thread `thread_id` of it, up to an event."""

    room_id: RoomId
    user_id: UserId
    event_id: EventId
    ts: int
    thread_id: str | None


@dataclass(frozen=True, slots=True)
class PresenceUpdate:
    """What a user shows of their presence."""

    user_id: UserId
    presence: str
    status_msg: str | None
    last_active_ago_ms: int
    is_currently_active: bool


@dataclass(frozen=True, slots=True)
class DirectToDevice:
    """Messages of one type to devices."""

    sender: UserId
    type: str
    message_id: str
    messages: DeviceMessages


@dataclass(frozen=True, slots=True)
class DeviceListUpdate:
    """A device of a user is new, changed or gone.

    The update follows those of `prev_ids`; who lacks one of them has to ask for the whole list.
    """

    user_id: UserId
    device_id: DeviceId
    stream_id: int
    prev_ids: tuple[int, ...]
    is_deleted: bool
    display_name: str | None
    keys: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class SigningKeyUpdate:
    """A user has other cross-signing keys."""

    user_id: UserId
    master_key: Mapping[str, Any] | None
    self_signing_key: Mapping[str, Any] | None


def is_of(user_id: str, origin: str) -> bool:
    """Whether the user is on the server that the EDU comes from, which alone may speak for them."""
    return server_of(user_id) == origin


def parse_typing(content: Mapping[str, Any]) -> Typist:
    """Content of `m.typing`; raises `BadJson` or `InvalidParam`."""
    is_typing = content.get("typing")
    if not isinstance(is_typing, bool):
        raise BadJson("`typing` is absent or not a boolean")
    return Typist(
        check_room_id(_text(content, "room_id")),
        check_user_id(_text(content, "user_id")),
        is_typing,
    )


def build_typing(typist: Typist) -> Edu:
    """`m.typing`."""
    content = {
        "room_id": typist.room_id,
        "user_id": typist.user_id,
        "typing": typist.is_typing,
    }
    return Edu(TYPING, content)


def parse_receipts(content: Mapping[str, Any]) -> list[Receipt]:
    """The read receipts in the content of `m.receipt`; those of other types are passed over."""
    found: list[Receipt] = []
    for room_id, by_type in content.items():
        by_user = by_type.get(READ) if isinstance(by_type, Mapping) else None
        if not isinstance(by_user, Mapping):
            continue
        for user_id, receipt in by_user.items():
            if len(found) >= MAX_ENTRIES:
                return found
            parsed = _find_receipt(room_id, user_id, receipt)
            if parsed is not None:
                found.append(parsed)
    return found


def build_receipts(receipts: Iterable[Receipt]) -> list[Edu]:
    """As few `m.receipt` as can hold them: one has a place for each user in each room."""
    contents: list[dict[str, dict[str, dict[str, Any]]]] = []
    for receipt in receipts:
        room_id, user_id = receipt.room_id, receipt.user_id
        free = (c for c in contents if user_id not in c.get(room_id, {}).get(READ, {}))
        content = next(free, None)
        if content is None:
            content = {}
            contents.append(content)
        data: dict[str, Any] = {"ts": receipt.ts}
        if receipt.thread_id is not None:
            data["thread_id"] = receipt.thread_id
        by_user = content.setdefault(room_id, {}).setdefault(READ, {})
        by_user[user_id] = {"event_ids": [receipt.event_id], "data": data}
    return [Edu(RECEIPT, content) for content in contents]


def parse_presence(content: Mapping[str, Any]) -> list[PresenceUpdate]:
    """The updates in the content of `m.presence`; raises `BadJson` if there is no list of them."""
    updates = content.get("push")
    if not isinstance(updates, list):
        raise BadJson("`push` is absent or not an array")
    parsed = [_find_presence(update) for update in updates[:MAX_ENTRIES]]
    return [update for update in parsed if update is not None]


def build_presence(updates: Iterable[PresenceUpdate]) -> Edu:
    """`m.presence` with all the updates."""
    push = []
    for update in updates:
        entry: dict[str, Any] = {
            "user_id": update.user_id,
            "presence": update.presence,
            "last_active_ago": update.last_active_ago_ms,
            "currently_active": update.is_currently_active,
        }
        if update.status_msg is not None:
            entry["status_msg"] = update.status_msg
        push.append(entry)
    return Edu(PRESENCE, {"push": push})


def parse_direct_to_device(content: Mapping[str, Any]) -> DirectToDevice:
    """Content of `m.direct_to_device`; raises `BadJson` or `InvalidParam`."""
    message_type, message_id = _text(content, "type"), _text(content, "message_id")
    if not is_within_bytes(message_type) or not is_within_bytes(message_id):
        raise InvalidParam("`type` or `message_id` is too long")
    messages = content.get("messages")
    if not isinstance(messages, Mapping):
        raise BadJson("`messages` is absent or not an object")
    sender = check_user_id(_text(content, "sender"))
    return DirectToDevice(sender, message_type, message_id, parse_device_messages(messages))


def parse_device_messages(
    messages: Mapping[str, Any], most: int = MAX_ENTRIES
) -> dict[UserId, dict[str, Mapping[str, Any]]]:
    """Messages for at most `most` devices by user and device ID or `*`.

    Raises `BadJson`, `InvalidParam`.
    """
    found: dict[UserId, dict[str, Mapping[str, Any]]] = {}
    count = 0
    for user_id, by_device in messages.items():
        if not isinstance(by_device, Mapping):
            raise BadJson("`messages` holds something that is not an object")
        count += len(by_device)
        if count > most:
            raise BadJson(f"There are messages for more than {most} devices")
        if not all(isinstance(content, Mapping) for content in by_device.values()):
            raise BadJson("The content of a message is not an object")
        found[check_user_id(user_id)] = dict(by_device)
    return found


def build_direct_to_device(message: DirectToDevice) -> Edu:
    """`m.direct_to_device`."""
    content = {
        "sender": message.sender,
        "type": message.type,
        "message_id": message.message_id,
        "messages": message.messages,
    }
    return Edu(DIRECT_TO_DEVICE, content)


def parse_device_list_update(content: Mapping[str, Any]) -> DeviceListUpdate:
    """Content of `m.device_list_update`; raises `BadJson` or `InvalidParam`."""
    prev_ids = content.get("prev_id") or []
    if not isinstance(prev_ids, list) or len(prev_ids) > MAX_PREV_IDS:
        raise BadJson("`prev_id` is not a short array")
    name = content.get("device_display_name")
    return DeviceListUpdate(
        check_user_id(_text(content, "user_id")),
        check_device_id(_text(content, "device_id")),
        _number(content.get("stream_id"), "stream_id"),
        tuple(_number(prev_id, "prev_id") for prev_id in prev_ids),
        content.get("deleted") is True,
        name if isinstance(name, str) else None,
        _find_object(content, "keys"),
    )


def build_device_list_update(update: DeviceListUpdate) -> Edu:
    """`m.device_list_update`."""
    content: dict[str, Any] = {
        "user_id": update.user_id,
        "device_id": update.device_id,
        "stream_id": update.stream_id,
        "prev_id": list(update.prev_ids),
    }
    if update.is_deleted:
        content["deleted"] = True
    if update.display_name is not None:
        content["device_display_name"] = update.display_name
    if update.keys is not None:
        content["keys"] = update.keys
    return Edu(DEVICE_LIST_UPDATE, content)


def parse_signing_key_update(content: Mapping[str, Any]) -> SigningKeyUpdate:
    """Content of `m.signing_key_update`; raises `BadJson` or `InvalidParam`."""
    return SigningKeyUpdate(
        check_user_id(_text(content, "user_id")),
        _find_object(content, "master_key"),
        _find_object(content, "self_signing_key"),
    )


def build_signing_key_update(update: SigningKeyUpdate) -> Edu:
    """`m.signing_key_update`."""
    content: dict[str, Any] = {"user_id": update.user_id}
    if update.master_key is not None:
        content["master_key"] = update.master_key
    if update.self_signing_key is not None:
        content["self_signing_key"] = update.self_signing_key
    return Edu(SIGNING_KEY_UPDATE, content)


def _find_receipt(room_id: str, user_id: str, receipt: object) -> Receipt | None:
    if not isinstance(receipt, Mapping):
        return None
    event_ids, data = receipt.get("event_ids"), receipt.get("data")
    if not isinstance(event_ids, list) or not event_ids or not isinstance(data, Mapping):
        return None
    thread_id = data.get("thread_id")
    if thread_id is not None and not _is_thread_id(thread_id):
        return None
    try:
        return Receipt(
            check_room_id(room_id),
            check_user_id(user_id),
            check_event_id(event_ids[0] if isinstance(event_ids[0], str) else ""),
            _number(data.get("ts"), "ts"),
            thread_id,
        )
    except (BadJson, InvalidParam):
        return None


def _is_thread_id(value: object) -> bool:
    if not isinstance(value, str) or "\0" in value or not is_within_bytes(value):
        return False
    return value == "main" or value.startswith("$")


def _find_presence(update: object) -> PresenceUpdate | None:
    if not isinstance(update, Mapping):
        return None
    presence, status_msg = update.get("presence"), update.get("status_msg")
    if not isinstance(presence, str) or presence not in PRESENCE_STATES:
        return None
    if not isinstance(status_msg, str) or len(status_msg) > MAX_STATUS_LENGTH or "\0" in status_msg:
        status_msg = None
    try:
        return PresenceUpdate(
            check_user_id(_text(update, "user_id")),
            presence,
            status_msg,
            _number(update.get("last_active_ago", 0), "last_active_ago"),
            update.get("currently_active") is True,
        )
    except (BadJson, InvalidParam):
        return None


def _text(content: Mapping[str, Any], name: str) -> str:
    value = content.get(name)
    if not isinstance(value, str) or "\0" in value:
        raise BadJson(f"`{name}` is absent or not a string")
    return value


def _number(value: object, name: str) -> int:
    if type(value) is not int or not 0 <= value <= MAX_INTEGER:
        raise BadJson(f"`{name}` is absent or not a natural number")
    return value


def _find_object(content: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    value = content.get(name)
    if value is not None and not isinstance(value, Mapping):
        raise BadJson(f"`{name}` is not an object")
    return value
