"""Messages to devices: who gets which, and how many of them go into one EDU."""

from collections.abc import Mapping
from typing import Any

from federation.protocol import canonical_json
from federation.protocol.edu import ALL_DEVICES, DeviceMessages
from federation.protocol.identifiers import UserId

MAX_EDU_DEVICES = 200
MAX_EDU_BYTES = 50_000
"""Servers are known to refuse EDUs that are larger than an event may be."""


def content_for(
    by_device: Mapping[str, Mapping[str, Any]], device_id: str
) -> Mapping[str, Any] | None:
    """The content that is for a device: that of its own, else the one for all; None for none."""
    return by_device.get(device_id, by_device.get(ALL_DEVICES))


def encode_message(sender: UserId, message_type: str, content: Mapping[str, Any]) -> bytes:
    """A message as its device gets it. Raises `BadJson`."""
    return canonical_json.encode_lax({"content": content, "sender": sender, "type": message_type})


def split_messages(messages: DeviceMessages) -> list[DeviceMessages]:
    """The same messages in parts that each fit into an EDU, if a single one does.

    Raises `BadJson`.
    """
    parts: list[DeviceMessages] = []
    part: dict[UserId, dict[str, Mapping[str, Any]]] = {}
    count = size = 0
    for user_id, by_device in messages.items():
        for device_id, content in by_device.items():
            length = len(user_id) + len(device_id) + len(canonical_json.encode_lax(content))
            if count and (count == MAX_EDU_DEVICES or size + length > MAX_EDU_BYTES):
                parts.append(part)
                part, count, size = {}, 0, 0
            part.setdefault(user_id, {})[device_id] = content
            count += 1
            size += length
    return [*parts, part] if part else parts
